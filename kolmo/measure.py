"""What is measured: estimators on symbols of quantizers, of weights or draws of nulls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Protocol

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.estimators.base import Estimator
from kolmo.nulls import Null, Source, Weights
from kolmo.outcomes import Result
from kolmo.quantize import Quantizer


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A measurement: an estimator on the symbols of a quantizer."""

    quantizer: Quantizer
    estimator: Estimator

    def __hash__(self) -> int:
        return self._hash  # it is asked many times for each tensor

    @cached_property
    def _hash(self) -> int:
        return hash((self.quantizer, self.estimator))

    def __getstate__(self) -> dict[str, Any]:
        """Without the hash, which is another one in another process."""
        return {"quantizer": self.quantizer, "estimator": self.estimator}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A variant of the weights: the weights themselves (no null), or one draw of a null."""

    null: Null | None = None
    number: int = 0

    def source(self, tensor: WeightTensor, seed: int) -> Source:
        if self.null is None:
            return Weights(tensor)
        return self.null.draw(tensor, self.number, seed)


MeasuredScope = Literal["tensor", "model"]
SCOPES: tuple[MeasuredScope, ...] = ("tensor", "model")


@dataclasses.dataclass(frozen=True)
class Left:
    """A measurement that is not made in one scope.

    Attributes
    ----------
    measurement : Measurement
    scope : {"tensor", "model"}
    reason : str
        What the table says in its place; empty where it has no row at all, since another
        measurement stands for it.
    """

    measurement: Measurement
    scope: MeasuredScope
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a run measures of a checkpoint.

    Attributes
    ----------
    left : tuple of Left
        What is not measured after all.
    budget : mapping or None
        How a limit of time was kept, as data (`kolmo.budgets`).
    stages : tuple of tuples of Measurement
        What is measured together, one after the other; empty if that is everything.
    deadline : float or None
        Until when jobs may begin, by `time.monotonic`.
    ledger : bool
        Whether the facts of each tensor are found too (`kolmo.ledger`).
    spectra : bool or None
        Whether those of the ledger include spectra of matrices; None: of small checkpoints alone
        (`kolmo.ledger.spectra.AFFORDABLE`).
    """

    measurements: tuple[Measurement, ...]
    nulls: tuple[Null, ...] = ()
    draws: int = 5
    tensor_scope: bool = True
    model_scope: bool = True
    seed: int = 0
    left: tuple[Left, ...] = ()
    stages: tuple[tuple[Measurement, ...], ...] = ()
    budget: Mapping[str, Any] | None = dataclasses.field(default=None, compare=False)
    deadline: float | None = dataclasses.field(default=None, compare=False)
    ledger: bool = False
    spectra: bool | None = None

    def makes(self, measurement: Measurement, scope: MeasuredScope) -> bool:
        """Whether a measurement is made in a scope."""
        asked = self.tensor_scope if scope == "tensor" else self.model_scope
        return asked and (measurement, scope) not in self._reasons

    def reason(self, measurement: Measurement, scope: MeasuredScope) -> str:
        """Why a measurement is not made in a scope; empty where it is, or another stands for it."""
        return self._reasons.get((measurement, scope), "")

    @cached_property
    def _reasons(self) -> dict[tuple[Measurement, MeasuredScope], str]:
        return {(left.measurement, left.scope): left.reason for left in self.left}

    @property
    def quantizers(self) -> list[Quantizer]:
        return list(dict.fromkeys(m.quantizer for m in self.measurements))

    def bound(self, checkpoint: Checkpoint) -> Plan:
        """The plan for one checkpoint."""
        return dataclasses.replace(self, nulls=tuple(null.bound(checkpoint) for null in self.nulls))

    @property
    def variants(self) -> list[Variant]:
        return [Variant(), *(v for null in self.nulls for v in self.variants_of(null))]

    def variants_of(self, null: Null) -> list[Variant]:
        return [Variant(null, number) for number in range(null.count(self.draws))]


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
