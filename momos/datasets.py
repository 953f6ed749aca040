"""Small image sets: digits (bundled with scikit-learn), MNIST and Fashion-MNIST from files.

Each has three parts. The validation part, a fixed draw from the training images, picks the best
epoch; the test part is looked at once, at the end.
"""

from __future__ import annotations

import dataclasses
import gzip
import math
import os
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kolmo import specs
from kolmo.errors import InputError

DATASETS = ("digits", "fashion-mnist", "mnist")

_IDX_LIMIT = 1 << 30  # bytes of an idx file at most, unpacked
_PIECE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Part:
    """Images, float32, shape (count, features), and their labels, int64."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: NDArray[np.int64]) -> Part:
        return Part(self.images[rows], self.labels[rows])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training, validation and test images; no image is in two of them.

    Pixels are standardized: the mean of the training pixels is 0 and their deviation is 1.
    """

    name: str
    train: Part
    validation: Part
    test: Part

    @property
    def features(self) -> int:
        return int(self.train.images.shape[1])

    @property
    def classes(self) -> int:
        return int(self.train.labels.max()) + 1


def load_dataset(name: str = "digits", folder: str | os.PathLike[str] | None = None) -> Dataset:
    """A dataset, always in the same three parts.

    Parameters
    ----------
    name : {"digits", "fashion-mnist", "mnist"}
    folder : path, optional
        Where the four idx files of (Fashion-)MNIST are, gzipped or not; digits needs none.

    Raises
    ------
    InputError
        For an unknown name, or a file that is missing or damaged.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> len(digits.train), len(digits.validation), len(digits.test), digits.features
    (1257, 180, 360, 64)
    """
    if name not in DATASETS:
        raise specs.unknown("dataset", name, DATASETS)
    if name == "digits":
        return _digits()
    if folder is None:
        raise InputError(
            f"{name} is not bundled: name the folder of its idx files (train-images-idx3-ubyte.gz "
            f"and the other three) with --folder"
        )
    train = _read_part(Path(folder), "train")
    kept, held = _split(len(train), len(train) // 12)
    return _standardized(name, train[kept], train[held], _read_part(Path(folder), "t10k"))


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    whole = Part(images.astype(np.float32), labels.astype(np.int64))
    others, test = _split(len(whole), 360)
    train, validation = _split(len(others), 180)
    return _standardized("digits", whole[others[train]], whole[others[validation]], whole[test])


def _standardized(name: str, *parts: Part) -> Dataset:
    """The dataset of three parts, by the mean and the deviation of the first, the training one."""
    mean = parts[0].images.mean(dtype=np.float64).astype(np.float32)
    deviation = parts[0].images.std(dtype=np.float64).astype(np.float32)
    return Dataset(name, *(Part((part.images - mean) / deviation, part.labels) for part in parts))


def _split(count: int, held: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers in two parts, the second one ``held`` rows; the same at every call."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


# --- idx files ------------------------------------------------------------------------------


def _read_part(folder: Path, part: str) -> Part:
    images = read_idx(_find(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1] or images.size == 0:
        raise InputError(
            f"{folder}: the {part} files hold images of shape {list(images.shape)} and labels of "
            f"shape {list(labels.shape)}, which do not belong together"
        )
    flat = images.reshape(len(images), -1).astype(np.float32)
    return Part(flat, labels.astype(np.int64))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder}: there is no {name}, nor {name}.gz")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, gzipped or not.

    Raises
    ------
    InputError
        Unless the file is exactly as long as its header says.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else raw as file:
                return _parse_idx(path, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated gzip data ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _parse_idx(path: Path, file: IO[bytes] | Any) -> NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
        raise InputError(f"{path}: not an idx file of unsigned bytes")
    sides = file.read(4 * magic[3])
    if len(sides) != 4 * magic[3]:
        raise InputError(f"{path}: the file ends within its header")
    shape = tuple(int(side) for side in np.frombuffer(sides, ">u4"))
    size = math.prod(shape)
    if size > _IDX_LIMIT:
        raise InputError(f"{path}: the header claims {size:,} bytes, over the limit of 1 GiB")
    data = bytearray()
    while len(data) <= size and (piece := file.read(min(_PIECE, size + 1 - len(data)))):
        data += piece
    if len(data) != size:
        found = "more" if len(data) > size else f"{len(data):,}"
        raise InputError(f"{path}: the header claims {size:,} bytes, the file holds {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)
