"""Reading pieces of files, from any thread; arrays in this machine's byte order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError


class LocalFile:
    """The bytes of a file of this machine, read from any thread.

    It is opened for every read, or `kept_open`, so that hundreds of checkpoints hold no file open.
    What is read is of one version of it: InputError once it is changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        try:
            status = os.stat(path)
        except OSError as error:
            raise self._unreadable(error) from None
        self.size, self._changed = status.st_size, status.st_mtime_ns

    def __call__(self, offset: int, size: int) -> memoryview:
        """Bytes [offset, offset + size), fewer where the file ends."""
        data = empty(max(0, min(size, self.size - offset)))
        return data[: self.into(offset, data)]

    def into(self, offset: int, out: memoryview) -> int:
        """Fill ``out`` with the bytes from ``offset``; how many these are, where the file ends."""
        try:
            with _opened(self._path) as descriptor:
                self._check(os.fstat(descriptor))
                return fill(descriptor, offset, out)
        except OSError as error:
            raise self._unreadable(error) from None

    def _check(self, status: os.stat_result) -> None:
        if (status.st_size, status.st_mtime_ns) != (self.size, self._changed):
            raise InputError(f"{self._path}: it was changed while it was read")

    def _unreadable(self, error: OSError) -> InputError:
        return InputError(f"{self._path}: cannot be read ({error.strerror})")


class _Kept(threading.local):
    """The files that a thread keeps open; None where it keeps none."""

    def __init__(self) -> None:
        self.files: dict[str, int] | None = None


_kept = _Kept()


@contextmanager
def kept_open() -> Iterator[None]:
    """Open each file once, for all that this thread reads of it meanwhile."""
    if _kept.files is not None:
        yield
        return
    _kept.files = {}
    try:
        yield
    finally:
        files, _kept.files = _kept.files, None
        for descriptor in files.values():
            os.close(descriptor)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    if _kept.files is not None:
        if path not in _kept.files:
            _kept.files[path] = os.open(path, os.O_RDONLY)
        yield _kept.files[path]
        return
    descriptor = os.open(path, os.O_RDONLY)  # in half the time of `open`
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def empty(size: int) -> memoryview:
    """So many bytes, which are not zeroed, as those of a bytearray are."""
    return np.empty(size, np.uint8).data


def read_at(path: Path, offset: int, size: int) -> memoryview:
    """Bytes [offset, offset + size) of a file, fewer where it ends."""
    return LocalFile(path)(offset, size)


def fill(descriptor: int, offset: int, out: memoryview) -> int:
    """Read from an open file into ``out``; how many bytes there were, without a copy of them."""
    done = 0
    while done < len(out) and (count := os.preadv(descriptor, [out[done:]], offset + done)):
        done += count
    return done


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's byte order."""
    return array.astype(native_dtype(array.dtype), copy=False)


def native_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in this machine's byte order."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def plural(count: int, noun: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
