"""Functions that load arrays: those of arrays in memory, and what reads one piece by piece."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.files import SLACK, place

_KEPT = 2  # buffers that a thread keeps
_WIDEST = 1 << 27  # bytes of a buffer that is kept

Load = Callable[[int, int], NDArray[Any]]
Ranges = Iterable[tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayLoad:
    """Reads an array, which pickles by its values."""

    array: NDArray[Any]

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        """Entries [start, stop) in row-major order, in this machine's byte order."""
        flat = self.array.reshape(-1) if self.array.flags.c_contiguous else self.array.flat
        piece = flat[start:stop]
        return np.ascontiguousarray(piece, dtype=piece.dtype.newbyteorder("="))


@dataclasses.dataclass(frozen=True, eq=False)
class InMemory:
    """Loads values that are in this machine's memory, or in that of its devices."""

    load: Load
    numel: int

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        return self.load(start, stop)

    def __reduce__(self) -> tuple[type[ArrayLoad], tuple[NDArray[Any]]]:
        return ArrayLoad, (np.ascontiguousarray(self.load(0, self.numel)),)


@dataclasses.dataclass(frozen=True, eq=False)
class Stretch:
    """Loads entries from ``first`` on, all that it has of what another one loads."""

    load: Load
    first: int

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        return self.load(start - self.first, stop - self.first)


def only(load: Load, start: int, stop: int) -> Load:
    """What loads the entries [start, stop) as ``load`` does, and pickles no others.

    What is read from files is left as it is: it pickles no entries at all.

    >>> load = only(ArrayLoad(np.arange(1000)), 500, 503)
    >>> load(501, 503).tolist(), load.load.array.size
    ([501, 502], 3)
    """
    if isinstance(load, (ArrayLoad, InMemory)):
        return Stretch(ArrayLoad(load(start, stop)), start)
    return load


# --- piece by piece -------------------------------------------------------------------------


def fills(load: Load) -> bool:
    """Whether it fills arrays, as `refilled` says."""
    return hasattr(load, "into")


def is_near(load: Load) -> bool:
    """Whether it reads a file of this machine as it lies there: piece by piece costs no more than
    all at once."""
    return bool(getattr(load, "is_near", False))


def refilled(load: Load, dtype: np.dtype[Any], ranges: Ranges) -> Iterator[NDArray[Any]]:
    """The pieces that ``load`` gives of these ranges, each valid until the next one is taken.

    A ``load`` that has a method ``into(start, stop, out)``, and tells by ``offset(start)`` at which
    byte of its file the entries begin, fills one buffer again and again, for memory that is fresh
    costs more than the reading; any other one gives arrays as it does.

    >>> whole = np.arange(5.0)
    >>> load = lambda start, stop: whole[start:stop]
    >>> [piece.tolist() for piece in refilled(load, whole.dtype, [(0, 3), (3, 5)])]
    [[0.0, 1.0, 2.0], [3.0, 4.0]]
    """
    if not fills(load):
        yield from (load(*piece) for piece in ranges)
        return
    ranges = list(ranges)
    size = max((stop - start for start, stop in ranges), default=0) * dtype.itemsize
    with _lent(size + SLACK) as buffer:
        for piece in ranges:
            yield _filled(buffer, load, dtype, *piece)


@contextmanager
def borrowed(load: Load, dtype: np.dtype[Any], numel: int) -> Iterator[NDArray[Any]]:
    """All that ``load`` gives, in a buffer that is filled again later, where it can fill one.

    >>> with borrowed(ArrayLoad(np.arange(3.0)), np.dtype(float), 3) as array:
    ...     array.tolist()
    [0.0, 1.0, 2.0]
    """
    if not fills(load):
        yield load(0, numel)
        return
    with _lent(numel * dtype.itemsize + SLACK) as buffer:
        yield _filled(buffer, load, dtype, 0, numel)


def _filled(
    buffer: NDArray[np.uint8], load: Any, dtype: np.dtype[Any], start: int, stop: int
) -> NDArray[Any]:
    """The entries [start, stop) in a part of the buffer."""
    out = place(buffer, (stop - start) * dtype.itemsize, load.offset(start)).view(dtype)
    load.into(start, stop, out)
    return out


class _Buffers(threading.local):
    """The buffers of a thread that nobody uses."""

    def __init__(self) -> None:
        self.free: list[NDArray[np.uint8]] = []


_buffers = _Buffers()


@contextmanager
def _lent(size: int) -> Iterator[NDArray[np.uint8]]:
    """A buffer of at least so many bytes that nobody else has meanwhile."""
    fitting = [buffer for buffer in _buffers.free if buffer.size >= size]
    if fitting:
        buffer = min(fitting, key=len)
        _buffers.free = [other for other in _buffers.free if other is not buffer]
    else:
        buffer = np.empty(size, np.uint8)
    try:
        yield buffer
    finally:
        if buffer.size <= _WIDEST:
            _buffers.free = sorted([*_buffers.free, buffer], key=len)[-_KEPT:]
