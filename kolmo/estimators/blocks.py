"""Cutting objects into blocks, and counting them, for the block decomposition method.

A counter takes flat symbols in chunks of any size and counts blocks by code (the block's symbols,
row-major, ``symbol_bits`` bits each, the first the highest). The boundary says how blocks are cut:

``ignore``      incomplete blocks are dropped
``recursive``   they are cut into smaller squares or strings, down to ``min_length``
``correlated``  blocks overlap: one begins every ``shift`` symbols, in each dimension
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError
from kolmo.estimators.bands import Bands
from kolmo.estimators.ctm import BLOCK
from kolmo.execution import in_parts
from kolmo.symbols import Shape, Symbols, symbol_bits

Codes = NDArray[np.int64]
Blocks = dict[Shape, tuple[Codes, Codes]]
"""For each block shape the codes that occur, increasing, and their counts."""

_FEW = 1 << 16  # up to this many possible blocks: count in an array
_WIDE = 1 << 24  # up to this many too, if
_MANY = 1 << 22  # at least this many blocks are expected
_HANDFUL = 8  # blocks up to these many are counted without a loop that must be compiled or loaded
_COMPACT = 1 << 22  # most codes that wait before they are counted


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
    """Counts of block codes of one shape.

    Attributes
    ----------
    dense : integer array or None
        Counts by code, if there are few possible blocks or many blocks to count.
    """

    def __init__(self, possible: int, expected: int = 0) -> None:
        self.dense: NDArray[Any] | None = None
        if possible <= _FEW:
            self.dense = np.zeros(possible, np.int64)
        elif possible <= _WIDE and _MANY <= expected < 2**32:
            self.dense = np.zeros(possible, np.uint32)
        self._codes: Codes = np.empty(0, np.int64)
        self._counts: Codes = np.empty(0, np.int64)
        self._waiting: list[NDArray[Any]] = []

    def add(self, codes: NDArray[Any]) -> None:
        """Count codes, each once."""
        self._waiting.append(codes)
        if self.dense is not None or sum(w.size for w in self._waiting) > max(
            _COMPACT, self._codes.size
        ):
            self._compact()

    def add_counts(self, counts: Codes) -> None:
        """Add the counts of all codes."""
        codes = np.flatnonzero(counts)
        self._insert(codes, counts[codes])

    def merge(self, other: Tally) -> None:
        """Add another's counts."""
        if self.dense is not None and other.dense is not None:
            self.dense += other.dense.astype(self.dense.dtype, copy=False)
            return
        self._compact()
        self._insert(*other.finish())

    def finish(self) -> tuple[Codes, Codes]:
        """The codes that occur, increasing, and their counts."""
        if self.dense is not None:
            return _present(self.dense)
        self._compact()
        return self._codes, self._counts

    def __getstate__(self) -> dict[str, Any]:
        """Counts of many kinds of blocks, of which few occur, pickle by those that do."""
        state = vars(self)
        if self.dense is None:
            return state
        codes = np.flatnonzero(self.dense != 0)
        if 4 * codes.size > self.dense.size:
            return state
        return {**state, "dense": (self.dense.size, codes.astype(np.uint32), self.dense[codes])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if isinstance(state["dense"], tuple):
            possible, codes, counts = state["dense"]
            self.dense = np.zeros(possible, counts.dtype)
            self.dense[codes] = counts

    def _compact(self) -> None:
        if self._waiting:
            self._insert(*_count_codes(np.concatenate(self._waiting)))
            self._waiting = []

    def _insert(self, codes: Codes, counts: Codes) -> None:
        if self.dense is not None:
            self.dense[codes] += counts.astype(self.dense.dtype)
        elif not self._codes.size:
            self._codes, self._counts = codes, counts
        else:
            both = np.concatenate([self._codes, codes])
            weights = np.concatenate([self._counts, counts])
            self._codes, places = np.unique(both, return_inverse=True)
            self._counts = np.zeros(self._codes.size, np.int64)
            np.add.at(self._counts, places, weights)


def _present(counts: NDArray[Any]) -> tuple[Codes, Codes]:
    """The codes whose count is not 0, increasing, and the counts."""
    from kolmo.estimators import kernels

    def gather(part: slice) -> tuple[Codes, Codes]:
        codes, present = (np.empty(part.stop - part.start, np.int64) for _ in range(2))
        n = kernels.nonzero_counts(counts[part], part.start, codes, present)
        return codes[:n], present[:n]

    pieces = in_parts(gather, counts.size)
    return np.concatenate([c for c, _ in pieces]), np.concatenate([n for _, n in pieces])


def _count_codes(codes: NDArray[Any]) -> tuple[Codes, Codes]:
    """The distinct codes, increasing, and how often each occurs."""
    from kolmo.estimators import kernels

    if codes.dtype == np.uint32:  # the dtype of blocks of 24 bits
        kernels.radix_sort(codes, np.empty_like(codes))
    else:
        codes = np.sort(codes)
    distinct, counts = np.empty(codes.size, np.int64), np.empty(codes.size, np.int64)
    n = kernels.run_lengths(codes, distinct, counts)
    return distinct[:n].copy(), counts[:n].copy()


_NONE = np.full(2, -1)  # no first and no last block


class StringCounter:
    """Counts the blocks of a sequence; chunks and tensors are joined without a gap.

    It may count a part, which has ``before`` symbols ahead of it. The part counts the blocks that
    begin in it and keeps the symbols at its head that complete those of the part before.

    Attributes
    ----------
    ahead : int
        Symbols until the next block begins.
    """

    def __init__(self, size: int, boundary: Boundary, numel: int = 0, before: int = 0) -> None:
        self._bits, self._boundary = symbol_bits(size), boundary
        self._step = boundary.shift if boundary.name == "correlated" else BLOCK[1]
        self._tally = Tally(1 << (self._bits * BLOCK[1]), numel // self._step)
        self._left: Symbols = np.empty(0, np.uint8)  # begins where the next block begins
        self._skip = self._first = -before % self._step  # symbols before the next block, the first
        self._needed = max(0, self._first + BLOCK[1] - self._step) if before else 0
        self._head: Symbols = np.empty(0, np.uint8)
        self._taken = 0

    @property
    def is_binary(self) -> bool:
        """Whether it counts blocks of two symbols, side by side."""
        return self._bits == 1 and self._step == BLOCK[1]

    @property
    def ahead(self) -> int:
        return self._skip or -self._left.size % self._step

    def update(self, symbols: Symbols) -> None:
        symbols = np.ascontiguousarray(symbols, np.uint8)
        self._lengthen_head(symbols)
        self._taken += symbols.size
        start = self._bridge(symbols) if self._left.size else self._skip
        if self._left.size:
            return
        start = self._count(symbols, start)
        self._skip = max(0, start - symbols.size)
        self._left = symbols[start:].copy()

    def _lengthen_head(self, symbols: Symbols) -> None:
        lacking = self._needed - self._head.size
        if lacking > 0:
            self._head = np.concatenate([self._head, symbols[:lacking]])

    def _bridge(self, symbols: Symbols) -> int:
        """Count the blocks that begin in the symbols left over; returns where the next one begins.

        Symbols are left over again only if there are too few for the first of these blocks.
        """
        left = self._left
        bridge = np.concatenate([left, symbols[: BLOCK[1] - 1]])
        inside = bridge[: (left.size - 1) // self._step * self._step + BLOCK[1]]
        start = self._count(inside, 0)
        if start < left.size:
            self._left = bridge[start:]
            return symbols.size
        self._left = left[:0]
        return start - left.size

    def add_counts(self, counts: Codes) -> None:
        """Add whole blocks, side by side from where the next one begins, by code."""
        self._tally.add_counts(counts)
        self._taken += BLOCK[1] * int(counts.sum())

    def finish(self) -> Blocks:
        blocks: Blocks = {(BLOCK[1],): self._tally.finish()}
        length = self._left.size
        if self._boundary.name == "recursive" and length >= self._boundary.min_length:
            blocks[(length,)] = (self._encode(self._left, 0, length, 1), np.ones(1, np.int64))
        return blocks

    def merge(self, other: StringCounter) -> None:
        """Add the counts of another counter, of the part that follows.

        Raises
        ------
        InputError
            If the blocks of the part begin elsewhere than those of the whole.
        """
        if not other._taken:
            return
        if other._first != self.ahead or (self._left.size and not other._needed):
            raise InputError(
                "bdm: parts are merged in order, and meet between two blocks unless the part knows "
                "how many symbols come before it (Estimator.start_part)"
            )
        if other._taken <= other._needed:  # too short to have a block of its own
            self.update(other._head)
            return
        self._lengthen_head(other._head)
        if self._left.size:
            self._bridge(other._head)
        self._tally.merge(other._tally)
        self._left, self._skip = other._left, other._skip
        self._taken += other._taken

    def _count(self, symbols: Symbols, start: int) -> int:
        """Count the blocks from start; returns where the next one would begin."""
        if symbols.size - start < BLOCK[1]:
            return start
        blocks = (symbols.size - start - BLOCK[1]) // self._step + 1
        if self._tally.dense is not None:
            self._count_dense(symbols[start:], blocks, self._tally.dense)
        else:
            for first in range(0, blocks, _COMPACT):
                number, place = min(_COMPACT, blocks - first), start + first * self._step
                self._tally.add(self._encode(symbols, place, BLOCK[1], number))
        return start + blocks * self._step

    def _count_dense(self, symbols: Symbols, blocks: int, counts: NDArray[Any]) -> None:
        from kolmo.estimators import kernels, kernels_signs

        if blocks <= _HANDFUL:
            windows = np.lib.stride_tricks.sliding_window_view(symbols, BLOCK[1])[:: self._step]
            places = 1 << self._bits * np.arange(BLOCK[1])[::-1]
            np.add.at(counts, windows.astype(np.int64) @ places, 1)
        elif self._bits == 2:
            kernels.count_quaternary(symbols, 0, self._step, counts)
        elif self._step == BLOCK[1]:
            signs = symbols[: blocks * BLOCK[1]].view(np.int8)
            most = np.int8(127)  # no symbol is NaN
            kernels_signs.count_sign_strings(signs, most, most, counts, 0, counts, _NONE)
        elif self._step == 1:
            kernels.slide_strings(symbols, counts)
        else:
            kernels.count_strings(symbols, 0, self._step, counts)

    def _encode(self, symbols: Symbols, start: int, length: int, blocks: int) -> NDArray[Any]:
        from kolmo.estimators import kernels

        if self._bits == 2 and length == BLOCK[1]:
            packed = np.empty(blocks, np.uint32)
            kernels.encode_quaternary(symbols, start, self._step, packed)
            return packed
        codes = np.empty(blocks, np.int64)
        kernels.encode_strings(symbols, start, self._step, length, self._bits, codes)
        return codes


class SquareCounter:
    """Counts the blocks of several 0/1 matrices together."""

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

    def add_counts(self, counts: Codes) -> None:
        """Add 4 × 4 blocks that were counted elsewhere, by code."""
        self._tallies[BLOCK[2]].add_counts(counts)

    def finish(self) -> Blocks:
        return {(side, side): tally.finish() for side, tally in sorted(self._tallies.items())}

    def merge(self, other: SquareCounter) -> None:
        """Add the counts of another counter, of other matrices."""
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
        """Cut a strip of height × width parts into squares, and the rests into smaller ones."""
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


def _parts(strip: Symbols, height: int, width: int) -> Iterator[Symbols]:
    for i in range(0, strip.shape[0], height):
        for j in range(0, strip.shape[1], width):
            yield strip[i : i + height, j : j + width]
