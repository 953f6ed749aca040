"""Coders whose symbols depend on where a weight lies: scales of rows, columns and groups."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from kolmo.quantize.base import SymbolCoder, Weights
from kolmo.quantize.scales import Floats, Rectangle, rectangles
from kolmo.symbols import Symbols


@dataclasses.dataclass(frozen=True, eq=False)
class PlacedCoder(SymbolCoder):
    """A coder of one tensor, row by row of it; ``columns`` says how long a row is."""

    columns: int

    def encode(self, weights: Weights) -> Symbols:
        """The symbols of the whole tensor, or of weights from its first one on."""
        return self.encode_at(weights, 0)

    def decode(self, symbols: Symbols) -> Weights:
        return self.decode_at(symbols, 0)

    def encode_at(self, weights: Weights, start: int) -> Symbols:
        found, flat = np.empty(weights.size, self.alphabet.container), weights.reshape(-1)
        for part, here in self._parts(start, flat.size):
            found[here] = self._encode(flat[here].astype(np.float64), part).reshape(-1)
        return found.reshape(weights.shape)

    def decode_at(self, symbols: Symbols, start: int) -> Weights:
        found, flat = np.empty(symbols.size), symbols.reshape(-1)
        for part, here in self._parts(start, flat.size):
            found[here] = self._decode(flat[here].astype(np.float64), part).reshape(-1)
        return found.reshape(symbols.shape)

    def _parts(self, start: int, size: int) -> Iterator[tuple[Rectangle, slice]]:
        for part in rectangles(start, start + size, self.columns):
            yield part, slice(part.start - start, part.stop - start)

    def _encode(self, weights: Floats, part: Rectangle) -> Floats:
        """The symbols of the weights of a rectangle, flat, which may be changed."""
        raise NotImplementedError

    def _decode(self, symbols: Floats, part: Rectangle) -> Floats:
        """The weights of the symbols of a rectangle, flat, which may be changed."""
        raise NotImplementedError


def split(parameters: Sequence[float], *sizes: int) -> list[list[float]]:
    """Parameters cut into lists of these sizes.

    Raises
    ------
    ValueError
        If there are too many or too few.

    >>> split([1.0, 2.0, 3.0], 1, 2)
    [[1.0], [2.0, 3.0]]
    """
    if min(sizes, default=0) < 0 or sum(sizes) != len(parameters):
        raise ValueError
    given = iter(parameters)
    return [[next(given) for _ in range(size)] for size in sizes]


def whole_numbers(parameters: Sequence[float], most: float = math.inf) -> list[int]:
    """Parameters that are counts or codes, as integers.

    Raises
    ------
    ValueError
        If one is no integer from 0 to ``most``.
    """
    if not all(0 <= each <= most and each == int(each) for each in parameters):
        raise ValueError
    return [int(each) for each in parameters]
