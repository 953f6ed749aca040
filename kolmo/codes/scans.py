"""Scans: the orders in which a tensor's weights can be coded, and which one is shortest.

A scan is a permutation of the axes of more than one step; of more than four axes the last ones
count as one. It is known by its number among all permutations in lexicographic order, so that 0 is
the order in which the weights lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import permutations

import numpy as np

from kolmo.errors import InputError
from kolmo.symbols import Shape, Symbols

_AXES = 4  # axes that are permuted

_TRIED = {
    2: ((0, 1), (1, 0)),
    3: tuple(permutations(range(3))),
    4: (
        # Kernels as (outputs, inputs, height, width): each output's columns by width, input and
        # height, so that neighbours in height are beside each other and those in width a step of
        # the second axis apart; or the other way round; or the same of each input.
        *((0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 1, 3), (1, 0, 2, 3), (1, 3, 0, 2)),
        # The same of kernels as (height, width, inputs, outputs).
        *((3, 2, 0, 1), (3, 1, 2, 0), (3, 0, 2, 1), (2, 3, 0, 1), (2, 1, 3, 0)),
    ),
}
"""The permutations that are tried, by the number of axes."""

_SAMPLE = 1 << 15  # most weights of a trial
_FAR = 1.002  # what is longer by this on a small sample is not tried on a larger one
_LEAST = 1 << 11  # a tensor of fewer weights is coded as it lies


@cache
def _numbered(axes: int) -> tuple[tuple[int, ...], ...]:
    return tuple(permutations(range(axes)))


def _sides(shape: Shape) -> Shape:
    """The axes of more than one step, the last ones as one if they are too many.

    >>> _sides((8, 1, 4, 3, 3, 3))
    (8, 4, 3, 9)
    """
    sides = tuple(side for side in shape if side != 1)
    if len(sides) <= _AXES:
        return sides
    return (*sides[: _AXES - 1], math.prod(sides[_AXES - 1 :]))


def _order(shape: Shape, scan: int) -> tuple[int, ...]:
    orders = _numbered(len(_sides(shape)))
    if scan >= len(orders):
        raise InputError("the code's head is damaged: there is no such scan")
    return orders[scan]


def scan_count(shape: Shape) -> int:
    """How many scans a tensor has.

    >>> scan_count((8, 1, 4)), scan_count((2, 3, 4, 5, 6))
    (2, 24)
    """
    return len(_numbered(len(_sides(shape))))


def shape_of(shape: Shape, scan: int) -> Shape:
    """The shape of the table that a scan makes of a tensor; InputError if there is no such scan.

    >>> shape_of((8, 4, 3, 3), 0), shape_of((8, 4), 1), shape_of((5,), 0)
    ((8, 4, 3, 3), (4, 8), (5,))
    """
    if scan == 0:
        return shape
    sides = _sides(shape)
    return tuple(sides[axis] for axis in _order(shape, scan))


def scanned(symbols: Symbols, scan: int) -> Symbols:
    """A tensor's symbols as the table that a scan makes of them."""
    if scan == 0:
        return symbols
    sides = symbols.reshape(_sides(symbols.shape))
    return np.ascontiguousarray(sides.transpose(_order(symbols.shape, scan)))


def unscanned(table: Symbols, shape: Shape, scan: int) -> Symbols:
    """Undo `scanned`: a table's symbols, flat or not, in the shape of their tensor.

    >>> tensor = np.arange(24).reshape(2, 3, 4)
    >>> all((unscanned(scanned(tensor, n), tensor.shape, n) == tensor).all() for n in range(6))
    True
    """
    if scan == 0:
        return table.reshape(shape)
    back = np.argsort(_order(shape, scan))
    sides = table.reshape(shape_of(shape, scan)).transpose(back)
    return np.ascontiguousarray(sides).reshape(shape)


class Scans:
    """Chooses scans by what a sample of a tensor costs in each.

    Kernels of one network and of one shape lie alike: the choice for the first stands for all.

    Parameters
    ----------
    cost : callable
        Gives the bytes of a table.
    """

    def __init__(self, cost: Callable[[Symbols], int]) -> None:
        self._cost = cost
        self._known: dict[Shape, int] = {}

    def best(self, symbols: Symbols) -> int:
        """The number of the scan for a tensor."""
        sides = _sides(symbols.shape)
        if len(sides) < 2 or symbols.size < _LEAST:
            return 0
        kind = () if len(sides) == 2 else tuple(min(side, 16) for side in sides)
        if kind in self._known:
            return self._known[kind]
        orders = _numbered(len(sides))
        numbers = [orders.index(order) for order in _TRIED[len(sides)]]
        best = self._shortest(numbers, symbols.reshape(sides))
        if kind:
            self._known[kind] = best
        return best

    def _shortest(self, numbers: list[int], symbols: Symbols) -> int:
        """What is much longer on a small sample is not tried on a larger one."""
        for most in _sample_sizes(symbols):
            sample = _middle(symbols, most)
            costs = {number: self._cost(scanned(sample, number)) for number in numbers}
            best = min(numbers, key=costs.__getitem__)
            numbers = [number for number in numbers if costs[number] < _FAR * costs[best]]
            if len(numbers) == 1:
                break
        return best


def _sample_sizes(symbols: Symbols) -> tuple[int, ...]:
    if symbols.ndim == 2:
        return (max(_LEAST, min(2 * _SAMPLE, symbols.size // 2)),)
    return (_SAMPLE // 4, _SAMPLE) if symbols.size >= _SAMPLE else (_SAMPLE,)


def _middle(symbols: Symbols, most: int) -> Symbols:
    """A block out of the middle that has about the proportions of the whole."""
    sides = list(symbols.shape)
    while math.prod(sides) > most:
        longest = sides.index(max(sides))
        sides[longest] = -(-sides[longest] // 2)
    spare = [(whole - side) // 2 for whole, side in zip(symbols.shape, sides, strict=True)]
    block = tuple(slice(s, s + side) for s, side in zip(spare, sides, strict=True))
    return np.ascontiguousarray(symbols[block])
