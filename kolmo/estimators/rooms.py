"""Memory that each thread uses again and again, where to take new one costs more than the work."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

FEW = 1 << 14
"""Symbols of a tensor that is small."""

_PLACES = 1 << 16


class _Rooms(threading.local):
    def __init__(self) -> None:
        self.table = np.zeros(_PLACES, np.int32)
        self.keys = np.empty(FEW, np.uint64)
        self.numbers = np.empty(8 * FEW + 2, np.int32)


_rooms = _Rooms()


def empty_table(places: int) -> NDArray[np.int32]:
    """A table of so many places, 65,536 at most, all 0; who writes to it makes them 0 again.

    >>> empty_table(3).tolist()
    [0, 0, 0]
    """
    return _rooms.table[:places]


def few_rooms() -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Room for a number of 64 bits for each of a few symbols, and for 8 of 32 bits for each, and 2
    more; with anything in it."""
    return _rooms.keys, _rooms.numbers
