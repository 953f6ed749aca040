"""Limits of time: which measurements are made whole, which on a sample, and which not at all.

::

    plan, headers, rates, seconds  ── within ──►  the same plan, with samples and what is left out

The choice is made once, before a weight is read. Measurements are taken whole in the order of
their cost as long as time is left for a least sample of each of the others that can be sampled;
what is left then goes to the windows of those. What fits in no way is left out, and says why.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from kolmo.checkpoints import Checkpoint
from kolmo.engine.cutting import add_up
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.sampled import FEWEST_WINDOWS, Sampled, can_sample
from kolmo.execution import thread_count
from kolmo.measure import Left, MeasuredScope, Measurement, Plan
from kolmo.planning import foresee
from kolmo.planning.words import duration
from kolmo.rates import Rates, hashing_seconds, reading_seconds, shared_rates

SAFETY = 0.6
"""The share of the time that work is planned for: rates are right within a third."""

START = 1.0
"""Seconds that a run takes beside its work: starting, loading compiled loops, writing."""

MOST_WINDOWS = 4096
"""Windows of a sample, at most: more would hardly tell more."""

_CHEAP = 0.05  # of all work, up to which measurements are made together

How = Literal["exact", "sampled", "skipped"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def budget_seconds(budget: float | str) -> float:
    """Seconds of a limit: a number, or a number with s, m, min or h.

    Raises
    ------
    InputError
        If it is nothing of that kind, or not above 0.

    >>> budget_seconds("5m"), budget_seconds("90"), budget_seconds("1.5h"), budget_seconds(2)
    (300.0, 90.0, 5400.0, 2.0)
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", str(budget))
    seconds = float(found[1]) * _UNITS[found[2]] if found and found[2] in _UNITS else math.nan
    if not 0 < seconds < math.inf:
        raise InputError(f"a budget is a time such as 30s, 5m or 1h, not {str(budget)!r}")
    return seconds


@dataclasses.dataclass(frozen=True)
class BudgetChoice:
    """What becomes of one measurement in one scope.

    Attributes
    ----------
    measurement : Measurement
        As it was asked for.
    scope : {"tensor", "model"}
    how : {"exact", "sampled", "skipped"}
    exact_seconds, seconds : float
        Of one core, expected: for all of it; for what is made of it.
    made : Measurement or None
        What is measured.
    """

    measurement: Measurement
    scope: MeasuredScope
    how: How
    exact_seconds: float
    seconds: float
    made: Measurement | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        sampled = isinstance(self.made and self.made.estimator, Sampled)
        return {
            "quantizer": str(self.measurement.quantizer),
            "estimator": str(self.measurement.estimator),
            "scope": self.scope,
            "how": self.how,
            "exact_seconds": round(self.exact_seconds, 3),
            "seconds": round(self.seconds, 3),
            "windows": self.made.estimator.windows if sampled else 0,  # type: ignore[union-attr]
        }


def within(
    plan: Plan,
    checkpoints: Mapping[str, Checkpoint],
    budget: float | str,
    threads: int | None = None,
    hashes: bool = True,
    rates: Rates | None = None,
) -> Plan:
    """The plan that ends in time.

    Parameters
    ----------
    plan : Plan
    checkpoints : mapping of names to checkpoints
        All of them together have this time.
    budget : float or str
        As `budget_seconds` takes it.
    threads : int, optional
    hashes : bool
        Whether the weights are hashed, for the store of results.
    rates : Rates, optional
        Those of this process by default.

    Examples
    --------
    >>> import numpy as np
    >>> from kolmo import get_estimator, get_quantizer, open_checkpoint
    >>> sign, names = get_quantizer("sign"), ("kt", "lz76")
    >>> plan = Plan(tuple(Measurement(sign, get_estimator(name)) for name in names))
    >>> found = within(plan, {"m": open_checkpoint({"w": np.ones((64, 64))})}, "1h")
    >>> [row["how"] for row in found.budget["measurements"]]
    ['exact', 'exact', 'exact', 'exact']
    """
    seconds, began = budget_seconds(budget), time.monotonic()
    size = sum(t.numel * t.dtype.itemsize for c in checkpoints.values() for t in c.values())
    fixed = reading_seconds(size) + (hashing_seconds(size) if hashes else 0.0)
    chooser = _Chooser(plan, checkpoints, thread_count(threads), rates or shared_rates())
    choices = chooser.choose(max(0.0, SAFETY * (seconds - START)), fixed)
    return dataclasses.replace(
        plan,
        measurements=_made(choices, plan),
        left=tuple(_left(choices, seconds)),
        stages=_stages(choices),
        budget={"seconds": seconds, "measurements": [choice.to_dict() for choice in choices]},
        deadline=began + max(0.5 * seconds, 0.92 * seconds - START),
    )


class _Chooser:
    """Choices for one plan, while time is given out."""

    def __init__(
        self, plan: Plan, checkpoints: Mapping[str, Checkpoint], threads: int, rates: Rates
    ) -> None:
        self._plan, self._checkpoints = plan, checkpoints
        self._threads, self._rates = threads, rates
        self._times = 1 + sum(len(plan.variants_of(null)) for null in plan.nulls)

    def choose(self, wall: float, fixed: float) -> list[BudgetChoice]:
        """Choices in the order of the plan; ``wall`` seconds on all threads, of which ``fixed``
        seconds of one core go to reading."""
        exact = self._costs(self._plan)
        found = self._entered(exact, wall, wall * self._threads - fixed)
        left = wall * self._threads - fixed - sum(choice.seconds for choice in found.values())
        for key in sorted(found, key=exact.__getitem__):
            more = exact[key] - found[key].seconds
            if more <= left and self._longest(key, exact[key]) <= wall:
                found[key] = BudgetChoice(*key, "exact", exact[key], exact[key], key[0])
                left -= more
        found |= self._widened([c for c in found.values() if c.how == "sampled"], left, wall)
        skipped = {k: BudgetChoice(*k, "skipped", cost, 0.0, None) for k, cost in exact.items()}
        return list((skipped | found).values())

    def _entered(
        self, exact: Mapping[_Kind, float], wall: float, left: float
    ) -> dict[_Kind, BudgetChoice]:
        """Each measurement by the cheaper of all of it and its least sample, the cheapest first,
        as long as there is time."""
        found = {}
        entries = [self._entry(key, exact[key]) for key in exact]
        for choice in sorted(entries, key=lambda choice: choice.seconds):
            key = choice.measurement, choice.scope
            if choice.seconds <= left and self._longest(key, choice.seconds) <= wall:
                found[key] = choice
                left -= choice.seconds
        return found

    def _entry(self, key: _Kind, exact: float) -> BudgetChoice:
        least = self._sample(key, FEWEST_WINDOWS)
        if least is None or 2 * least > exact:
            return BudgetChoice(*key, "exact", exact, exact, key[0])
        return BudgetChoice(*key, "sampled", exact, least, self._sampled(key[0], FEWEST_WINDOWS))

    def _widened(
        self, choices: Sequence[BudgetChoice], left: float, wall: float
    ) -> Iterator[tuple[_Kind, BudgetChoice]]:
        """Samples whose windows take equal shares of the time that is left."""
        for number, choice in enumerate(sorted(choices, key=lambda choice: choice.seconds)):
            key = choice.measurement, choice.scope
            share = choice.seconds + left / (len(choices) - number)
            windows = self._windows(key, share, wall, choice.exact_seconds)
            cost = self._sample(key, windows) or choice.seconds
            left -= cost - choice.seconds
            made = self._sampled(choice.measurement, windows)
            yield key, dataclasses.replace(choice, seconds=cost, made=made)

    def _windows(self, key: _Kind, share: float, wall: float, exact: float) -> int:
        """As many windows as fit a share of the time, and are less than half of all the work."""
        windows = FEWEST_WINDOWS
        while windows < MOST_WINDOWS:
            cost = self._sample(key, 2 * windows)
            if cost is None or cost > min(share, exact / 2) or self._longest(key, cost) > wall:
                break
            windows *= 2
        return windows

    def _longest(self, key: _Kind, seconds: float) -> float:
        """Seconds of the longest job of a measurement, which no thread can be spared."""
        measurement, scope = key
        tensors = [t for c in self._checkpoints.values() for t in c.values()]
        if not tensors or all(add_up(measurement, tensor) for tensor in tensors):
            return seconds / self._threads
        total = max(1, sum(tensor.numel for tensor in tensors))
        largest = max(tensor.numel for tensor in tensors)
        if scope == "model":
            largest = max(checkpoint.numel for checkpoint in self._checkpoints.values())
        return seconds / self._times * largest / total

    def _sampled(self, measurement: Measurement, windows: int) -> Measurement:
        sampled = Sampled.by(measurement.estimator, windows, self._plan.seed)
        return Measurement(measurement.quantizer, sampled)

    def _sample(self, key: _Kind, windows: int) -> float | None:
        """Seconds of a sample of so many windows; None if there is none."""
        measurement, scope = key
        if not can_sample(measurement.estimator):
            return None
        try:
            made = self._sampled(measurement, windows)
        except (InputError, NotApplicableError):
            return None
        one = dataclasses.replace(
            self._plan,
            measurements=(made,),
            tensor_scope=scope == "tensor",
            model_scope=scope == "model",
        )
        return self._costs(one)[made, scope]

    def _costs(self, plan: Plan) -> dict[_Kind, float]:
        """Seconds of one core by measurement and scope, of all checkpoints."""
        names = {(str(m.quantizer), str(m.estimator)): m for m in plan.measurements}
        found: dict[_Kind, float] = {}
        for checkpoint in self._checkpoints.values():
            for row in foresee(checkpoint, plan, self._threads, self._rates).rows:
                scope: MeasuredScope = "tensor" if row.scope == "tensor" else "model"
                key = names[row.quantizer, row.estimator], scope
                found[key] = found.get(key, 0.0) + row.seconds
        return found


_Kind = tuple[Measurement, MeasuredScope]


def _made(choices: Sequence[BudgetChoice], plan: Plan) -> tuple[Measurement, ...]:
    """What is measured or named in the table: each sample after the measurement it stands for."""
    found: dict[Measurement, None] = {}
    for measurement in plan.measurements:
        own = [choice for choice in choices if choice.measurement == measurement]
        found |= dict.fromkeys([measurement, *(c.made for c in own if c.made is not None)])
    return tuple(found)


def _stages(choices: Sequence[BudgetChoice]) -> tuple[tuple[Measurement, ...], ...]:
    """The cheap measurements together, then each dear one alone, so that what does not end in time
    takes nothing with it."""
    costs: dict[Measurement, float] = {}
    for choice in choices:
        if choice.made:
            costs[choice.made] = costs.get(choice.made, 0.0) + choice.seconds
    order = sorted(costs, key=costs.__getitem__)
    cheap = [m for m in order if costs[m] <= _CHEAP * sum(costs.values())]
    return tuple(filter(None, [tuple(cheap), *((m,) for m in order if m not in cheap)]))


def _left(choices: Sequence[BudgetChoice], seconds: float) -> list[Left]:
    """What is not made in which scope: the skipped with their reason, the whole of what is
    sampled, and samples in the other scope."""
    made = {(choice.made, choice.scope) for choice in choices}
    found = []
    for scope in dict.fromkeys(choice.scope for choice in choices):
        for choice in choices:
            if choice.made and (choice.made, scope) not in made:
                found.append(Left(choice.made, scope))
    for choice in choices:
        if choice.how == "sampled":
            found.append(Left(choice.measurement, choice.scope))
        elif choice.how == "skipped":
            found.append(Left(choice.measurement, choice.scope, _reason(choice, seconds)))
    unique = {(left.measurement, left.scope): left for left in found}  # a reason is told last
    return list(unique.values())


def _reason(choice: BudgetChoice, seconds: float) -> str:
    sampled = "" if can_sample(choice.measurement.estimator) else ", and has no sample"
    return (
        f"skipped: it takes about {duration(choice.exact_seconds)} of one core{sampled}; the "
        f"budget of {duration(seconds)} goes to others"
    )
