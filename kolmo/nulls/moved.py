"""Weights at other places: exact shuffles of tensors of any size in bounded memory.

A shuffled line is made as Rao (1961) and Sandelius (1962) did with decks of cards. Each weight goes
to a random bucket, whatever bucket the others go to, and each bucket is then shuffled by itself.
All orders of the line are equally likely, and a bucket fits in the cache.

At most `WINDOW` bytes are held. Of a larger tensor the weights between two places are drawn when
they are asked for, and kept until others are asked for: the tensor is read once for each window,
and only what belongs to the window is kept. There is no temporary file, and whoever reads from the
first place to the last draws each weight once. What is drawn does not depend on who asks for what.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.nulls.seeds import Key, Seed, random_keys

Load = Callable[[int, int], NDArray[Any]]

WINDOW = 1 << 28
"""Bytes of a tensor that are held at most; a larger one is drawn window by window."""

BUCKET = 1 << 18
"""Bytes of a bucket at most, so that it fits in a core's own cache, as long as 2^16 are enough."""

BAND = 1 << 25
"""Bytes of whole rows that are drawn at a time, where rows are shuffled each by itself."""

STEP = 1 << 22
"""Weights that are read at a time; a multiple of 4."""

_LINE = 256  # bytes of a row that are moved together where columns are shuffled
_TABLES = 1 << 22  # bytes of counts, borders and the like
_DIGIT = 16  # random bits that say a weight's bucket


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is held: bytes of a window, of a bucket, of a band of rows; weights of a step."""

    window: int = WINDOW
    bucket: int = BUCKET
    band: int = BAND
    step: int = STEP


@dataclasses.dataclass(frozen=True)
class Window:
    """Drawn weights, from a place on."""

    first: int
    weights: NDArray[Any]

    def holds(self, place: int) -> bool:
        return self.first <= place < self.first + self.weights.size


@dataclasses.dataclass(eq=False)
class Moved:
    """Numbers of a tensor at other places; ``load`` is that of a WeightTensor. It can be pickled,
    without what it has drawn.

    Attributes
    ----------
    source : callable
        Loads the numbers at their own places.
    dtype : numpy.dtype
        Of the numbers.
    shape : tuple of int
        Of a matrix, its two sides.
    width : int
        Bytes of a weight. They decide where windows and buckets end, so that the codes of a
        quantized tensor move as its weights do.
    seed : tuple of int
    """

    source: Load
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    width: int
    seed: Seed
    sizes: Sizes = dataclasses.field(default_factory=Sizes)

    def __post_init__(self) -> None:
        self._held, self._lock = Window(0, np.empty(0)), threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """The numbers at the places [start, stop)."""
        pieces = []
        while start < stop:
            window = self._window(start)
            piece = window.weights[start - window.first : stop - window.first]
            is_all = window.weights.size == self._numel
            pieces.append(piece if is_all else piece.copy())  # which lets go of the window
            start += piece.size
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype)

    @property
    def memory(self) -> int:
        """Bytes at most that are held while it is read from the first place to the last."""
        read = 2 * min(self._numel, self.sizes.step)  # a step, and the one before it
        return (min(self._numel, self._most) + read) * self.dtype.itemsize + _TABLES

    @property
    def _most(self) -> int:
        """Numbers of a window at most."""
        return self.sizes.window // self.width + 1

    def draw(self, place: int) -> Window:
        """The window that holds a place."""
        raise NotImplementedError

    @property
    def _numel(self) -> int:
        return math.prod(self.shape)

    def _window(self, place: int) -> Window:
        with self._lock:
            if not self._held.holds(place):
                self._held = Window(0, np.empty(0))  # frees its memory first
                self._held = self.draw(place)
            return self._held

    def _steps(self, start: int, stop: int, step: int) -> Iterator[tuple[int, NDArray[Any]]]:
        for first in range(start, stop, step):
            yield first, np.ascontiguousarray(self.source(first, min(first + step, stop)))

    def _copy(self, start: int, stop: int) -> NDArray[Any]:
        """The numbers [start, stop) at their own places, in memory of their own."""
        copy = np.empty(stop - start, self.dtype)
        for first, numbers in self._steps(start, stop, self.sizes.step):
            copy[first - start :][: numbers.size] = numbers
        return copy


class MovedInLine(Moved):
    """A line of weights, all orders equally likely."""

    def draw(self, place: int) -> Window:
        from kolmo.nulls import kernels

        first, last = self._buckets_with(place)
        borders = self._borders[first : last + 1]
        weights = self._deal(first, last)
        if weights.size:
            shuffled = borders - borders[0]
            kernels.shuffle_stretches(bits(weights), shuffled, self._keys[1], int(borders[0]))
        return Window(int(borders[0]), weights)

    def _deal(self, first: int, last: int) -> NDArray[Any]:
        """The weights of the buckets from first to last, which is not among them."""
        from kolmo.nulls import kernels

        borders, shift = self._borders, _DIGIT - self._digits
        if not self._digits:
            return self._copy(0, self._numel)
        places = np.full(borders.size - 1, -1, np.int64)
        places[first:last] = borders[first:last] - borders[first]
        dealt = np.empty(borders[last] - borders[first], self.dtype)
        for start, weights in self._steps(0, self._numel, self.sizes.step):
            kernels.deal(bits(weights), start, shift, self._keys[0], places, bits(dealt))
        return dealt

    def _buckets_with(self, place: int) -> tuple[int, int]:
        """The buckets of the window that holds a place: as many as fit in it, one at least."""
        most, borders, first = self.sizes.window // self.width, self._borders, 0
        while True:
            last = int(np.searchsorted(borders, borders[first] + most, "right")) - 1
            last = max(last, first + 1)
            if place < borders[last] or last == borders.size - 1:
                return first, last
            first = last

    @cached_property
    def _keys(self) -> Sequence[Key]:
        return random_keys(self.seed, 2)

    @property
    def _digits(self) -> int:
        """Binary digits of a bucket's number."""
        buckets = -(-self._numel * self.width // self.sizes.bucket)
        return min(_DIGIT, max(0, buckets - 1).bit_length())

    @cached_property
    def _borders(self) -> NDArray[np.int64]:
        """Where each bucket begins, and the last one ends."""
        from kolmo.nulls import kernels

        borders = np.zeros((1 << self._digits) + 1, np.int64)
        if self._digits:
            shift = _DIGIT - self._digits
            kernels.count_buckets(self._numel, shift, self._keys[0], borders[1:])
            return np.cumsum(borders)
        return np.array([0, self._numel])


class MovedInRows(Moved):
    """A matrix whose rows are lines, each shuffled by itself."""

    def draw(self, place: int) -> Window:
        from kolmo.nulls import kernels

        rows, columns = self.shape
        if not self._are_short:
            return self._in_long_row(place // columns, place % columns)
        first = place // columns // self._band * self._band
        last = min(first + self._band, rows)
        weights = self._copy(first * columns, last * columns)
        borders = np.arange(last - first + 1) * columns
        kernels.shuffle_stretches(bits(weights), borders, self._key, first * columns)
        return Window(first * columns, weights)

    @property
    def _most(self) -> int:
        columns = self.shape[1]
        return self._band * columns if self._are_short else min(columns, super()._most)

    @property
    def _are_short(self) -> bool:
        return self.shape[1] * self.width <= self.sizes.bucket

    @property
    def _band(self) -> int:
        """Rows that are drawn at a time, where they are short."""
        return max(1, self.sizes.band // max(1, self.shape[1] * self.width))

    @cached_property
    def _key(self) -> Key:
        return random_keys(self.seed, 1)[0]

    def _in_long_row(self, row: int, place: int) -> Window:
        begin = row * self.shape[1]

        def source(start: int, stop: int) -> NDArray[Any]:
            return self.source(begin + start, begin + stop)

        seed = (*self.seed, row)
        line = MovedInLine(source, self.dtype, self.shape[1:], self.width, seed, self.sizes)
        window = line.draw(place)
        return Window(begin + window.first, window.weights)


class MovedInColumns(Moved):
    """A matrix whose columns are lines, each shuffled by itself.

    Where it has several windows of rows, it is first drawn at random which weights of each column
    go to which window. Where a window is smaller than a row, it is a part of one.
    """

    def draw(self, place: int) -> Window:
        from kolmo.nulls import kernels

        rows, columns = self.shape
        row, column = divmod(place, columns)
        row -= row % self._band
        wide = min(columns, max(1, self.sizes.window // self.width))
        column = column // wide * wide if self._band == 1 else 0
        whole = self._band >= rows
        weights = self._copy(0, rows * columns) if whole else self._choose(row, column, wide)
        matrix = bits(weights).reshape(-1, min(wide, columns - column))
        number = column * rows + row
        kernels.shuffle_columns(matrix, self._keys[1], number, rows, self._scratch(matrix))
        return Window(row * columns + column, weights)

    def _choose(self, row: int, column: int, wide: int) -> NDArray[Any]:
        """The weights that go to the window that begins at a row and a column."""
        from kolmo.nulls import kernels

        rows, columns = self.shape
        end = min(column + wide, columns)
        chosen = np.empty((min(self._band, rows - row), end - column), self.dtype)
        part = max(1, self.sizes.band // 16)
        for begin in range(column, end, part):
            stop = min(begin + part, end)
            slots = np.repeat([[row], [row + chosen.shape[0]]], stop - begin, 1)
            for first, matrix in self._rows_between(begin, stop):
                kernels.choose_rows(
                    bits(matrix), first, begin, rows, columns, self._keys[0], slots,
                    bits(chosen), begin - column,
                )  # fmt: skip
        return chosen.reshape(-1)

    def _rows_between(self, begin: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows between two columns: rows that are read together, from row ``first`` on."""
        rows, columns = self.shape
        if stop - begin == columns:
            step = max(1, self.sizes.step // columns) * columns
            for start, weights in self._steps(0, rows * columns, step):
                yield start // columns, weights.reshape(-1, columns)
        else:
            for row in range(rows):
                part = self.source(row * columns + begin, row * columns + stop)
                yield row, np.ascontiguousarray(part)[None]

    def _scratch(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Memory for as many columns as are moved together."""
        most = self.sizes.band // (matrix.shape[0] * self.width)
        wide = max(1, min(matrix.shape[1], _LINE // self.width, most))
        return np.empty((wide, matrix.shape[0]), matrix.dtype)

    @property
    def _band(self) -> int:
        """Rows of a window."""
        return max(1, self.sizes.window // max(1, self.shape[1] * self.width))

    @cached_property
    def _keys(self) -> Sequence[Key]:
        return random_keys(self.seed, 2)


def bits(weights: NDArray[Any]) -> NDArray[Any]:
    """The same memory as unsigned integers, in which every dtype can be moved."""
    return weights.view(f"u{weights.dtype.itemsize}")
