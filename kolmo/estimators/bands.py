"""Matrices row by row, from symbols that come in pieces of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from kolmo.symbols import Symbols


class Bands:
    """Turns flat symbols into bands of whole rows, matrix after matrix.

    With ``overlap`` a band begins with the last side − 1 rows of the one before, so that every
    group of ``side`` adjacent rows is in exactly one band.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], side: int, overlap: bool = False) -> None:
        self._shapes, self._side, self._overlap = list(shapes), side, overlap
        self._matrix = self._row = 0
        self._left: Symbols = np.empty(0, np.uint8)

    def update(self, symbols: Symbols) -> Iterator[tuple[Symbols, int, bool]]:
        """Complete bands: their rows, the number of the first, whether they end a matrix."""
        while True:
            while self._matrix < len(self._shapes) and not math.prod(self._shapes[self._matrix]):
                self._matrix += 1
            if not symbols.size or self._matrix == len(self._shapes):
                return
            rows, columns = self._shapes[self._matrix]
            needed = (rows - self._row) * columns - self._left.size
            taken, symbols = symbols[:needed], symbols[needed:]
            yield from self._advance(np.concatenate([self._left, taken]), rows, columns)

    def _advance(
        self, flat: Symbols, rows: int, columns: int
    ) -> Iterator[tuple[Symbols, int, bool]]:
        there = flat.size // columns
        last = self._row + there == rows
        if last:
            yield flat.reshape(there, columns), self._row, True
            self._matrix, self._row, self._left = self._matrix + 1, 0, flat[:0]
            return
        whole = (
            max(0, there - self._side + 1) if self._overlap else there // self._side * self._side
        )
        used = whole + self._side - 1 if self._overlap and whole else whole
        if used:
            yield flat[: used * columns].reshape(used, columns), self._row, False
        self._row += whole
        self._left = flat[whole * columns :].copy()
