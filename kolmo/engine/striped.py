"""A large tensor, measured in stripes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kolmo.engine.cutting import Striped
from kolmo.engine.feeding import Cell
from kolmo.engine.jobs import Fits, StripeFound, StripeJob, TensorFound
from kolmo.engine.parts import CountedPart, part_of
from kolmo.engine.whole import Whole
from kolmo.measure import Measurement
from kolmo.outcomes import Missing, Result


class StripedTensor:
    """What is known of a tensor whose stripes come one by one.

    Attributes
    ----------
    to_come : float
        Seconds that its stripes are expected to take, until they can be done.
    """

    def __init__(self, striped: Striped) -> None:
        self._wanted, self._stripes = striped.wanted, striped.stripes
        self._numbers = {stripe.start: number for number, stripe in enumerate(self._stripes)}
        self._alone: dict[Measurement, Whole] = {}
        self._parts: dict[Measurement, Whole] = {}
        self._left = len(self._stripes)
        self.to_come = sum(stripe.cost for stripe in self._stripes)

    def fitted(self, fits: Fits) -> list[StripeJob]:
        """Take the fitted quantizers; gives the stripes."""
        self.to_come = 0.0
        wanted, whole = self._wanted, (self._wanted.tensor, 0, self._wanted.tensor.numel)
        for m in wanted.alone:
            self._alone[m] = self._whole(Cell.start(m, [wanted.tensor]), fits)
        for m in wanted.parts:
            self._parts[m] = self._whole(Cell.start_part(m, *whole, wanted.before), fits)
        coders = {q: fit for q, fit in fits.items() if not isinstance(fit, Missing)}
        return [dataclasses.replace(stripe, coders=coders) for stripe in self._stripes]

    def take(self, job: StripeJob, found: StripeFound) -> TensorFound | None:
        """Take what was found of a stripe; the whole tensor's, after the last of them."""
        number = self._numbers[job.start]
        _merge(self._alone, number, found.alone)
        _merge(self._parts, number, found.parts)
        self._left -= 1
        return None if self._left else self._found()

    def _whole(self, cell: Cell, fits: Fits) -> Whole:
        fit = fits[cell.measurement.quantizer]
        if isinstance(fit, Missing):
            cell.miss(fit)
        else:
            cell.take_side(fit, self._wanted.tensor)
        return Whole(cell, len(self._stripes))

    def _found(self) -> TensorFound:
        alone = {m: whole.cell for m, whole in self._alone.items()}
        return TensorFound(
            self._wanted.place,
            {m: Result(cell.finish(), cell.seconds) for m, cell in alone.items()},
            {m: part_of(whole.cell) for m, whole in self._parts.items()},
        )


def _merge(
    wholes: Mapping[Measurement, Whole], number: int, parts: Mapping[Measurement, CountedPart]
) -> None:
    for measurement, part in parts.items():
        wholes[measurement].add(number, part)
