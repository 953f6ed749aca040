"""Which symbols are coded together: units that are small enough to run in parallel.

A tensor of over four million weights is cut into units of whole rows; smaller ones are gathered, in
their order, into units of about a million weights, so that a code learns from one tensor for the
next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from kolmo.symbols import Shape

CUT = 1 << 22
"""Most weights of a unit, unless its code asks for more."""

SOLID = 1 << 20
"""Most weights of a unit of several tensors."""


def cut(shape: Shape, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Parts of the weights [start, stop) of a tensor, of nearly equal size, of whole rows unless a
    row is too long for a unit.

    >>> list(cut((3000, 3000), 0, 9_000_000))
    [(0, 3000000), (3000000, 6000000), (6000000, 9000000)]
    """
    row = math.prod(shape[1:])
    step = row if row <= CUT else 1
    steps, most = (stop - start) // step, CUT // step
    pieces = -(-steps // most)
    borders = [start + steps * piece // pieces * step for piece in range(pieces + 1) if pieces]
    return pairwise(borders)
