"""Symbol counts, shared by the codes that need nothing else."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kolmo.estimators.base import Symbols, container

Counts = NDArray[np.int64]

ORDER_0_LIMIT = 1 << 16
"""Alphabets up to this size are counted symbol by symbol, larger ones byte-plane by byte-plane."""


class Histogram:
    """Counts of symbols, fed chunk by chunk.

    An alphabet of more than 65,536 symbols (native floats of 32 or 64 bits, say) has no useful
    counts of its own; its symbols are then counted by byte-plane, each byte of the little-endian
    container as a symbol of 256.

    Attributes
    ----------
    counts : int64 array, shape (planes, symbols)
        One plane, of the alphabet's size, unless the alphabet is wide.
    """

    def __init__(self, alphabet: int) -> None:
        self._dtype = container(alphabet)
        self.by_byte = alphabet > ORDER_0_LIMIT
        shape = (self._dtype.itemsize, 256) if self.by_byte else (1, alphabet)
        self.counts: Counts = np.zeros(shape, np.int64)

    def update(self, symbols: Symbols) -> None:
        from kolmo.estimators import kernels

        fitting = np.ascontiguousarray(symbols, dtype=self._dtype)
        if self.by_byte:
            kernels.count_planes(fitting, self.counts)
        else:
            kernels.count_symbols(fitting, self.counts[0])

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        self.counts += other.counts


def entropy_bits(counts: Counts) -> float:
    """n × the plug-in entropy (Shannon 1948) of counts that add up to n, in bits.

    >>> entropy_bits(np.array([2, 2, 4]))
    12.0
    """
    present = counts[counts > 0].astype(np.float64)
    if present.size == 0:
        return 0.0
    total = float(present.sum())
    return max(0.0, total * math.log2(total) - math.fsum(present * np.log2(present)))
