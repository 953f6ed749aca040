"""Outcomes of measurements: a code length, or the reason why there is none; and their sums."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kolmo.estimators.base import CodeLength
from kolmo.intervals import sum_degrees
from kolmo.text import shorten

_TOLD = 200  # characters of an error's own text


@dataclasses.dataclass(frozen=True)
class Missing:
    """Why there is no code length."""

    reason: str
    problem: bool = False  # the input is at fault, rather than the combination


class Failed(Missing):
    """There is none because what measures raised an error of its own.

    No store keeps it: the next run tries again.
    """

    @classmethod
    def of(cls, what: str, error: BaseException) -> Failed:
        """The failure of what a person asked for.

        >>> Failed.of("kt of sign", MemoryError()).reason
        'kt of sign failed: MemoryError'
        """
        told = shorten(" ".join(str(error).split()), _TOLD)
        name = type(error).__name__
        return cls(f"{what} failed: {name}: {told}" if told else f"{what} failed: {name}", True)


@dataclasses.dataclass(frozen=True)
class KeptFacts:
    """Facts of one object, which are no code length: values of JSON by name."""

    facts: Mapping[str, Any]


Outcome = CodeLength | Missing


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of one measurement of one object (a tensor, or the whole model).

    A store keeps facts in the same way, as the outcome of looking at a tensor.
    """

    outcome: Outcome
    seconds: float


def total(parts: Mapping[str, Outcome], details: Mapping[str, Any]) -> Outcome:
    """The sum of a whole's parts; the one rule for every sum.

    A part with a problem (a tensor that holds NaN, say) leaves no sum, nor do parts that are all
    missing. A part that the estimator cannot take (three integers have no block) is left out:
    ``numel`` and ``raw_bits`` then count what the sum describes, and the note names the part.

    Parameters
    ----------
    parts : mapping of names to outcomes
        Not empty.
    details : mapping
        Those of the sum.

    Examples
    --------
    >>> one = CodeLength(bits=10.0, numel=4, raw_bits=32, kind="bound")
    >>> both = total({"float32 tensors": one, "bool tensors": Missing("no blocks")}, {})
    >>> both.bits, both.numel, both.note
    (10.0, 4, 'leaves out the bool tensors: no blocks')
    """
    codes = [part for part in parts.values() if isinstance(part, CodeLength)]
    missing = {name: part for name, part in parts.items() if isinstance(part, Missing)}
    problem = next((part for part in missing.values() if part.problem), None)
    if problem or not codes:
        return problem or next(iter(missing.values()))
    notes = [code.note for code in codes if code.note]
    notes += [f"leaves out the {name}: {part.reason}" for name, part in missing.items()]
    numel = sum(code.numel for code in codes)
    return CodeLength(
        bits=sum(code.bits for code in codes),
        numel=numel,
        raw_bits=sum(code.raw_bits for code in codes),
        kind="bound" if all(code.kind == "bound" for code in codes) else "estimate",
        details=details,
        sampled=sum(c.sampled * c.numel for c in codes) / numel if numel else 1.0,
        standard_error=_standard_error(codes),
        note="; ".join(dict.fromkeys(notes)),
        side_bits=sum(code.side_bits for code in codes),
        saturated=any(code.saturated for code in codes),
        degrees=_degrees(codes),
        squared_error=sum(code.squared_error for code in codes),
        squared_weights=sum(code.squared_weights for code in codes),
    )


def _degrees(codes: Sequence[CodeLength]) -> float:
    """Degrees of freedom of the standard error of a sum."""
    known = [code for code in codes if not math.isnan(code.standard_error)]
    return sum_degrees([code.standard_error for code in known], [code.degrees for code in known])


def _standard_error(codes: Sequence[CodeLength]) -> float:
    """That of a sum of independent figures; NaN where none has one."""
    known = [code.standard_error**2 for code in codes if not math.isnan(code.standard_error)]
    return math.sqrt(sum(known)) if known else math.nan
