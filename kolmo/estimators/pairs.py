"""A filter of pairs of keys: it tells those that cannot have come twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 1 << 27
"""Bytes of a filter, at most."""

_SPARSE = 16  # bits of a filter for each pair

Keys = NDArray[Any]


def filter_memory(pairs: int) -> int:
    """Bytes that a filter of so many pairs takes at most."""
    return min(MOST, _SPARSE * pairs // 2 + 16)


class PairFilter:
    """Tells pairs of keys that cannot have come twice, by a bit for each value of a hash.

    Parameters
    ----------
    most : int
        As many pairs as will be added.

    Examples
    --------
    >>> pairs = PairFilter(4)
    >>> pairs.add(np.uint64([1, 2, 3, 4, 1, 2]))
    >>> pairs.likely(np.uint64([3, 4, 1, 2])).tolist()
    [2, 3]
    """

    def __init__(self, most: int) -> None:
        bits = min(max(_SPARSE * most, 64), 8 * MOST // 2)
        # Words in turn: what has come, and what has come again, in one line of the cache.
        self._seen = np.zeros(2 << (bits - 1).bit_length() - 6, np.uint64)

    def add(self, keys: Keys) -> None:
        from kolmo.estimators import kernels_mosaic as kernels

        kernels.see_hashes(self._hashes(keys), self._seen)

    def likely(self, keys: Keys) -> NDArray[np.int64]:
        """The places of the keys whose pair may have come twice."""
        from kolmo.estimators import kernels_mosaic as kernels

        again = np.empty(keys.size // 2, np.bool_)
        kernels.came_again(self._hashes(keys), self._seen, again)
        return np.flatnonzero(np.repeat(again, 2))

    def _hashes(self, keys: Keys) -> NDArray[np.uint64]:
        from kolmo.estimators import kernels_mosaic as kernels

        hashes = np.empty(keys.size // 2, np.uint64)
        kernels.hash_pairs(keys, hashes)
        return hashes
