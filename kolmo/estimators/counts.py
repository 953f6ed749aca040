"""Symbol counts, shared by the codes that need nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.lengths import Counts, Tally
from kolmo.estimators.rooms import empty_table
from kolmo.symbols import Alphabet, Symbols

ORDER_0_LIMIT = 1 << 16
"""Alphabets up to this size are counted symbol by symbol, larger ones byte-plane by byte-plane."""

_MOST = 1 << 31  # symbols that are counted before the tables are emptied: a count has 32 bits

Tables = list[NDArray[np.uint32]]


class Histogram:
    """Counts of symbols, fed chunk by chunk.

    An alphabet of more than 65,536 symbols (native floats of 32 or 64 bits, say) has no useful
    counts of its own; its symbols are then counted by byte-plane, each byte of the little-endian
    container as a symbol of 256.
    """

    def __init__(self, alphabet: Alphabet) -> None:
        self._dtype, self._size = alphabet.container, alphabet.size
        self.by_byte = alphabet.size > ORDER_0_LIMIT
        self._shape = (self._dtype.itemsize, 256) if self.by_byte else (1, alphabet.size)
        self._counts: Counts | None = None  # none were counted yet
        self._few: list[Symbols] = []  # symbols that are fewer than a table has places
        self._waiting = 0  # how many they are
        self._tables: Tables = []  # what is counted since the last time that they were emptied
        self._held = 0

    @property
    def counts(self) -> Counts:
        """int64 array, shape (planes, symbols): one plane, of the alphabet's size, unless the
        alphabet is wide."""
        if self._few and self._counts is None and not self._held:
            return self._with_few(np.zeros(self._shape, np.int64))  # which need not be kept
        return self._settled()

    @property
    def few_times(self) -> Tally | None:
        """How often each count occurs, where so few symbols were taken that they are not counted
        yet; None where they are."""
        if not self._few or self._counts is not None or self._held:
            return None
        from kolmo.estimators import kernels_few

        symbols = self._few[0] if len(self._few) == 1 else np.concatenate(self._few)
        every = np.zeros(symbols.size + 1, np.int64)
        distinct = kernels_few.tally_symbols(symbols, empty_table(self._size), every)
        counts = np.flatnonzero(every)
        times = dict(zip(counts.tolist(), every[counts].tolist(), strict=True))
        return {0: self._size - distinct, **times} if self._size > distinct else times

    def update(self, symbols: Symbols) -> None:
        fitting = np.ascontiguousarray(symbols, dtype=self._dtype)
        if not self.by_byte and 4 * symbols.size < self._size:  # tables would cost more
            self._hold(fitting)
            return
        for start in range(0, fitting.size, _MOST):
            self._count(fitting[start : start + _MOST])

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        if other._held or other._counts is not None:
            counts = self._settled()
            counts += other._settled()
        for symbols in other._few:
            self._hold(symbols)

    def add_counts(self, counts: Counts) -> None:
        """Add counts by symbol, of an alphabet that is not wide."""
        self._settled()[0] += counts

    def __getstate__(self) -> dict[str, Any]:
        if self._held:
            self._settled()
        return vars(self)

    def _settled(self) -> Counts:
        """The counts, in one array for all that was taken."""
        if self._counts is None:
            self._counts = np.zeros(self._shape, np.int64)
        self._with_few(self._counts)
        if self._held:
            self._counts += self._planes()
        self._few, self._tables, self._waiting, self._held = [], [], 0, 0
        return self._counts

    def _with_few(self, counts: Counts) -> Counts:
        """Add the symbols that wait to be counted."""
        for symbols in self._few:
            np.add.at(counts[0], symbols, 1)
        return counts

    def _hold(self, few: Symbols) -> None:
        """Keep symbols that are counted later, as long as they are fewer than the counts."""
        self._few.append(few.copy())
        self._waiting += few.size
        if self._waiting > self._size:
            self._settled()

    def _count(self, symbols: Symbols) -> None:
        from kolmo.estimators import kernels

        if self._held + symbols.size > _MOST:
            self._settled()
        if not self._tables:
            self._tables = [np.zeros(size, np.uint32) for size in self._table_sizes()]
        self._held += symbols.size
        if not self.by_byte:
            kernels.count_symbols(symbols, *self._tables)
            return
        words = symbols.view(np.uint32)
        step = len(self._tables) // 3
        for first in range(step):
            kernels.count_words(words, first, step, *self._tables[3 * first : 3 * first + 3])

    def _table_sizes(self) -> list[int]:
        """Two tables of all symbols; or, for each word of 32 bits, of bytes and the upper half."""
        words = self._dtype.itemsize // 4
        return [256, 256, 1 << 16] * words if self.by_byte else [self._size] * 2

    def _planes(self) -> Counts:
        """What the tables hold, in the shape of the counts."""
        if not self.by_byte:
            return np.add(*self._tables, dtype=np.int64)[None]
        planes = []
        for low, middle, high in zip(*(self._tables[k::3] for k in range(3)), strict=True):
            square = high.reshape(256, 256)
            planes += [low, middle, *(square.sum(axis=axis, dtype=np.int64) for axis in (0, 1))]
        return np.array(planes, np.int64)
