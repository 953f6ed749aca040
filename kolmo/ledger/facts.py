"""The facts of one tensor, from one pass over its weights."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.ledger.patterns import pattern_of
from kolmo.ledger.tallies import WeightSizes, expected_peak, tally
from kolmo.ledger.values import ValueCounter

CHUNK = 1 << 20
"""Weights that are read at once: few enough to stay in a core's cache."""

SKETCH = 128
"""Weights of a tensor, evenly spaced, by which tensors that are alike are found."""

Sketch = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts of a tensor; None where a fact has no meaning, or was not looked for.

    Attributes
    ----------
    tensor, dtype : str
        Its name, and how its weights are stored.
    numel : int
    absmax, mean, sd : float
        Of the finite weights.
    peak : float
        absmax / sd.
    spare_bits : float
        log2 of the peak over the one expected of as many normal weights: bits that a fixed number
        of levels up to absmax loses to rare large weights; negative where it gains.
    zeros : float
        Share of weights that are exactly zero.
    nonfinite : int
    trailing_zeros : int
        Bits at the end of the mantissa that are zero in every weight.
    holds : str
        The narrowest of bfloat16, float16, tf32 and float32 that holds every weight exactly, if it
        is narrower than the dtype; else empty.
    step_exponent : int
        The greatest k such that every weight is a multiple of 2^k.
    fixed_bits : float
        log2 of how many steps of 2^step_exponent lie from −absmax to absmax: bits of a weight in
        fixed point, beside those of its dtype.
    exponents : int
        Exponents in use, that of zero included.
    exponent_entropy : float
        Bits a weight of the exponents' empirical distribution.
    distinct : int
        Distinct values, if they are at most 65,536; −0 and 0 are two.
    group : str
        The largest part that holds few values, or multiples of a step: ``tensor``, ``row``, or the
        weights of a group in a row; empty if there is none (`kolmo.ledger.values`).
    group_values : int
        The most distinct values of such a group; other than zero, unless it is the tensor.
    group_levels : int
        The largest multiple of a group's own step, where weights are multiples of one.
    pattern : str
        The rule that makes the tensor, such as ``constant`` (`kolmo.ledger.patterns`).
    """

    tensor: str
    dtype: str
    numel: int
    absmax: float | None = None
    mean: float | None = None
    sd: float | None = None
    peak: float | None = None
    spare_bits: float | None = None
    zeros: float | None = None
    nonfinite: int = 0
    trailing_zeros: int | None = None
    holds: str = ""
    step_exponent: int | None = None
    fixed_bits: float | None = None
    exponents: int | None = None
    exponent_entropy: float | None = None
    distinct: int | None = None
    group: str = ""
    group_values: int | None = None
    group_levels: int | None = None
    pattern: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Noted:
    """What one pass found.

    Attributes
    ----------
    facts : Facts
    sketch : array of float32
        Some of its weights; empty of a tensor that is not compared with others, since it is
        constant or tiny.
    """

    facts: Facts
    sketch: Sketch

    @property
    def values(self) -> dict[str, Any]:
        """All of it as JSON has it; the tensor's name is no part of what was found."""
        sketch = base64.b64encode(self.sketch.astype("<f4").tobytes()).decode()
        return {**dataclasses.asdict(self.facts), "tensor": "", "sketch": sketch}

    @classmethod
    def restored(cls, tensor: WeightTensor, values: Mapping[str, Any]) -> Noted:
        """What was found of a tensor of the same content, from its `values`."""
        sketch = np.frombuffer(base64.b64decode(values["sketch"]), "<f4").astype(np.float32)
        facts = {name: value for name, value in values.items() if name != "sketch"}
        return cls(Facts(**{**facts, "tensor": tensor.name, "dtype": tensor.form}), sketch)


def find_facts(tensor: WeightTensor, tell: Callable[[int], None] = lambda weights: None) -> Noted:
    """Read a tensor once, a matrix that a rule may have made twice.

    Parameters
    ----------
    tensor : WeightTensor
    tell : callable
        Told, after each piece, how many weights it had.

    Examples
    --------
    >>> from kolmo.checkpoints import array_tensor
    >>> weights = np.float16([0.5, -1.0, 0.0, 1.5]).astype(np.float32)
    >>> facts = find_facts(array_tensor("w", weights)).facts
    >>> facts.holds, facts.trailing_zeros, facts.step_exponent, facts.zeros, facts.distinct
    ('bfloat16', 22, -1, 0.25, 4)
    """
    sizes, values, sketcher = tally(tensor), ValueCounter(tensor), _Sketcher(tensor.numel)
    for weights in tensor.chunks(CHUNK, reuse=True):
        sizes.update(weights)
        values.update(weights)
        sketcher.update(weights)
        tell(weights.size)
    known = sizes.finish()
    distinct, group = values.finish(known.distinct)
    pattern = pattern_of(tensor, distinct)
    facts = Facts(
        tensor.name,
        tensor.form,
        tensor.numel,
        **_sizes(known, tensor.numel),
        distinct=distinct,
        group="" if pattern else group.group,
        group_values=None if pattern else group.values,
        group_levels=None if pattern else group.levels,
        pattern=pattern,
    )
    return Noted(facts, sketcher.finish() if pattern != "constant" else _NO_SKETCH)


def _sizes(known: WeightSizes, numel: int) -> dict[str, Any]:
    peak = known.absmax / known.sd if known.sd and known.absmax is not None else None
    return {
        "absmax": known.absmax,
        "mean": known.mean,
        "sd": known.sd,
        "peak": peak,
        "spare_bits": math.log2(peak / expected_peak(numel)) if peak else None,
        "zeros": known.zeros / numel if numel else None,
        **{
            name: getattr(known, name)
            for name in ("nonfinite", "trailing_zeros", "holds", "step_exponent")
        },
        "fixed_bits": _fixed_bits(known),
        "exponents": known.exponents,
        "exponent_entropy": known.exponent_entropy,
    }


def _fixed_bits(known: WeightSizes) -> float | None:
    if known.step_exponent is None or not known.absmax:
        return None
    largest, exponent = math.frexp(known.absmax)
    return exponent + 1 - known.step_exponent + math.log2(largest)


_NO_SKETCH = np.zeros(0, np.float32)
_LEAST = 16  # weights of a tensor that is compared with others


class _Sketcher:
    """Keeps the weights at evenly spaced places."""

    def __init__(self, numel: int) -> None:
        wanted = min(numel, SKETCH) if numel >= _LEAST else 0
        self._places = np.arange(wanted) * numel // max(wanted, 1)
        self._found, self._start = np.zeros(wanted, np.float32), 0

    def update(self, weights: NDArray[Any]) -> None:
        first, last = np.searchsorted(self._places, [self._start, self._start + weights.size])
        chosen = weights[self._places[first:last] - self._start].astype(np.float64)
        with np.errstate(over="ignore"):
            self._found[first:last] = chosen
        self._start += weights.size

    def finish(self) -> Sketch:
        return np.where(np.isfinite(self._found), self._found, np.float32(0))
