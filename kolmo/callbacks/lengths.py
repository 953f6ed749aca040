"""Code lengths of a few tensors, and of their shuffles, drawn until a test is decided."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.errors import NotApplicableError, NotExpressibleError
from kolmo.estimators.base import CodeLength
from kolmo.measure import Measurement, Variant
from kolmo.nulls import Shuffled, unmoved
from kolmo.outcomes import Missing, Outcome, total

SHUFFLED = Shuffled()

FEW = 9
"""Draws at least, so that their mean means something."""


def code_length(
    checkpoint: Checkpoint, measurement: Measurement, variant: Variant, seed: int = 0
) -> Outcome:
    """The code length of all tensors together, as the model scope of `kolmo.analyze` has it."""
    forms: dict[str, list[WeightTensor]] = {}
    for tensor in checkpoint.values():
        forms.setdefault(tensor.form, []).append(tensor)
    parts: dict[str, Outcome] = {
        f"{form} tensors": _of_one_form(tensors, measurement, variant, seed)
        for form, tensors in forms.items()
    }
    return next(iter(parts.values())) if len(parts) == 1 else total(parts, {})


def _of_one_form(
    tensors: Sequence[WeightTensor], measurement: Measurement, variant: Variant, seed: int
) -> Outcome:
    quantizer, estimator = measurement.quantizer, measurement.estimator
    side = 0
    try:
        taker = estimator.start_many([t.shape for t in tensors], quantizer.alphabet_of(tensors[0]))
        for tensor in tensors:
            coded = variant.source(tensor, seed).coded(quantizer)
            side += coded.side_bits or 0
            for symbols in coded.chunks:
                taker.update(symbols)
        return taker.finish().with_side(side)
    except NotApplicableError as error:
        return Missing(str(error))
    except NotExpressibleError as error:
        return Missing(str(error), problem=True)


@dataclasses.dataclass(frozen=True)
class Tested:
    """The outcome of the weights, the bits of the shuffles that were drawn, and the p-value.

    ``p`` is None where there is no test; ``why`` says why.
    """

    outcome: Outcome
    draws: tuple[float, ...] = ()
    p: float | None = None
    why: str = ""


def against_shuffles(
    checkpoint: Checkpoint, measurement: Measurement, most: int, seed: int = 0
) -> Tested:
    """The weights against their shuffles, which are drawn until one is no longer than the weights,
    but at least `FEW` of them, and at most ``most``."""
    outcome = code_length(checkpoint, measurement, Variant(), seed)
    if isinstance(outcome, Missing) or not most:
        return Tested(outcome, why="no shuffle was drawn")
    if unmoved(SHUFFLED, measurement.estimator, measurement.quantizer):
        return Tested(outcome, why=f"{measurement.estimator} only counts, in whatever order")
    draws: list[float] = []
    while len(draws) < most and (len(draws) < FEW or min(draws) > outcome.bits):
        drawn = code_length(checkpoint, measurement, Variant(SHUFFLED, len(draws)), seed)
        assert isinstance(drawn, CodeLength)  # as the weights themselves are
        draws.append(drawn.bits)
    if set(draws) == {outcome.bits}:
        return Tested(outcome, tuple(draws), why="all shuffles cost what the weights do")
    return Tested(outcome, tuple(draws), sequential_p(outcome.bits, draws))


def sequential_p(actual: float, draws: Sequence[float]) -> float:
    """The two-sided p-value of a figure among draws that end with the first that is no longer.

    With that one as the L-th, p = 2 / L; 2 / (N + 1) if all N are longer. It is valid, for the
    chance that L − 1 draws are all longer is at most 1 / L (Besag & Clifford 1991, with h = 1).

    >>> sequential_p(5.0, [6, 7, 5, 8]), sequential_p(5.0, [6] * 39), sequential_p(5.0, [4])
    (0.6666666666666666, 0.05, 1.0)
    """
    first = next((number for number, bits in enumerate(draws, 1) if bits <= actual), None)
    return min(1.0, 2 / (first or len(draws) + 1))
