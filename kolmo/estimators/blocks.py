"""Cutting objects into blocks, and counting them, for the block decomposition method.

A counter takes flat symbols in any chunks and counts blocks by code (the block's symbols as
digits, row-major, the first the highest). What happens at the border:

``ignore``      incomplete blocks are dropped
``recursive``   they are cut into smaller squares or strings, down to ``min_length``
``correlated``  blocks overlap: one begins every ``shift`` symbols, in each dimension
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError
from kolmo.estimators.base import Shape, Symbols
from kolmo.estimators.ctm import BLOCK

Codes = NDArray[np.int64]
Blocks = dict[Shape, tuple[Codes, Codes]]
"""Of each block shape: the codes that occur, increasing, and how often."""

_DENSE = 1 << 16  # alphabets of blocks up to this are counted in an array
_COMPACT = 1 << 22  # codes that wait, at most, before they are counted


@dataclasses.dataclass(frozen=True)
class Boundary:
    """How blocks are cut."""

    name: str = "ignore"
    shift: int = 1
    min_length: int = 2

    def __post_init__(self) -> None:
        if self.name not in ("ignore", "recursive", "correlated"):
            raise InputError(
                f"bdm: the boundary is ignore, recursive or correlated, not {self.name!r}"
            )
        if self.shift < 1 or self.min_length < 1:
            raise InputError("bdm: shift and min_length are at least 1")


class Tally:
    """Counts of block codes of one shape."""

    def __init__(self, possible: int) -> None:
        self.dense: Codes | None = np.zeros(possible, np.int64) if possible <= _DENSE else None
        self._codes: Codes = np.empty(0, np.int64)
        self._counts: Codes = np.empty(0, np.int64)
        self._waiting: list[Codes] = []

    def add(self, codes: Codes) -> None:
        """Count codes, each once."""
        if self.dense is not None:
            self.dense += np.bincount(codes, minlength=self.dense.size)
            return
        self._waiting.append(codes)
        if sum(w.size for w in self._waiting) > max(_COMPACT, self._codes.size):
            self._compact()

    def merge(self, other: Tally) -> None:
        """Add another's counts."""
        if self.dense is not None and other.dense is not None:
            self.dense += other.dense
            return
        codes, counts = other.finish()
        self._compact()
        self._insert(codes, counts)

    def finish(self) -> tuple[Codes, Codes]:
        """The codes that occur, increasing, and their counts."""
        if self.dense is not None:
            codes = np.flatnonzero(self.dense)
            return codes, self.dense[codes]
        self._compact()
        return self._codes, self._counts

    def _compact(self) -> None:
        if self._waiting:
            self._insert(*np.unique(np.concatenate(self._waiting), return_counts=True))
            self._waiting = []

    def _insert(self, codes: Codes, counts: Codes) -> None:
        both = np.concatenate([self._codes, codes])
        self._codes, places = np.unique(both, return_inverse=True)
        weights = np.concatenate([self._counts, counts])
        self._counts = np.zeros(self._codes.size, np.int64)
        np.add.at(self._counts, places, weights)


class StringCounter:
    """Counts the blocks of a sequence; chunks, and tensors, follow one another without a gap."""

    def __init__(self, alphabet: int, boundary: Boundary) -> None:
        self._alphabet, self._boundary = alphabet, boundary
        self._tally = Tally(alphabet ** BLOCK[1])
        self._step = boundary.shift if boundary.name == "correlated" else BLOCK[1]
        self._left: Symbols = np.empty(0, np.uint8)
        self._skip = 0  # symbols before the next block, where a shift is longer than a block

    def update(self, symbols: Symbols) -> None:
        symbols = np.concatenate([self._left, symbols.astype(np.uint8, copy=False)])
        start = self._count(symbols, min(self._skip, symbols.size))
        self._skip = max(0, max(start, self._skip) - symbols.size)
        self._left = symbols[min(start, symbols.size) :].copy()

    def finish(self) -> Blocks:
        blocks: Blocks = {(BLOCK[1],): self._tally.finish()}
        length = self._left.size
        if self._boundary.name == "recursive" and length >= self._boundary.min_length:
            blocks[(length,)] = (self._encode(self._left, 0, length, 1), np.ones(1, np.int64))
        return blocks

    def merge(self, other: StringCounter) -> None:
        """Add what another counted of the part that follows.

        Raises
        ------
        InputError
            If this part does not end where a block ends.
        """
        if self._left.size or self._skip:
            raise InputError("bdm: parts can be merged only where they meet between two blocks")
        self._tally.merge(other._tally)
        self._left, self._skip = other._left, other._skip

    def _count(self, symbols: Symbols, start: int) -> int:
        """Count the blocks from start; returns where the next one would begin."""
        from kolmo.estimators import kernels

        blocks = max(0, (symbols.size - start - BLOCK[1]) // self._step + 1)
        if symbols.size - start < BLOCK[1]:
            return start
        if self._alphabet == 2 and self._tally.dense is not None:
            if self._step == 1:
                kernels.slide_strings(symbols[start:], self._tally.dense)
                return symbols.size - BLOCK[1] + 1
            return int(kernels.count_strings(symbols, start, self._step, self._tally.dense))
        for first in range(0, blocks, _COMPACT):
            some = min(_COMPACT, blocks - first)
            self._tally.add(self._encode(symbols, start + first * self._step, BLOCK[1], some))
        return start + blocks * self._step

    def _encode(self, symbols: Symbols, start: int, length: int, blocks: int) -> Codes:
        from kolmo.estimators import kernels

        codes = np.empty(blocks, np.int64)
        kernels.encode_strings(symbols, start, self._step, length, self._alphabet, codes)
        return codes


class SquareCounter:
    """Counts the blocks of 0/1 matrices, one after the other, in common tallies."""

    def __init__(self, shapes: Sequence[tuple[int, int]], boundary: Boundary) -> None:
        self._bands = Bands(shapes, BLOCK[2], overlap=boundary.name == "correlated")
        self._boundary = boundary
        self._tallies: dict[int, Tally] = {BLOCK[2]: Tally(1 << 16)}

    def update(self, symbols: Symbols) -> None:
        for rows, first, last in self._bands.update(symbols):
            if self._boundary.name == "correlated":
                self._slide(rows, first)
            else:
                self._tile(rows, last)

    def finish(self) -> Blocks:
        return {(side, side): tally.finish() for side, tally in sorted(self._tallies.items())}

    def merge(self, other: SquareCounter) -> None:
        """Add what another counted of other matrices."""
        for side, tally in other._tallies.items():
            self._tallies.setdefault(side, Tally(1 << side**2)).merge(tally)

    def _slide(self, rows: Symbols, first: int) -> None:
        shift = self._boundary.shift
        self._count(rows[-first % shift :], BLOCK[2], shift)

    def _tile(self, rows: Symbols, last: bool) -> None:
        self._count(rows, BLOCK[2], BLOCK[2])
        if self._boundary.name == "recursive":
            height, width = rows.shape
            whole_rows, whole_columns = height // 4 * 4, width // 4 * 4
            self._cut(rows[:whole_rows, whole_columns:], 4, width - whole_columns)
            if last and whole_rows < height:
                self._cut(rows[whole_rows:, :whole_columns], height - whole_rows, 4)
                self._cut(
                    rows[whole_rows:, whole_columns:], height - whole_rows, width - whole_columns
                )

    def _cut(self, strip: Symbols, height: int, width: int) -> None:
        """Cut a strip of height × width parts into squares, again and again."""
        side = min(height, width)
        if side < self._boundary.min_length or strip.size == 0:
            return
        for part in _parts(strip, height, width):
            self._squares(part, side)

    def _squares(self, part: Symbols, side: int) -> None:
        if side < self._boundary.min_length:
            return
        self._count(part, side, side)
        height, width = part.shape
        down, across = height // side * side, width // side * side
        rest_down, rest_across = height - down, width - across
        for i in range(0, down, side):
            if rest_across:
                self._squares(part[i : i + side, across:], min(side, rest_across))
        for j in range(0, across, side):
            if rest_down:
                self._squares(part[down:, j : j + side], min(side, rest_down))
        if rest_down and rest_across:
            self._squares(part[down:, across:], min(rest_down, rest_across))

    def _count(self, rows: Symbols, side: int, step: int) -> None:
        from kolmo.estimators import kernels

        if side > min(rows.shape):
            return
        tally = self._tallies.setdefault(side, Tally(1 << side**2))
        kernels.count_squares(np.ascontiguousarray(rows), step, step, side, tally.dense)


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


def _parts(strip: Symbols, height: int, width: int) -> Iterator[Symbols]:
    for i in range(0, strip.shape[0], height):
        for j in range(0, strip.shape[1], width):
            yield strip[i : i + height, j : j + width]
