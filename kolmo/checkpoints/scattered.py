"""Arrays of which only some values are stored, each with its place; zeros are between them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL, SPARSEST = 1 << 24, 1 << 10
"""Entries of a sparse array that is read whatever its share of zeros, and zeros to a value."""


def too_sparse(values: int, entries: int) -> bool:
    """Whether so few values stand for so many entries that these are nothing to measure.

    >>> too_sparse(4, 4096), too_sparse(4, 1 << 40)
    (False, True)
    """
    return entries > max(SMALL, values * SPARSEST)


class Scattered:
    """Values at their places in a flat array.

    Parameters
    ----------
    values : callable
        ``values(start, stop)`` gives the stored values [start, stop).
    places : callable
        Gives the places of all stored values, ascending; called once, when any are wanted.

    Examples
    --------
    >>> values, places = np.float32([5, 7]), np.array([1, 4])
    >>> Scattered(lambda a, b: values[a:b], lambda: places).load(0, 5).tolist()
    [0.0, 5.0, 0.0, 0.0, 7.0]
    """

    def __init__(
        self, values: Callable[[int, int], NDArray[Any]], places: Callable[[], NDArray[np.int64]]
    ) -> None:
        self._values, self._find = values, places

    @functools.cached_property
    def _places(self) -> NDArray[np.int64]:
        return self._find()

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """Entries [start, stop)."""
        first, last = (int(i) for i in np.searchsorted(self._places, [start, stop]))
        values = self._values(first, last)
        dense = np.zeros(stop - start, values.dtype)
        dense[self._places[first:last] - start] = values
        return dense
