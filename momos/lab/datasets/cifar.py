"""CIFAR-10 from the files of its binary version, or from their archive, never unpacked.

A file is a sequence of records of 3,073 bytes: the label, then 32 rows of 32 red values, as many
green ones and as many blue ones. The version for Python is not read: it is pickled, and
a pickle can run any code when it is opened.
"""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError
from kolmo.files import check_readable

ARCHIVE = "cifar-10-binary.tar.gz"
SHAPE = (3, 32, 32)

_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_PICKLED = ("data_batch_1", "cifar-10-batches-py", "cifar-10-python.tar.gz")
_RECORDS = 10_000  # records a file
_RECORD = 1 + 3 * 32 * 32

Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read_cifar10(folder: Path) -> tuple[Labelled, Labelled]:
    """Training and test images, shape (count, 3072), each with their labels.

    Parameters
    ----------
    folder : path
        Folder of the six ``.bin`` files, of their folder ``cifar-10-batches-bin``, or of
        ``cifar-10-binary.tar.gz``; or that archive itself.

    Raises
    ------
    InputError
        For a file that is missing, of another size, or holds labels over 9.
    """
    batches = _read_batches(folder)
    train = [_decode(folder, name, batches[name]) for name in _TRAIN]
    images, labels = zip(*train, strict=True)
    return (np.concatenate(images), np.concatenate(labels)), _decode(folder, _TEST, batches[_TEST])


def _decode(folder: Path, name: str, batch: bytes) -> Labelled:
    records = np.frombuffer(batch, np.uint8).reshape(-1, _RECORD)
    images, labels = records[:, 1:], records[:, 0]
    if labels.max() > 9:
        row = int(np.argmax(labels > 9))
        raise InputError(
            f"{folder}: {name} is not of CIFAR-10, the label of its image {row} is {labels[row]}; "
            f"take it anew from {ARCHIVE}"
        )
    return images, labels


def _read_batches(folder: Path) -> dict[str, bytes]:
    """The content of the six files, by name."""
    archive = folder if folder.is_file() else folder / ARCHIVE
    for place in (folder, folder / _FOLDER):
        if any((place / name).is_file() for name in (*_TRAIN, _TEST)):
            return {name: _read_file(place / name) for name in (*_TRAIN, _TEST)}
    if archive.is_file():
        return _read_archive(archive)
    if any((folder / name).exists() for name in _PICKLED):
        raise InputError(
            f"{folder}: holds CIFAR-10 as pickles, which can run code when opened and are not "
            f"read; take the binary version, {ARCHIVE}"
        )
    raise InputError(f"{folder}: there is no {_TRAIN[0]}, nor {ARCHIVE}; put it there, or fetch it")


def _read_file(path: Path) -> bytes:
    try:
        _check_size(path, path.stat().st_size)
        check_readable(path)
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; put it there from {ARCHIVE}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read_archive(path: Path) -> dict[str, bytes]:
    """The six members of the archive, read in one pass; nothing is written to disk."""
    wanted = {f"{_FOLDER}/{name}": name for name in (*_TRAIN, _TEST)}
    batches: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.name in wanted and (file := archive.extractfile(member)):
                    _check_size(path / member.name, member.size)
                    batches[wanted[member.name]] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path}: damaged or truncated, take it anew ({error})") from None
    for member_name, name in wanted.items():
        if name not in batches:
            raise InputError(
                f"{path}: holds no {member_name}; it is truncated, or not the binary version of "
                f"CIFAR-10: take it anew"
            )
    return batches


def _check_size(path: Path, size: int) -> None:
    expected = _RECORDS * _RECORD
    if size != expected:
        raise InputError(
            f"{path}: holds {size:,} bytes, not {expected:,}; it is truncated or another file: "
            f"take it anew from {ARCHIVE}"
        )
