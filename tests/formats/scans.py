"""The scans of the predictive code (docs/formats/predictive.md)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from tests.formats.bits import demand

Shape = tuple[int, ...]


def sides_of(shape: Shape) -> Shape:
    sides = tuple(side for side in shape if side != 1)
    return sides if len(sides) <= 4 else (*sides[:3], math.prod(sides[3:]))


def order_of(shape: Shape, scan: int) -> Shape:
    orders = list(itertools.permutations(range(len(sides_of(shape)))))
    demand(scan < len(orders), "no such scan")
    return orders[scan]


def table_shape(shape: Shape, scan: int) -> Shape:
    order, sides = order_of(shape, scan), sides_of(shape)
    return tuple(sides[axis] for axis in order) if scan else shape


def unscanned(weights: list[int], shape: Shape, scan: int) -> list[int]:
    """In the order of the tensor."""
    found = [0] * len(weights)
    for weight, place in zip(weights, places(shape, scan), strict=True):
        found[place] = weight
    return found


def scanned(weights: list[int], shape: Shape, scan: int) -> list[int]:
    """In the order of the scan."""
    return [weights[place] for place in places(shape, scan)]


def places(shape: Shape, scan: int) -> Iterator[int]:
    """Where in the tensor each weight of a scan lies."""
    sides, order = sides_of(shape), order_of(shape, scan)
    steps = [math.prod(sides[axis + 1 :]) for axis in range(len(sides))]
    for at in itertools.product(*(range(sides[axis]) for axis in order)):
        yield sum(i * steps[axis] for i, axis in zip(at, order, strict=True))
