"""Small data sets: digits, MNIST-1D, and MNIST, Fashion-MNIST and CIFAR-10 from their files.

Each has three parts. The validation part, a fixed draw from the training images, picks the best
epoch; the test part is read once, at the end.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo import specs
from kolmo.errors import InputError
from kolmo.spoken import option
from momos.lab.datasets.cifar import SHAPE as _CIFAR_SHAPE
from momos.lab.datasets.cifar import read_cifar10
from momos.lab.datasets.fetch import SOURCES, fetch_dataset
from momos.lab.datasets.idx import read_pair

__all__ = ["DATASETS", "Dataset", "Part", "fetch_dataset", "load_dataset"]

DATASETS = ("cifar10", "digits", "fashion-mnist", "mnist", "mnist1d")


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, float32, shape (count, features), and their labels, int64."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: NDArray[np.int64]) -> Split:
        return Split(self.images[rows], self.labels[rows])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training, validation and test images; no image is in two of them.

    Pixels are standardized: the mean of a channel's training pixels is 0, their deviation 1.

    Attributes
    ----------
    shape : tuple of int
        Of one image before it is laid out flat: channels, height and width, or the points of
        a signal.
    """

    name: str
    shape: tuple[int, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def classes(self) -> int:
        return int(self.train.labels.max()) + 1


def load_dataset(name: str = "digits", folder: str | os.PathLike[str] | None = None) -> Dataset:
    """A dataset, always in the same three parts.

    Parameters
    ----------
    name : {"digits", "cifar10", "fashion-mnist", "mnist", "mnist1d"}
    folder : path, optional
        Where the four idx files of (Fashion-)MNIST are, gzipped or not, or the binary version
        of CIFAR-10, unpacked or not; the others need none.

    Raises
    ------
    InputError
        For an unknown name, or a file that is missing or damaged.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> len(digits.train), len(digits.validation), len(digits.test), digits.shape
    (1257, 180, 360, (1, 8, 8))
    """
    if name not in DATASETS:
        raise specs.unknown("dataset", name, DATASETS)
    if name in SOURCES:
        if folder is None:
            raise InputError(
                f"{name} is not bundled: name the folder of its files by {option('folder')}, where "
                f"'momos fetch {name} --folder FOLDER' puts them"
            )
        return _from_files(name, Path(folder))
    if name == "mnist1d":
        return _mnist1d()
    return _digits()


def _from_files(name: str, folder: Path) -> Dataset:
    if name == "cifar10":
        train, test = (_part(*images) for images in read_cifar10(folder))
        shape = _CIFAR_SHAPE
    else:
        images, labels = read_pair(folder, "train")
        shape = (1, *images.shape[1:])
        train, test = _part(images, labels), _part(*read_pair(folder, "t10k"))
    kept, held = _split(len(train), len(train) // 12)
    return _standardized(name, shape, train[kept], train[held], test)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    whole = _part(*load_digits(return_X_y=True))
    others, test = _split(len(whole), 360)
    train, validation = _split(len(others), 180)
    parts = whole[others[train]], whole[others[validation]], whole[test]
    return _standardized("digits", (1, 8, 8), *parts)


def _mnist1d() -> Dataset:
    # Here, because it needs scipy, which configurations and the command line's help do not.
    from momos.lab.datasets.mnist1d import LENGTH, TRAIN, make_mnist1d

    whole = _part(*make_mnist1d())
    train, held = _split(TRAIN, TRAIN // 10)
    test = whole[np.arange(TRAIN, len(whole))]
    return _standardized("mnist1d", (LENGTH,), whole[train], whole[held], test)


def _part(images: NDArray[Any], labels: NDArray[Any]) -> Split:
    return Split(images.reshape(len(images), -1).astype(np.float32), labels.astype(np.int64))


def _standardized(name: str, shape: tuple[int, ...], *parts: Split) -> Dataset:
    """The dataset of three parts, standardized by the first, the training part."""
    channels = shape[0] if len(shape) == 3 else 1
    pixels = parts[0].images.reshape(len(parts[0]), channels, -1)
    mean = pixels.mean(axis=(0, 2), dtype=np.float64, keepdims=True).astype(np.float32)
    deviation = pixels.std(axis=(0, 2), dtype=np.float64, keepdims=True).astype(np.float32)

    def standardize(part: Split) -> Split:
        images = (part.images.reshape(len(part), channels, -1) - mean) / deviation
        return _part(images, part.labels)

    return Dataset(name, shape, *map(standardize, parts))


def _split(count: int, held: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers in two parts, the second one ``held`` rows; the same at every call."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])
