"""The accumulator of a whole model, or of a large tensor, made of the parts of others."""

from __future__ import annotations

from collections.abc import Mapping

from kolmo.engine.feeding import Cell
from kolmo.engine.parts import CountedPart, merged
from kolmo.estimators.base import CodeLength
from kolmo.outcomes import Missing, Outcome, total


class Whole:
    """An accumulator that its parts are merged into, in their order, whenever they come."""

    def __init__(self, cell: Cell, parts: int) -> None:
        self.cell = cell
        self._waiting: dict[int, CountedPart] = {}
        self._merged, self._parts = 0, parts

    def add(self, number: int, part: CountedPart) -> bool:
        """Take the part of this number, and of those after it that are joined to it; whether there
        are all now."""
        self._waiting[number] = part
        while self._merged in self._waiting:
            following = self._waiting.pop(self._merged)
            self._merge(following)
            self._merged += following.tensors
        return self._merged == self._parts

    def _merge(self, part: CountedPart) -> None:
        cell = self.cell
        cell.seconds += part.seconds
        cell.side_bits += part.side_bits
        cell.distortion += part.distortion
        if isinstance(part.accumulator, Missing):
            cell.miss(part.accumulator)
        elif not isinstance(cell.accumulator, Missing):
            cell.accumulator = merged(cell.measurement, cell.accumulator, part.accumulator)


def sum_of_forms(by_form: Mapping[str, Outcome]) -> Outcome:
    """The outcomes of a model's forms, added up."""
    if len(by_form) == 1:
        return next(iter(by_form.values()))
    codes = {form: dict(o.details) for form, o in by_form.items() if isinstance(o, CodeLength)}
    return total(
        {f"{form} tensors": outcome for form, outcome in by_form.items()}, {"dtypes": codes}
    )
