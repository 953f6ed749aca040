"""Stretches of the symbols of one or more tensors, and what a code takes for one alone."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from kolmo.estimators.base import Estimator
from kolmo.estimators.compressors import PIECE, Compressor
from kolmo.layout import laid_out_size, lay_out
from kolmo.symbols import Alphabet, Shape, Symbols

_EVEN = 64  # symbols that whole bytes are made of, in any layout


class Objects:
    """The tensors of an object as one line of symbols.

    Parameters
    ----------
    shapes : sequence of shapes
    longest : int
        Symbols of a row, at most, that is kept whole.

    Attributes
    ----------
    numel : int
    cut : float
        The share of the symbols that lie in longer rows.

    Examples
    --------
    >>> objects = Objects([(10, 100), (7,)], 200)
    >>> objects.even(250), objects.after(250), list(objects.parts(900, 1003))
    (200, 300, [(1, 100), (3,)])
    """

    def __init__(self, shapes: Sequence[Shape], longest: int) -> None:
        self.shapes = [shape for shape in shapes if math.prod(shape)]
        sizes = [math.prod(shape) for shape in self.shapes]
        self._starts = np.cumsum([0, *sizes]).tolist()
        self.longest = longest
        self.numel: int = self._starts[-1]
        rows = zip(self.shapes, sizes, strict=True)
        self.cut = sum(n for shape, n in rows if math.prod(shape[1:]) > longest) / self.numel

    def even(self, place: int) -> int:
        """The place of the row, or of the 64 symbols, that one lies in."""
        if place >= self.numel:
            return self.numel
        start, grain = self._grain(place)
        return start + (place - start) // grain * grain

    def after(self, place: int) -> int:
        """Where the row, or the 64 symbols, that one lies in end."""
        return min(self.even(place) + self._grain(place)[1], self.numel)

    def parts(self, first: int, last: int) -> Iterator[Shape]:
        """Shapes of the parts of tensors that lie in a stretch: of whole rows, or flat."""
        number = bisect_right(self._starts, first) - 1
        while first < last:
            start, end = self._starts[number], min(last, self._starts[number + 1])
            row = self._row(number)
            whole = (first - start) % row == 0 and (end - start) % row == 0
            rest = self.shapes[number][1:]
            yield ((end - first) // row, *rest) if whole and row > 1 else (end - first,)
            first, number = end, number + 1

    def _grain(self, place: int) -> tuple[int, int]:
        """Where the tensor at a place begins, and what it is cut into."""
        number = bisect_right(self._starts, place) - 1
        row = self._row(number)
        return self._starts[number], row if 1 < row <= self.longest else _EVEN

    def _row(self, number: int) -> int:
        return math.prod(self.shapes[number][1:])


@dataclasses.dataclass(frozen=True)
class Pricing:
    """What a code takes for a stretch.

    A compressor whose layout splits symbols into planes has planes of millions of bytes one after
    the other, so that each plane of a stretch is compressed alone.
    """

    estimator: Estimator
    objects: Objects
    alphabet: Alphabet

    def bits(self, symbols: Symbols, first: int) -> float:
        """Bits for symbols that begin at this place."""
        if not symbols.size:
            return 0.0
        if isinstance(self.estimator, Compressor):
            return self._compressed(self.estimator, symbols)
        shapes = list(self.objects.parts(first, first + symbols.size))
        started = self.estimator.start_many(shapes, self.alphabet).inner
        started.update(symbols)
        return started.finish().bits

    def reach(self) -> float:
        """Symbols back that the code can make use of, at most."""
        if not isinstance(self.estimator, Compressor):
            return math.inf
        compressor, numel = self.estimator, self.objects.numel
        size = laid_out_size(numel, self.alphabet, compressor.layout)
        plane = size / _planes(compressor.layout, self.alphabet)
        return compressor.library.reach(compressor.level, size) * numel / plane

    def _compressed(self, compressor: Compressor, symbols: Symbols) -> float:
        data = np.frombuffer(lay_out(symbols, self.alphabet, compressor.layout), np.uint8)
        size = laid_out_size(self.objects.numel, self.alphabet, compressor.layout)
        written = 0
        for plane in np.split(data, _planes(compressor.layout, self.alphabet)):
            stream = compressor.library.part(compressor.level, plane.size, size)
            for start in range(0, plane.size, PIECE):
                written += len(stream.compress(plane[start : start + PIECE].tobytes()))
            written += len(stream.flush())
        return 8.0 * written


def _planes(layout: str, alphabet: Alphabet) -> int:
    if layout == "bitplanes":
        return alphabet.bits
    return alphabet.container.itemsize if layout == "shuffle" else 1
