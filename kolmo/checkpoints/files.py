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

from kolmo.checkpoints.origins import Version
from kolmo.errors import InputError
from kolmo.files import check_readable


class LocalFile:
    """The bytes of a file of this machine, read from any thread.

    It is opened for every read, or `kept_open`, so that hundreds of checkpoints hold no file open.
    What is read is of one version of it: InputError once it is changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        check_readable(path)
        self._version = Version.of(path)
        self.size = self._version.size

    def __call__(self, offset: int, size: int) -> memoryview:
        """Bytes [offset, offset + size), fewer where the file ends."""
        size = max(0, min(size, self.size - offset))
        data = place(np.empty(size + SLACK, np.uint8), size, offset).data
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
        if Version.told_by(status).is_other(self._version):
            raise InputError(f"{self._path}: it was changed while it was read")

    def _unreadable(self, error: OSError) -> InputError:
        return InputError(f"{self._path}: cannot be read ({error.strerror})")


_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # Windows would read a text


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
            _kept.files[path] = os.open(path, _READ)
        yield _kept.files[path]
        return
    descriptor = os.open(path, _READ)  # in half the time of `open`
    try:
        yield descriptor
    finally:
        os.close(descriptor)


SLACK = 128
"""Bytes that a buffer has for `place` besides those that are read."""

_LINE, _PAGE = 64, 4096  # bytes of a processor's cache line, and of a page of memory


def place(buffer: NDArray[np.uint8], size: int, offset: int) -> NDArray[np.uint8]:
    """The part of a buffer for ``size`` bytes of a file from ``offset`` on: at a line's begin, and
    not just behind the place in its page that they have in theirs.

    Some processors copy at a quarter of their speed there (AMD's Zen 3 and 4, ``rep movsb`` to a
    place that lies 1 to 31 bytes behind the source, modulo pages).

    >>> place(np.empty(100 + SLACK, np.uint8), 100, 0).size
    100
    """
    address = buffer.__array_interface__["data"][0]
    first = -address % _LINE
    if 0 < (address + first - offset) % _PAGE < _LINE:
        first += _LINE
    return buffer[first : first + size]


def read_at(path: Path, offset: int, size: int) -> memoryview:
    """Bytes [offset, offset + size) of a file, fewer where it ends."""
    return LocalFile(path)(offset, size)


def fill(descriptor: int, offset: int, out: memoryview) -> int:
    """Read from an open file into ``out``; how many bytes there were, without a copy of them."""
    done = 0
    while done < len(out) and (count := _read(descriptor, offset + done, out[done:])):
        done += count
    return done


_seeking = threading.Lock()


def _read(descriptor: int, offset: int, out: memoryview) -> int:
    """Read some bytes; where the system cannot say from where, one thread at a time."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [out], offset)
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        data = os.read(descriptor, len(out))
    out[: len(data)] = data
    return len(data)


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's byte order."""
    return array.astype(native_dtype(array.dtype), copy=False)


def native_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in this machine's byte order."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def plural(count: int, noun: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
