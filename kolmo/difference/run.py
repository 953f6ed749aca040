"""Two checkpoints being measured, tensor by tensor, and their sum."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import WeightTensor, array_tensor
from kolmo.difference.codes import Choice, CodeSearch, Tell, native_choice, symbol_choice
from kolmo.difference.draws import draw_of
from kolmo.difference.room import Room
from kolmo.difference.streams import DifferenceCode
from kolmo.difference.stripes import HELD, Stripe, Stripes
from kolmo.difference.weights import quantized_form
from kolmo.errors import KolmoError, NotApplicableError, NotExpressibleError
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.execution import Lane, Lanes, Progress
from kolmo.measure import Measurement, Plan, Variant
from kolmo.outcomes import Missing, Outcome, Result, total
from kolmo.quantize import Native, Quantizer, side_bits
from kolmo.symbols import Symbols

MEMORY = 3 << 28
"""Bytes that all tensors under way may hold together."""

_WORKING = 1 << 27  # bytes of a tensor's stripes, symbols and accumulators

Pair = tuple[WeightTensor, WeightTensor]
Coded = tuple[Choice, int]


def memory_of(numel: int, width: int) -> int:
    """Bytes that measuring a tensor of so many weights of so many bytes holds, about."""
    return min(2 * numel * width, HELD) + min(64 * numel, _WORKING)


class Shortest(Estimator):
    """The shortest of several codes of one tensor, which a row of the table stands for.

    `DeltaRun` measures it, and no accumulator, because the codes need two tensors.
    """

    kind = "bound"


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
    choice: Choice | None = None
    side_bits: int = 0
    share: float = 0.0

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
        raise KolmoError(f"measuring failed: {type(error).__name__}: {error}") from error


class DeltaRun:
    """Two checkpoints being measured; it has the interface of `measure.Run`."""

    def __init__(
        self,
        base: Checkpoint,
        tuned: Checkpoint,
        plan: Plan,
        coders: Mapping[Quantizer, CodeSearch],
    ) -> None:
        self._base, self._tuned, self._plan, self._coders = base, tuned, plan, coders
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
            needed = memory_of(tensor.numel, tensor.dtype.itemsize)
            for quantizer in self._coders:
                for variant in self._plan.variants:
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
                task.choice, task.side_bits = self._choice(task)
                task.share = 1.0
            finally:
                leave()

        return run

    def _choice(self, task: _Task) -> Coded:
        pair = self._base[task.name], self._tuned[task.name]
        draw = None
        if task.variant.null is not None:
            name = zlib.crc32(task.name.encode())
            draw = draw_of((self._plan.seed, name, task.variant.number, 7))
        stripes = Stripes(*pair, draw)
        return _choice(stripes, pair, task.quantizer, self._coders[task.quantizer], task.tell)

    def results(self) -> dict[Any, Result]:
        """The results so far."""
        results_by_key: dict[Any, Result] = {}
        for task in self._tasks:
            missing = task.missing
            if missing:
                self.reasons.setdefault(task.name, missing.reason)
            elif task.choice is not None:
                self.measured.add(task.name)
            for estimator in (Delta(), Alone()):
                outcome = missing or self._outcome(task, estimator)
                if outcome is not None:
                    key = (task.name, Measurement(task.quantizer, estimator), task.variant)
                    results_by_key[key] = Result(outcome, task.lane.seconds)
        for measurement in self._plan.measurements:
            for variant in self._plan.variants:
                parts = {
                    name: results_by_key.get((name, measurement, variant)) for name in self._tuned
                }
                known = {name: part for name, part in parts.items() if part is not None}
                if len(known) == len(parts):
                    results_by_key[None, measurement, variant] = _total(known)
        return results_by_key

    def _outcome(self, task: _Task, estimator: Delta | Alone) -> Outcome | None:
        if task.choice is None:
            return None
        tensor = self._tuned[task.name]
        code = task.choice.best if isinstance(estimator, Delta) else task.choice.alone
        if code is None:
            return Missing(task.choice.reason)
        raw_bits = tensor.numel * task.quantizer.alphabet(tensor.dtype).bits
        forms = self._quantized(task.name)
        details = {"code": code.name, **code.details, **({"dequantized": forms} if forms else {})}
        note = f"of the {tensor.dtype.name} weights that codes stand for" if forms else ""
        length = CodeLength(code.bits, tensor.numel, raw_bits, "bound", details, note=note)
        return length.with_side(task.side_bits)

    def _quantized(self, name: str) -> dict[str, str]:
        """Of what form the codes of a tensor are, in the tuned checkpoint and in the base."""
        both = {"tuned": self._tuned[name], "base": self._base[name]}
        forms = {which: quantized_form(tensor) for which, tensor in both.items()}
        return {which: form for which, form in forms.items() if form}


def _choice(
    stripes: Stripes, pair: Pair, quantizer: Quantizer, search: CodeSearch, tell: Tell
) -> Coded:
    """The shortest code of one tensor, and the bits of its quantizer's parameters."""
    if stripes.numel == 0:  # nothing to describe
        return Choice(DifferenceCode("alone", 0, {"changed": 0.0}), DifferenceCode("alone", 0)), 0
    if isinstance(quantizer, Native):
        return native_choice(stripes, search, tell), 0
    quantizer.fit(pair[0])  # which refuses what it cannot express
    tuned = _tensor(stripes, pair[1])
    coder = quantizer.fit(tuned)
    low, high = _range(stripes)

    def encode(stripe: Stripe) -> tuple[Symbols, Symbols]:
        near = np.clip(stripe.base.astype(np.float64), low, high)
        return coder.encode(near), coder.encode(stripe.tuned)

    choice = symbol_choice(stripes, encode, coder.alphabet, search, tell)
    return choice, side_bits(coder, tuned)


def _tensor(stripes: Stripes, tuned: WeightTensor) -> WeightTensor:
    """The tuned tensor, or the draw of the null in its place."""
    if not stripes.whole:
        return tuned
    return array_tensor(tuned.name, stripes.read()[1])


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
