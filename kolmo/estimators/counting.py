"""Which keys occur twice or more, and how often: sorted, as many at a time as fit in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kolmo.estimators.spool import Spool
from kolmo.estimators.streams import Keys

BUFFER = 1 << 26
"""Bytes of keys that are sorted at a time."""

_TOGETHER = 1 << 18  # keys that are read at a time
_FILLED = 0.75  # part of the buffer that a class fills if no key is much commoner than others

Source = Callable[[], Iterator[Keys]]
"""Gives all keys of a kind, chunk by chunk, as often as it is asked."""


def repeated_keys(keys: Source, most: int, dtype: np.dtype[Any]) -> Iterator[tuple[Keys, Keys]]:
    """The distinct keys that occur twice or more, and their counts; class by class of a hash.

    Parameters
    ----------
    keys : callable
        Gives all keys in chunks, the same at each call.
    most : int
        As many keys as there may be.
    dtype : numpy dtype
        Of the keys.

    Examples
    --------
    >>> chunks = np.uint32([5, 3, 5]), np.uint32([3, 5, 1])
    >>> found = repeated_keys(lambda: iter(chunks), 6, np.dtype(np.uint32))
    >>> [(k.tolist(), c.tolist()) for k, c in found]
    [([3, 5], [2, 3])]
    """
    room = BUFFER // dtype.itemsize
    if most <= min(room, _TOGETHER):
        yield _repeated(_joined(keys(), most, dtype))
        return
    classes = max(1, -(-most // int(_FILLED * room)))
    for source in _dealt(keys, classes, dtype, most):
        found = _Class(np.empty(min(most, room), dtype))
        for chunk in source():
            found.take(chunk)
        yield found.repeated()


def _joined(chunks: Iterator[Keys], most: int, dtype: np.dtype[Any]) -> Keys:
    """One array of all chunks, each of which is valid until the next one."""
    keys, end = np.empty(most, dtype), 0
    for chunk in chunks:
        keys[end : end + chunk.size] = chunk
        end += chunk.size
    return keys[:end]


def _repeated(keys: Keys) -> tuple[Keys, Keys]:
    """Of an array, which is sorted in place, the keys that occur twice or more and their counts."""
    from kolmo.estimators import kernels_mosaic as kernels

    keys.sort()
    counts = np.empty(keys.size // 2, np.uint32)
    found = kernels.count_runs(keys, 2, counts)
    return keys[:found], counts[:found]


def _dealt(keys: Source, classes: int, dtype: np.dtype[Any], most: int) -> Iterator[Source]:
    """The keys of each class of a hash, put aside in one pass over all where there are several."""
    from kolmo.estimators import kernels_mosaic as kernels

    if classes == 1:
        yield keys
        return
    spools = [Spool(dtype, most) for _ in range(classes)]
    ends = np.empty(classes, np.int64)
    for chunk in keys():
        dealt = np.empty(chunk.size, dtype)
        kernels.deal_classes(chunk, classes, dealt, ends)
        for spool, part in zip(spools, np.split(dealt, ends[:-1]), strict=True):
            spool.append(part)
    for spool in spools:
        yield functools.partial(spool.chunks, _TOGETHER)
        spool.close()


class _Class:
    """Counts the keys of one class. Where its keys are more than expected, few of them are common,
    so that sorting leaves few distinct ones."""

    def __init__(self, room: Keys) -> None:
        self._room, self._filled = room, 0
        self._keys: Keys = room[:0].copy()
        self._counts = np.empty(0, np.uint32)

    def take(self, keys: Keys) -> None:
        while keys.size:
            if self._filled == self._room.size:
                self._keys, self._counts = self._merged(*self._runs(1))
            left = self._room.size - self._filled
            some, keys = keys[:left], keys[left:]
            self._room[self._filled : self._filled + some.size] = some
            self._filled += some.size

    def repeated(self) -> tuple[Keys, Keys]:
        if not self._keys.size:
            return self._runs(2)
        keys, counts = self._merged(*self._runs(1))
        return keys[counts > 1], counts[counts > 1]

    def _runs(self, least: int) -> tuple[Keys, Keys]:
        """The distinct keys of the buffer that occur so often, and their counts; empties it."""
        from kolmo.estimators import kernels_mosaic as kernels

        keys, self._filled = self._room[: self._filled], 0
        keys.sort()
        counts = np.empty(keys.size // least, np.uint32)
        found = kernels.count_runs(keys, least, counts)
        return keys[:found], counts[:found]

    def _merged(self, keys: Keys, counts: Keys) -> tuple[Keys, Keys]:
        from kolmo.estimators import kernels_mosaic as kernels

        size = self._keys.size + keys.size
        merged, sums = np.empty(size, keys.dtype), np.empty(size, np.uint32)
        found = kernels.merge_runs(self._keys, self._counts, keys, counts, merged, sums)
        return merged[:found].copy(), sums[:found].copy()
