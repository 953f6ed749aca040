"""Strata: which tensors, or stretches of one, are sampled together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from kolmo.symbols import Shape

Stretch = tuple[int, int]

PAIR = 2
"""Blocks of a stratum of one tensor, whose parts are much alike."""

SEVERAL = 6
"""Blocks of a stratum of several tensors, at least: what differs from tensor to tensor, a single
pair of blocks may not see, and then takes for nothing."""


@dataclasses.dataclass(frozen=True)
class Stratum:
    """Stretches that blocks are drawn from.

    Attributes
    ----------
    stretches : tuple of (first, last)
    length : int
        Symbols of a block, at most; the last of a stretch may be shorter.
    draws : int
        Blocks that are drawn, where there are as many.
    """

    stretches: tuple[Stretch, ...]
    length: int
    draws: int = PAIR

    @property
    def size(self) -> int:
        """Symbols."""
        return sum(last - first for first, last in self.stretches)

    @property
    def blocks(self) -> int:
        return sum(-(-(last - first) // self.length) for first, last in self.stretches)

    def draw(self, draw: np.random.Generator) -> Iterator[Stretch]:
        """Different blocks; every one of them if there are no more."""
        for number in draw.choice(self.blocks, min(self.draws, self.blocks), replace=False):
            yield self._block(int(number))

    def _block(self, number: int) -> Stretch:
        for first, last in self.stretches:
            there = -(-(last - first) // self.length)
            if number < there:
                start = first + number * self.length
                return start, min(start + self.length, last)
            number -= there
        raise IndexError(number)


def make_strata(shapes: Sequence[Shape], count: int, length: int, first: int) -> list[Stratum]:
    """About so many strata of what lies behind the ``first`` symbols.

    Tensors of one shape, which do the same work in a network as a rule, have strata of their own,
    as many as their share says: one or more for each tensor; or fewer, with as many more blocks,
    for several tensors in their order. Shapes that have no share to speak of are one stratum
    together.

    Examples
    --------
    >>> [s.stretches for s in make_strata([(40,), (30,), (40,), (1,), (40,)], 4, 10, 10)]
    [((10, 40),), ((70, 110),), ((111, 151),), ((40, 70),), ((110, 111),)]
    """
    groups = _groups(shapes, first)
    share = sum(map(_size, groups)) / count
    large = [group for group in groups if 2 * _size(group) >= share]
    small = tuple(each for group in groups if 2 * _size(group) < share for each in group)
    wanted = [(group, max(1, round(_size(group) / share))) for group in large]
    found = [s for group, strata in wanted for s in _strata(group, strata, length)]
    return [*found, *(_strata(small, 1, length) if small else [])]


Stretches = tuple[Stretch, ...]


def _groups(shapes: Sequence[Shape], first: int) -> list[Stretches]:
    """The stretches of the tensors of each shape."""
    by_shape: dict[Shape, list[Stretch]] = {}
    start = 0
    for shape in shapes:
        end = start + math.prod(shape)
        if end > max(start, first):
            by_shape.setdefault(shape, []).append((max(start, first), end))
        start = end
    return [tuple(stretches) for stretches in by_shape.values()]


def _size(stretches: Stretches) -> int:
    return sum(last - first for first, last in stretches)


def _strata(stretches: Stretches, count: int, length: int) -> Iterator[Stratum]:
    """As many blocks as a group would have in so many strata of a pair: in strata of pieces of its
    tensors, or of runs of whole ones."""
    if count >= len(stretches):
        yield from (Stratum((piece,), length) for piece in _pieces(stretches, count))
        return
    runs = max(1, PAIR * count // SEVERAL)
    draws = max(SEVERAL, round(PAIR * count / runs))
    edges = [len(stretches) * number // runs for number in range(runs + 1)]
    yield from (Stratum(stretches[low:high], length, draws) for low, high in pairwise(edges))


def _pieces(stretches: Stretches, count: int) -> Iterator[Stretch]:
    for first, last in stretches:
        pieces = max(1, round(count * (last - first) / _size(stretches)))
        edges = [first + (last - first) * number // pieces for number in range(pieces + 1)]
        yield from pairwise(edges)
