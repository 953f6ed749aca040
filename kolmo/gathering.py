"""Gathering symbols, in chunks of any size, into arrays of known shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kolmo.symbols import Shape, Symbols


class Gatherer:
    """Fills one array after the other.

    Parameters
    ----------
    shapes : iterable of shapes
        Shapes of the arrays, in order; empty ones are passed over. It may be endless.
    dtype : numpy dtype

    Examples
    --------
    >>> gatherer = Gatherer([(2,), (0,), (2, 2)], np.dtype(np.uint8))
    >>> [array.tolist() for array in gatherer.take(np.arange(5))], gatherer.rest().tolist()
    ([[0, 1]], [2, 3, 4])
    >>> [array.tolist() for array in gatherer.take(np.arange(5, 6))]
    [[[2, 3], [4, 5]]]
    """

    def __init__(self, shapes: Iterable[Shape], dtype: np.dtype[Any]) -> None:
        self._shapes = (shape for shape in shapes if math.prod(shape))
        self._shape: Shape = (0,)
        self._room: Symbols = np.empty(0, dtype)  # memory that nothing is written to is not taken
        self._size = self._filled = 0

    def take(self, symbols: Symbols) -> Iterator[Symbols]:
        """The arrays that these flat symbols complete; each is valid until the next one."""
        while symbols.size:
            if not self._size:
                self._open(next(self._shapes))
            taken = symbols[: self._size - self._filled]
            self._room[self._filled : self._filled + taken.size] = taken
            self._filled += taken.size
            symbols = symbols[taken.size :]
            if self._filled == self._size:
                yield self._room[: self._size].reshape(self._shape)
                self._size = self._filled = 0

    def rest(self) -> Symbols:
        """The symbols of the array that is not yet complete, flat."""
        return self._room[: self._filled]

    def _open(self, shape: Shape) -> None:
        self._shape, self._size = shape, math.prod(shape)
        if self._size > self._room.size:
            self._room = np.empty(self._size, self._room.dtype)
