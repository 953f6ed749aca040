"""The measuring itself: one pass over a checkpoint feeds every accumulator.

::

    tensor ─► source (the tensor, or a draw of a null) ─► symbols ─► cells (tensor, model scope)

Each tensor is read once (twice where it does not fit in memory), its symbols are made once per
quantizer, and every cell, one accumulator on a lane of its own, takes them.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

from kolmo.checkpoints.base import Checkpoint, WeightTensor, array_shape, array_tensor
from kolmo.errors import KolmoError, NotApplicableError, NotExpressibleError
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.execution import Lanes, Progress
from kolmo.nulls import Coded, Null, Source, Weights
from kolmo.outcomes import Missing, Outcome, Result, total
from kolmo.quantize import Quantizer
from kolmo.symbols import Alphabet, Shape, Symbols

HELD = 1 << 28
"""Bytes up to which a tensor is held in memory while it is measured."""


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


class Work:
    """How much is done, counted by all lanes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done = 0

    def add(self, more: int) -> None:
        with self._lock:
            self.done += more


class Cell:
    """One accumulator on its lane."""

    def __init__(
        self,
        lanes: Lanes,
        work: Work,
        estimator: Estimator,
        shapes: Sequence[Shape],
        alphabet: Alphabet,
    ) -> None:
        self._lane, self._work = lanes.lane(), work
        self._missing: Missing | None = None
        self._code: CodeLength | None = None
        self._side_bits = 0.0
        try:
            self._accumulator = estimator.start_many(shapes, alphabet)
        except NotApplicableError as error:
            self._missing = Missing(str(error))

    @property
    def alive(self) -> bool:
        return self._missing is None

    @property
    def seconds(self) -> float:
        return self._lane.seconds

    def update(self, symbols: Symbols) -> None:
        self._lane.submit(lambda: self._update(symbols))

    def add_side(self, bits: float) -> None:
        """Add the bits of the quantizer's parameters, for the symbols to come."""
        self._side_bits += bits

    def finish(self) -> None:
        if self.alive:
            self._lane.submit(self._finish)

    def miss(self, reason: str, problem: bool) -> None:
        """Give up: this cell's object cannot be measured."""
        if self.alive:
            self._missing = Missing(reason, problem)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome; None if the run stopped before it was known."""
        error = self._lane.error
        if self._missing is not None:
            return self._missing
        if isinstance(error, NotApplicableError):
            return Missing(str(error))
        if error is not None:
            raise KolmoError(f"measuring failed: {type(error).__name__}: {error}") from error
        return self._code

    def _update(self, symbols: Symbols) -> None:
        self._accumulator.update(symbols)
        self._work.add(symbols.size)

    def _finish(self) -> None:
        self._code = self._accumulator.finish().with_side(self._side_bits)
        del self._accumulator  # frees its memory


Key = tuple[str | None, Measurement, Variant]
"""The tensor's name (None: the whole model), the measurement, and the variant."""


class Measured(Protocol):
    """A run of any kind, as far as a report needs it."""

    measured: set[str]
    reasons: dict[str, str]

    def results(self) -> dict[Key, Result]:
        """What is known by now."""
        ...


class Run:
    """One checkpoint being measured; ``results()`` may be asked at any time.

    Attributes
    ----------
    measured : set of str
        Names of the tensors that at least one accumulator took.
    reasons : dict
        By name of tensor, the reason that it was not measured.
    """

    def __init__(self, checkpoint: Checkpoint, plan: Plan, lanes: Lanes) -> None:
        self._checkpoint, self._plan, self._lanes = checkpoint, plan, lanes
        self._cells: dict[Key, list[Cell]] = {}
        self._work = Work()
        self._forms = _forms(checkpoint) if plan.model_scope and checkpoint else {}
        self._side_bits: dict[tuple[str, Quantizer], int] = {}
        self.measured: set[str] = set()
        self.reasons: dict[str, str] = {}
        for measurement in plan.measurements if self._forms else ():
            for variant in plan.variants:
                cells = [self._cell(measurement, ts) for ts in self._forms.values()]
                self._cells[None, measurement, variant] = cells

    @cached_property
    def total(self) -> int:
        """Work to do: weights × accumulators."""
        scopes = int(self._plan.tensor_scope) + int(self._plan.model_scope)
        per_weight = len(self._plan.measurements) * len(self._plan.variants) * scopes
        return self._checkpoint.numel * per_weight

    def go(self, progress: Progress) -> None:
        """Measure everything. An error leaves what is done in ``results()``."""
        for tensor in self._checkpoint.values():
            held = _hold(tensor)
            for variant in self._plan.variants:
                self._measure(held, variant)
                progress(self._work.done, self.total, tensor.name)
        for key, cells in self._cells.items():
            if key[0] is None:
                for cell in cells:
                    cell.finish()
        for _ in self._lanes.drain():
            progress(self._work.done, self.total, "finishing")
        progress(self.total, self.total, "done")

    def results(self) -> dict[Key, Result]:
        """What is known by now."""
        results_by_key = {}
        for key, cells in self._cells.items():
            outcomes = [outcome for cell in cells if (outcome := cell.outcome) is not None]
            if len(outcomes) == len(cells):
                whole = (
                    _sum(dict(zip(self._forms, outcomes, strict=True)))
                    if key[0] is None
                    else outcomes[0]
                )
                results_by_key[key] = Result(whole, sum(cell.seconds for cell in cells))
        return results_by_key

    def _measure(self, tensor: WeightTensor, variant: Variant) -> None:
        single = self._start_tensor(tensor, variant) if self._plan.tensor_scope else {}
        try:
            source = variant.source(tensor, self._plan.seed)
        except NotApplicableError as error:
            self._miss(tensor, variant, self._plan.measurements, str(error), problem=False)
            return
        for quantizer in self._plan.quantizers:
            measurements = [m for m in self._plan.measurements if m.quantizer == quantizer]
            cells = [
                cell
                for measurement in measurements
                for cell in (
                    single.get(measurement),
                    self._model_cell(tensor, measurement, variant),
                )
                if cell is not None
            ]
            living = [cell for cell in cells if cell.alive]
            try:
                if living:
                    self._feed(living, tensor, quantizer, source.coded(quantizer))
                    self.measured.add(tensor.name)
            except NotApplicableError as error:
                self._miss(tensor, variant, measurements, str(error), problem=False)
            except NotExpressibleError as error:
                self._miss(tensor, variant, measurements, str(error), problem=True)
        for cell in single.values():
            cell.finish()
            if isinstance(cell.outcome, Missing):
                self.reasons.setdefault(tensor.name, cell.outcome.reason)

    def _feed(
        self, cells: Sequence[Cell], tensor: WeightTensor, quantizer: Quantizer, coded: Coded
    ) -> None:
        """Give every cell the symbols of a tensor, and the bits of its quantizer's parameters.

        The weights as they are come before the draws of any null: their parameters serve a draw
        that has none of its own.
        """
        own = self._side_bits.setdefault((tensor.name, quantizer), coded.side_bits or 0)
        for cell in cells:
            cell.add_side(own if coded.side_bits is None else coded.side_bits)
        for symbols in coded.chunks:
            for cell in cells:
                cell.update(symbols)

    def _start_tensor(self, tensor: WeightTensor, variant: Variant) -> dict[Measurement, Cell]:
        cells = {m: self._cell(m, [tensor]) for m in self._plan.measurements}
        for measurement, cell in cells.items():
            self._cells[tensor.name, measurement, variant] = [cell]
        return cells

    def _cell(self, measurement: Measurement, tensors: Sequence[WeightTensor]) -> Cell:
        shapes = [array_shape(tensor.shape) for tensor in tensors]
        alphabet = measurement.quantizer.alphabet_of(tensors[0])
        return Cell(self._lanes, self._work, measurement.estimator, shapes, alphabet)

    def _model_cell(
        self, tensor: WeightTensor, measurement: Measurement, variant: Variant
    ) -> Cell | None:
        cells = self._cells.get((None, measurement, variant))
        return cells[list(self._forms).index(tensor.form)] if cells else None

    def _miss(
        self,
        tensor: WeightTensor,
        variant: Variant,
        measurements: Sequence[Measurement],
        reason: str,
        problem: bool,
    ) -> None:
        if variant.null is None:
            self.reasons[tensor.name] = reason
        for measurement in measurements:
            for name in (tensor.name, None):
                for cell in self._cells.get((name, measurement, variant), ()):
                    cell.miss(reason, problem)


def _hold(tensor: WeightTensor) -> WeightTensor:
    if tensor.numel * tensor.dtype.itemsize > HELD:
        return tensor
    held = array_tensor(tensor.name, tensor.load(0, tensor.numel))
    return dataclasses.replace(tensor, load=held.load)


def _forms(checkpoint: Checkpoint) -> dict[str, list[WeightTensor]]:
    """Tensors by form, in checkpoint order: each form has an accumulator of its own."""
    by_form: dict[str, list[WeightTensor]] = {}
    for tensor in checkpoint.values():
        by_form.setdefault(tensor.form, []).append(tensor)
    return by_form


def _sum(by_form: Mapping[str, Outcome]) -> Outcome:
    """The outcomes of a model's forms, added up."""
    if len(by_form) == 1:
        return next(iter(by_form.values()))
    codes = {form: dict(o.details) for form, o in by_form.items() if isinstance(o, CodeLength)}
    return total(
        {f"{form} tensors": outcome for form, outcome in by_form.items()}, {"dtypes": codes}
    )
