"""Parts of arrays that were read last, and the boxes that a run of entries is made of."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

KEPT = 1 << 27
"""Bytes of parts that are kept: of all chunked arrays of one checkpoint, of all strided arrays."""

Box = tuple[tuple[int, int], ...]
"""[first, end) along each axis."""


class Recent:
    """The chunks that were decoded last, of any number of arrays, within a budget of bytes."""

    def __init__(self, budget: int = KEPT) -> None:
        self.budget, self._size = budget, 0
        self._kept: OrderedDict[Any, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of this key, made now if it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept and made.nbytes <= self.budget:
                self._kept[key] = made
                self._size += made.nbytes
            while self._size > self.budget:
                self._size -= self._kept.popitem(last=False)[1].nbytes
        return made


def boxes(shape: tuple[int, ...], start: int, stop: int) -> list[Box]:
    """The boxes, in order, whose entries are [start, stop) of the row-major array.

    >>> boxes((4, 5), 3, 12)
    [((0, 1), (3, 5)), ((1, 2), (0, 5)), ((2, 3), (0, 2))]
    """
    if start >= stop:
        return []
    if not shape:
        return [()]
    row = math.prod(shape[1:])
    found: list[Box] = []
    while start < stop:
        at, inside = divmod(start, row)
        if inside or stop - start < row:
            end = min(stop, (at + 1) * row)
            inner = boxes(shape[1:], inside, inside + end - start)
            found += [((at, at + 1), *box) for box in inner]
        else:
            end = start + (stop - start) // row * row
            found.append(((at, end // row), *((0, side) for side in shape[1:])))
        start = end
    return found
