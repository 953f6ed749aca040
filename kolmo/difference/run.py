"""Two checkpoints being measured, tensor by tensor, and their sum."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import array_tensor
from kolmo.difference.codes import Choice, DifferenceCode, native_choice, symbol_choice
from kolmo.difference.weights import quantized_form
from kolmo.errors import KolmoError, NotApplicableError, NotExpressibleError
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.execution import Lane, Lanes, Progress
from kolmo.floats import is_float, ordered, unordered
from kolmo.measure import Measurement, Plan, Variant
from kolmo.outcomes import Missing, Outcome, Result, total
from kolmo.quantize import Native, Quantizer, side_bits


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
        coders: Mapping[Quantizer, Sequence[Estimator]],
    ) -> None:
        self._base, self._tuned, self._plan, self._coders = base, tuned, plan, coders
        self._tasks: list[_Task] = []
        self.measured: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.content = ""  # it is not hashed

    def go(self, lanes: Lanes, progress: Progress) -> None:
        """Measure everything."""
        total = len(self._tuned) * len(self._coders) * len(self._plan.variants)
        for name in self._tuned:
            for quantizer in self._coders:
                for variant in self._plan.variants:
                    task = _Task(name, quantizer, variant, lanes.lane())
                    self._tasks.append(task)
                    task.lane.submit(self._job(task))
                    progress(self._done, total, name)
        for _ in lanes.drain():
            progress(self._done, total, "finishing")
        progress(total, total, "done")

    @property
    def _done(self) -> int:
        return sum(task.choice is not None for task in self._tasks)

    def _job(self, task: _Task) -> Callable[[], None]:
        def run() -> None:
            base, tuned = self._base[task.name].read(), self._tuned[task.name].read()
            if task.variant.null is not None:
                seed = (self._plan.seed, zlib.crc32(task.name.encode()), task.variant.number, 7)
                tuned = shuffled_difference(base, tuned, seed)
            estimators = self._coders[task.quantizer]
            task.choice, task.side_bits = _choice(
                task.name, base, tuned, task.quantizer, estimators
            )

        return run

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
    name: str,
    base: NDArray[Any],
    tuned: NDArray[Any],
    quantizer: Quantizer,
    estimators: Sequence[Estimator],
) -> tuple[Choice, int]:
    """The shortest code of one tensor, and the bits of its quantizer's parameters."""
    if tuned.size == 0:  # nothing to describe
        return Choice(DifferenceCode("alone", 0, {"changed": 0.0}), DifferenceCode("alone", 0)), 0
    if isinstance(quantizer, Native):
        return native_choice(base, tuned, estimators), 0
    tensor = array_tensor(name, tuned)
    quantizer.fit(array_tensor(name, base))  # which refuses what it cannot express
    coder = quantizer.fit(tensor)
    symbols = coder.encode(tuned)
    wide = tuned.astype(np.float64)
    near = np.clip(base.astype(np.float64), wide.min(), wide.max())
    choice = symbol_choice(coder.encode(near), symbols, coder.alphabet, estimators)
    return choice, side_bits(coder, tensor)


def shuffled_difference(
    base: NDArray[Any], tuned: NDArray[Any], seed: Sequence[int]
) -> NDArray[Any]:
    """The base with the same differences at random places.

    Differences of finite floats are those of real numbers, and the sum is rounded to the dtype;
    those of other values are modulo 2^w, those of booleans exclusive ors.

    >>> shuffled_difference(np.zeros(4, np.int8), np.int8([0, 0, 0, 9]), [0]).sum()
    np.int64(9)
    """
    random = np.random.default_rng(tuple(seed))
    if is_float(tuned.dtype):
        with np.errstate(invalid="ignore"):
            difference = tuned.astype(np.float64) - base.astype(np.float64)
        if np.isfinite(difference).all():
            shuffled = random.permutation(difference.reshape(-1)).reshape(difference.shape)
            with np.errstate(over="ignore"):
                return np.asarray((base.astype(np.float64) + shuffled).astype(tuned.dtype))
    if tuned.dtype.kind == "b":
        xor = random.permutation((base ^ tuned).reshape(-1)).reshape(tuned.shape)
        return np.asarray(base ^ xor)
    steps = np.atleast_1d(ordered(tuned)) - np.atleast_1d(ordered(base))
    moved = random.permutation(steps.reshape(-1)).reshape(steps.shape)
    return unordered(np.atleast_1d(ordered(base)) + moved, tuned.dtype).reshape(tuned.shape)


def _total(parts: Mapping[str, Result]) -> Result:
    """The sum over tensors; its details say for how many of them each code is the shortest."""
    outcomes = {f"tensor {name!r}": part.outcome for name, part in parts.items()}
    codes = (o for o in outcomes.values() if isinstance(o, CodeLength))
    won = Counter(str(code.details["code"]) for code in codes)
    seconds = sum(part.seconds for part in parts.values())
    return Result(total(outcomes, {"tensors": dict(won.most_common())}), seconds)
