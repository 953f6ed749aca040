"""Folding: the rows of layers that are alike, as one row with their numbers in braces."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from kolmo.inspection.arrays import Inspected

_NUMBER = re.compile(r"(?<![0-9A-Za-z])[0-9]{1,9}(?![0-9A-Za-z])")


@dataclasses.dataclass(frozen=True)
class Row:
    """Arrays of one form, shape and role, whose names differ in numbers alone.

    Attributes
    ----------
    name : str
        ``layers.{0-31}.weight``; of a single array its name.
    arrays : tuple of Inspected
    """

    name: str
    arrays: tuple[Inspected, ...]

    @property
    def numbers(self) -> int:
        return sum(array.numbers for array in self.arrays)

    @property
    def bits(self) -> int:
        """Bits of all of them as they are stored."""
        return sum(array.bits for array in self.arrays)


def single_rows(arrays: Iterable[Inspected]) -> list[Row]:
    """A row for each array."""
    return [Row(array.name, (array,)) for array in arrays]


def fold(arrays: Iterable[Inspected]) -> list[Row]:
    """One row for all arrays that differ in the numbers of their names alone, in order.

    >>> from kolmo.checkpoints.base import Role
    >>> made = [Inspected(f"h.{n}.conv1", Role.WEIGHT, (9,), "float32", 9, 288) for n in range(12)]
    >>> [(row.name, row.numbers) for row in fold(made)]
    [('h.{0-11}.conv1', 108)]
    """
    groups: dict[Inspected, list[Inspected]] = {}
    for array in arrays:
        groups.setdefault(_pattern(array), []).append(array)
    return [Row(_name([array.name for array in group]), tuple(group)) for group in groups.values()]


def _pattern(array: Inspected) -> Inspected:
    """The array with its numbers left out; equal for all arrays of a row."""
    return dataclasses.replace(
        array,
        name=_NUMBER.sub("#", array.name),
        copy_of=_NUMBER.sub("#", array.copy_of),
        reason=_NUMBER.sub("#", array.reason),
    )


def _name(names: Sequence[str]) -> str:
    """The common name, the numbers that differ as ranges."""
    numbers = [[int(number) for number in _NUMBER.findall(name)] for name in names]
    ranges = [(min(column), max(column)) for column in zip(*numbers, strict=True)]
    if len(names) == 1 or not ranges:
        return names[0]
    found = iter(ranges)

    def show(match: re.Match[str]) -> str:
        low, high = next(found)
        return match[0] if low == high else f"{{{low}-{high}}}"

    return _NUMBER.sub(show, names[0])
