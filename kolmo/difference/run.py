"""Two checkpoints being measured, tensor by tensor, and their sum."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from kolmo.checkpoints import Checkpoint
from kolmo.difference.codes import Choice, CodeSearch, Tell, native_choice, symbol_choice
from kolmo.difference.draws import drawn_tensor
from kolmo.difference.recall import PairRecall
from kolmo.difference.room import MEMORY, Room, memory_of
from kolmo.difference.streams import DifferenceCode
from kolmo.difference.stripes import Stripe, Stripes
from kolmo.difference.weights import quantized_form
from kolmo.errors import KolmoError, NotApplicableError, NotExpressibleError
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.execution import Lane, Lanes, Progress
from kolmo.measure import Measurement, Plan, Variant
from kolmo.nulls.seeds import name_seed
from kolmo.outcomes import Failed, Missing, Outcome, Result, total
from kolmo.quantize import Native, Quantizer, side_bits
from kolmo.store import RunMemory
from kolmo.symbols import Symbols

Coded = tuple[Choice, int]


class Shortest(Estimator):
    """The shortest of several codes of one tensor, which a row of the table stands for.

    `DeltaRun` measures it, and no accumulator, because the codes need two tensors.
    """

    kind = "bound"
    version = 2


@dataclasses.dataclass(frozen=True)
class Delta(Shortest):
    """The shortest code of the tuned weights given the base; named in tables only."""

    name = "delta"


@dataclasses.dataclass(frozen=True)
class Alone(Shortest):
    """The shortest of the estimators' codes of the tuned weights; named in tables only."""

    name = "alone"


@dataclasses.dataclass
class _Task:
    """One tensor under one quantizer, as it is or as a draw of the null."""

    name: str
    quantizer: Quantizer
    variant: Variant
    lane: Lane
    share: float = 0.0
    found: dict[Estimator, Result] = dataclasses.field(default_factory=dict)

    @property
    def measurements(self) -> list[Measurement]:
        return [Measurement(self.quantizer, estimator) for estimator in (Delta(), Alone())]

    def tell(self, share: float) -> None:
        """Take the share that is done."""
        self.share = share

    @property
    def missing(self) -> Missing | None:
        """Why there is no code; an error that does not concern this tensor alone is raised."""
        error = self.lane.error
        if error is None:
            return None
        if isinstance(error, NotApplicableError | NotExpressibleError):
            return Missing(str(error), isinstance(error, NotExpressibleError))
        if isinstance(error, KolmoError):
            raise error
        return Failed.of(f"delta of {self.quantizer}", error)


class DeltaRun:
    """Two checkpoints being measured; it has the interface of `measure.Run`."""

    def __init__(
        self,
        base: Checkpoint,
        tuned: Checkpoint,
        plan: Plan,
        coders: Mapping[Quantizer, CodeSearch],
        memory: RunMemory | None = None,
    ) -> None:
        self._base, self._tuned, self._plan, self._coders = base, tuned, plan, coders
        self._recall = PairRecall(memory, base, tuned, plan, coders)
        self._tasks: list[_Task] = []
        self.measured: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.content = ""  # it is not hashed

    def go(self, lanes: Lanes, progress: Progress) -> None:
        """Measure everything."""
        each = len(self._coders) * len(self._plan.variants)
        total = self._tuned.numel * each
        room = Room(MEMORY)
        for name, tensor in self._tuned.items():
            for quantizer, search in self._coders.items():
                for variant in self._plan.variants:
                    drawn = variant.null is not None
                    needed = memory_of(tensor, quantizer, search, drawn)
                    task = _Task(name, quantizer, variant, lanes.lane())
                    self._tasks.append(task)
                    while not room.take(needed, 0.1):
                        progress(self._done, total, name)
                    task.lane.submit(self._job(task, partial(room.give_back, needed)))
                    progress(self._done, total, name)
        for _ in lanes.drain():
            progress(self._done, total, "finishing")
        progress(total, total, "done")

    @property
    def _done(self) -> int:
        """Weights, of which each task has done a share."""
        return sum(int(task.share * self._tuned[task.name].numel) for task in self._tasks)

    def _job(self, task: _Task, leave: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                known = self._recall.find(task.name, task.measurements, task.variant)
                task.found = known or self._measured(task)
                task.share = 1.0
            finally:
                leave()

        return run

    def _measured(self, task: _Task) -> dict[Estimator, Result]:
        """The results of a task, which are kept."""
        began, found = time.perf_counter(), {}
        coded = self._choice(task)
        seconds = time.perf_counter() - began
        for m in task.measurements:
            result = Result(self._outcome(task, m.estimator, coded), seconds)
            self._recall.keep(task.name, m, task.variant, result)
            found[m.estimator] = result
        return found

    def _choice(self, task: _Task) -> Coded:
        base, tuned = self._base[task.name], self._tuned[task.name]
        if task.variant.null is not None:
            seed = self._plan.seed, name_seed(task.name), task.variant.number, 7
            tuned = drawn_tensor(base, tuned, seed)
        stripes = Stripes(base, tuned)
        return _choice(stripes, task.quantizer, self._coders[task.quantizer], task.tell)

    def results(self) -> dict[Any, Result]:
        """The results so far."""
        results_by_key: dict[Any, Result] = {}
        for task in self._tasks:
            missing = task.missing
            if missing:
                self.reasons.setdefault(task.name, missing.reason)
            elif task.found:
                self.measured.add(task.name)
            for m in task.measurements:
                result = self._result(task, m.estimator, missing)
                if result is not None:
                    results_by_key[task.name, m, task.variant] = result
        for measurement in self._plan.measurements:
            for variant in self._plan.variants:
                parts = {
                    name: results_by_key.get((name, measurement, variant)) for name in self._tuned
                }
                known = {name: part for name, part in parts.items() if part is not None}
                if len(known) == len(parts):
                    results_by_key[None, measurement, variant] = _total(known)
        return results_by_key

    @property
    def count(self) -> tuple[int, int]:
        """How many figures of tensors are known, and how many there are to be."""
        each = len(self._plan.measurements) * len(self._plan.variants)
        return sum(len(task.found) for task in self._tasks), each * len(self._tuned)

    def _result(self, task: _Task, estimator: Estimator, missing: Missing | None) -> Result | None:
        if missing:
            return Result(missing, task.lane.seconds)
        result, forms = task.found.get(estimator), self._quantized(task.name)
        if result is None or not forms or not isinstance(result.outcome, CodeLength):
            return result
        details = {**result.outcome.details, "dequantized": forms}
        note = f"of the {self._tuned[task.name].dtype.name} weights that codes stand for"
        outcome = dataclasses.replace(result.outcome, details=details, note=note)
        return Result(outcome, result.seconds)

    def _outcome(self, task: _Task, estimator: Estimator, coded: Coded) -> Outcome:
        choice, side = coded
        tensor = self._tuned[task.name]
        code = choice.best if isinstance(estimator, Delta) else choice.alone
        if code is None:
            return Missing(choice.reason)
        raw_bits = tensor.numel * task.quantizer.alphabet(tensor.dtype).bits
        details = {"code": code.name, **code.details}
        return CodeLength(code.bits, tensor.numel, raw_bits, "bound", details).with_side(side)

    def _quantized(self, name: str) -> dict[str, str]:
        """Of what form the codes of a tensor are, in the tuned checkpoint and in the base."""
        both = {"tuned": self._tuned[name], "base": self._base[name]}
        forms = {which: quantized_form(tensor) for which, tensor in both.items()}
        return {which: form for which, form in forms.items() if form}


def _choice(stripes: Stripes, quantizer: Quantizer, search: CodeSearch, tell: Tell) -> Coded:
    """The shortest code of one tensor, and the bits of its quantizer's parameters."""
    if stripes.numel == 0:  # nothing to describe
        return Choice(DifferenceCode("alone", 0, {"changed": 0.0}), DifferenceCode("alone", 0)), 0
    if isinstance(quantizer, Native):
        return native_choice(stripes, search, tell), 0
    base, tuned = stripes.pair
    quantizer.fit(base)  # which refuses what it cannot express
    coder = quantizer.fit(tuned)
    low, high = _range(stripes)

    def encode(stripe: Stripe) -> tuple[Symbols, Symbols]:
        near = np.clip(stripe.base.astype(np.float64), low, high)
        return coder.encode(near), coder.encode(stripe.tuned)

    choice = symbol_choice(stripes, encode, coder.alphabet, search, tell)
    return choice, side_bits(coder, tuned)


def _range(stripes: Stripes) -> tuple[float, float]:
    """The least and the largest of the tuned weights."""
    low, high = np.inf, -np.inf
    for stripe in stripes:
        wide = stripe.tuned.astype(np.float64)
        low, high = min(low, float(wide.min())), max(high, float(wide.max()))
    return low, high


def _total(parts: Mapping[str, Result]) -> Result:
    """The sum over tensors; its details say for how many of them each code is the shortest."""
    outcomes = {f"tensor {name!r}": part.outcome for name, part in parts.items()}
    codes = (o for o in outcomes.values() if isinstance(o, CodeLength))
    won = Counter(str(code.details["code"]) for code in codes)
    seconds = sum(part.seconds for part in parts.values())
    return Result(total(outcomes, {"tensors": dict(won.most_common())}), seconds)
