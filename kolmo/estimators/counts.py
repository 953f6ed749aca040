"""Symbol counts, shared by the codes that need nothing else."""

from __future__ import annotations

import numpy as np

from kolmo.codes.lengths import Counts
from kolmo.symbols import Alphabet, Symbols

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

    def __init__(self, alphabet: Alphabet) -> None:
        self._dtype = alphabet.container
        self.by_byte = alphabet.size > ORDER_0_LIMIT
        shape = (self._dtype.itemsize, 256) if self.by_byte else (1, alphabet.size)
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
