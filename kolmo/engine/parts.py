"""Parts of an accumulator: what was taken of a stripe of a tensor, or of a tensor of a model."""

from __future__ import annotations

import dataclasses

from kolmo.engine.feeding import Cell, why
from kolmo.estimators.base import Accumulator
from kolmo.measure import Measurement
from kolmo.outcomes import Missing
from kolmo.quantize import Distortion


@dataclasses.dataclass(eq=False)
class CountedPart:
    """A tensor's part of the whole model's accumulator, or why there is none; or that of so many
    tensors from this one on."""

    accumulator: Accumulator | Missing
    side_bits: float
    seconds: float
    distortion: Distortion
    tensors: int = 1

    def join(self, measurement: Measurement, following: CountedPart) -> None:
        """Take the part of the next tensors."""
        self.accumulator = merged(measurement, self.accumulator, following.accumulator)
        self.side_bits += following.side_bits
        self.seconds += following.seconds
        self.distortion += following.distortion
        self.tensors += following.tensors


def merged(
    measurement: Measurement, first: Accumulator | Missing, following: Accumulator | Missing
) -> Accumulator | Missing:
    """What two parts are together; the first is no longer of use."""
    for part in (first, following):
        if isinstance(part, Missing):
            return part
    try:
        first.merge(following)  # type: ignore[union-attr]
    except Exception as error:
        return why(measurement, error)
    return first


def part_of(cell: Cell) -> CountedPart:
    """What a cell has taken, as a part of something larger."""
    return CountedPart(cell.accumulator, cell.side_bits, cell.seconds, cell.distortion)


def no_part(missing: Missing) -> CountedPart:
    """A part of which there is no accumulator."""
    return CountedPart(missing, 0.0, 0.0, Distortion())
