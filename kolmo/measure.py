"""What is measured: estimators on symbols of quantizers, of weights or draws of nulls."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from kolmo.checkpoints.base import WeightTensor
from kolmo.estimators.base import Estimator
from kolmo.nulls import Null, Source, Weights
from kolmo.outcomes import Result
from kolmo.quantize import Quantizer


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A measurement: an estimator on the symbols of a quantizer."""

    quantizer: Quantizer
    estimator: Estimator


@dataclasses.dataclass(frozen=True)
class Variant:
    """A variant of the weights: the weights themselves (no null), or one draw of a null."""

    null: Null | None = None
    number: int = 0

    def source(self, tensor: WeightTensor, seed: int) -> Source:
        if self.null is None:
            return Weights(tensor)
        return self.null.draw(tensor, self.number, seed)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a run measures of a checkpoint."""

    measurements: tuple[Measurement, ...]
    nulls: tuple[Null, ...] = ()
    draws: int = 5
    tensor_scope: bool = True
    model_scope: bool = True
    seed: int = 0

    @property
    def quantizers(self) -> list[Quantizer]:
        return list(dict.fromkeys(m.quantizer for m in self.measurements))

    @property
    def variants(self) -> list[Variant]:
        return [Variant(), *(v for null in self.nulls for v in self.variants_of(null))]

    def variants_of(self, null: Null) -> list[Variant]:
        return [Variant(null, number) for number in range(1 if null.single else self.draws)]


Key = tuple[str | None, Measurement, Variant]
"""The tensor's name (None: the whole model), the measurement, and the variant."""


class Measured(Protocol):
    """A run of any kind, as far as a report needs it."""

    measured: set[str]
    reasons: dict[str, str]
    content: str  # the digest of what was measured, in hexadecimal; empty if it was not hashed

    def results(self) -> dict[Key, Result]:
        """What is known by now."""
        ...
