"""Places of arrays in memory and in files: which show the same numbers, which lie within others."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

Sides = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the values of an array lie.

    Two places are equal if they show the same numbers in the same bytes, transposed or not.

    Attributes
    ----------
    memory : hashable
        What the bytes are of: a file, a storage, this machine's memory.
    begin : int
        Where its first entry lies, in bytes.
    sides : tuple of (side, stride)
        Its `footprint`, strides in bytes.
    dtype : str
    itemsize : int
        Bytes of an entry.
    negated : bool
        Whether the values are those stored times -1.
    """

    memory: Hashable
    begin: int
    sides: Sides
    dtype: str
    itemsize: int
    negated: bool = False

    @property
    def low(self) -> int:
        """The first byte that it shows."""
        return self.begin + sum((side - 1) * min(stride, 0) for side, stride in self.sides)

    @property
    def high(self) -> int:
        """One past the last byte that it shows."""
        steps = sum((side - 1) * max(stride, 0) for side, stride in self.sides)
        return self.begin + steps + self.itemsize

    @property
    def is_dense(self) -> bool:
        """Whether it shows every byte from `low` to `high` once."""
        return len(self.sides) == 0 or (len(self.sides) == 1 and self.sides[0][1] == self.itemsize)


def footprint(shape: Sequence[int], strides: Sequence[int]) -> Sides:
    """Equal for views of one memory that show the same numbers, transposed and reshaped ones too.

    >>> footprint((4, 3), (3, 1)) == footprint((3, 4), (1, 3)) == footprint((12,), (1,))
    True
    """
    sides = sorted(zip(strides, shape, strict=True), reverse=True)
    return tuple(merged([int(n) for _, n in sides], [int(s) for s, _ in sides]))


def merged(shape: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """The fewest (side, stride) that give the same order of entries."""
    dims: list[tuple[int, int]] = []
    for side, stride in zip(shape, strides, strict=True):
        if side == 1:
            continue
        if dims and dims[-1][1] == stride * side:
            dims[-1] = (dims[-1][0] * side, stride)
        else:
            dims.append((side, stride))
    return dims
