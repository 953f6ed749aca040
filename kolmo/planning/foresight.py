"""From a checkpoint's header and a plan to what measuring would take; no weight is read."""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.checkpoints.shapes import array_shape
from kolmo.engine.costs import drawn_bytes, foretell
from kolmo.engine.feeding import HELD, why
from kolmo.engine.pool import MEMORY
from kolmo.estimators.sampled import Sampled
from kolmo.execution import thread_count
from kolmo.measure import SCOPES, Measurement, Plan, Variant
from kolmo.nulls import Null, unmoved
from kolmo.planning.outlook import Outlook, PlannedRow
from kolmo.quantize import Quantizer
from kolmo.rates import Rates, drawing, measuring, reading, shared_rates
from kolmo.symbols import Shape

_BESIDE = 32 << 20  # bytes of chunks and symbols that a thread has in its hands


def foresee(
    checkpoint: Checkpoint,
    plan: Plan,
    threads: int | None = None,
    rates: Rates | None = None,
) -> Outlook:
    """What measuring a checkpoint by a plan takes; no weight is read.

    Parameters
    ----------
    checkpoint : Checkpoint
    plan : Plan
    threads : int, optional
        All cores by default.
    rates : Rates, optional
        Those of this process by default.

    Examples
    --------
    >>> import kolmo, numpy as np
    >>> from kolmo.measure import SCOPES, Measurement, Plan
    >>> kt, bdm = kolmo.get_estimator("kt"), kolmo.get_estimator("bdm")
    >>> sign = kolmo.get_quantizer("sign")
    >>> checkpoint = kolmo.open_checkpoint({"w": np.ones((64, 64)), "b": np.ones(3)})
    >>> outlook = foresee(checkpoint, Plan((Measurement(sign, kt), Measurement(sign, bdm))))
    >>> [(row.estimator, row.scope, row.tensors) for row in outlook.rows]
    [('kt', 'tensor', 2), ('kt', 'model', 2), ('bdm', 'tensor', 1), ('bdm', 'model', 2)]
    >>> list(outlook.rows[2].refused)
    ['bdm: 3 symbols hold no whole block of 12']
    """
    return _Foresight(checkpoint, plan, thread_count(threads), rates or shared_rates()).outlook()


@dataclasses.dataclass(frozen=True)
class _Group:
    """Tensors of one form and shape, which all cost the same: one of them, and their number."""

    tensor: WeightTensor
    count: int

    @property
    def weights(self) -> int:
        return self.count * self.tensor.numel

    @property
    def held(self) -> int:
        """Bytes of one tensor that are in memory at once."""
        return min(_bytes(self.tensor), HELD)

    def drawn(self, nulls: Sequence[Null]) -> int:
        """Bytes of a draw of a null, at most."""
        return max((drawn_bytes(self.tensor, null) for null in nulls), default=0)


@dataclasses.dataclass(frozen=True)
class _Take:
    """How an estimator would take tensors: why not, whether a sample of them, whether its parts
    add up, and bytes that it holds."""

    refusal: str | None
    sampled: bool = False
    adds_up: bool = False
    memory: int = 0


@dataclasses.dataclass
class _Work:
    """Seconds that cannot be divided among threads, job by job, and those that can."""

    jobs: list[tuple[float, int]] = dataclasses.field(default_factory=list)  # and their memory
    divisible: float = 0.0

    def wall(self, threads: int) -> float:
        """Seconds on threads: the longest jobs first, then what can be divided fills the rest."""
        free = [0.0] * threads
        for seconds, _ in sorted(self.jobs, reverse=True):
            heapq.heapreplace(free, free[0] + seconds)
        return max(max(free), self.total / threads)

    @property
    def total(self) -> float:
        return self.divisible + sum(seconds for seconds, _ in self.jobs)

    def memory(self, threads: int) -> int:
        """Bytes of jobs that run at once: as many as there are threads, if they fit together."""
        largest = heapq.nlargest(threads, (memory for _, memory in self.jobs))
        return max(largest[0], min(sum(largest), MEMORY)) if largest else 0


class _Foresight:
    """One plan for one checkpoint; tensors of one form and shape are looked at once."""

    def __init__(self, checkpoint: Checkpoint, plan: Plan, threads: int, rates: Rates) -> None:
        self._checkpoint, self._plan, self._threads = checkpoint, plan, threads
        self._rates = rates
        self._groups = _groups(checkpoint)
        self._sharing = Counter(m.quantizer for m in plan.measurements)
        self._work = _Work()

    def outlook(self) -> Outlook:
        rows = tuple(row for m in self._plan.measurements for row in self._rows(m))
        read = sum(g.count * _bytes(g.tensor) * self._passes(g.tensor) for g in self._groups)
        self._work.divisible += self._rates.seconds(reading(read)) + self._draws()
        return Outlook(
            self._checkpoint.source,
            len(self._checkpoint),
            sum(group.weights for group in self._groups),
            rows,
            self._threads,
            self._work.total,
            self._work.wall(self._threads),
            self._work.memory(self._threads) + self._threads * _BESIDE,
            read,
            self._plan.ledger,
        )

    def _rows(self, measurement: Measurement) -> Iterator[PlannedRow]:
        prices = [self._price(measurement, group.tensor) for group in self._groups]
        if self._plan.makes(measurement, "tensor"):
            yield self._tensor_row(measurement, prices)
        if self._plan.makes(measurement, "model"):
            yield self._model_row(measurement, prices)
        for scope in SCOPES:
            if reason := self._plan.reason(measurement, scope):
                row, priced = _Row(measurement, scope), list(zip(self._groups, prices, strict=True))
                row.add(_Take(reason), priced, 0)
                yield row.made()

    def _tensor_row(self, measurement: Measurement, prices: _Prices) -> PlannedRow:
        row = _Row(measurement, "tensor")
        for group, price in zip(self._groups, prices, strict=True):
            take = _take(measurement, [group.tensor])
            row.add(take, [(group, price)], group.count)
            if take.refusal is None:
                held = group.held + group.drawn(self._plan.nulls)
                self._add_jobs(take, price[0], held, group.count)
        return row.made()

    def _model_row(self, measurement: Measurement, prices: _Prices) -> PlannedRow:
        """All tensors of a form go through one accumulator; where parts add up, and each tensor is
        measured anyway, that costs nothing more."""
        row = _Row(measurement, "model")
        by_form: dict[str, _Priced] = {}
        for group, price in zip(self._groups, prices, strict=True):
            by_form.setdefault(group.tensor.form, []).append((group, price))
        for priced in by_form.values():
            tensors = [group.tensor for group, _ in priced for _ in range(group.count)]
            take = _take(measurement, tensors)
            if take.adds_up and self._plan.makes(measurement, "tensor"):
                priced = [(group, (0.0, known)) for group, (_, known) in priced]
            elif take.sampled and isinstance(measurement.estimator, Sampled):
                priced = self._shared(measurement, priced)
            row.add(take, priced, 1)
            if take.refusal is None:
                seconds = sum(group.count * price[0] for group, price in priced)
                held = max(g.held + g.drawn(self._plan.nulls) for g, _ in priced)
                self._add_jobs(take, seconds, held, 1)
        return row.made()

    def _shared(self, measurement: Measurement, priced: _Priced) -> _Priced:
        """The price of a sample of all tensors, of which each has its share."""
        weights = sum(group.weights for group, _ in priced)
        one = dataclasses.replace(priced[0][0].tensor, shape=(weights,))
        seconds, known = self._price(measurement, one)
        return [(group, (seconds * group.tensor.numel / weights, known)) for group, _ in priced]

    def _add_jobs(self, take: _Take, seconds: float, held: int, count: int) -> None:
        if take.adds_up:
            self._work.divisible += count * seconds
        else:
            self._work.jobs += [(seconds, take.memory + held)] * count

    # --- what it costs ----------------------------------------------------------------------

    def _price(self, measurement: Measurement, tensor: WeightTensor) -> tuple[float, bool]:
        """Seconds of the weights and all draws of nulls, and whether the rate is known."""
        estimator, quantizer = measurement.estimator, measurement.quantizer
        sharing = self._sharing[quantizer]
        try:
            price = measuring(estimator, quantizer, tensor.form, tensor.numel, sharing)
        except Exception:  # `_take` tells the same error as the reason why it is not measured
            return 0.0, False
        times = 1 + sum(self._counted(null, measurement) for null in self._plan.nulls)
        return times * self._rates.seconds(price), price.known

    def _counted(self, null: Null, measurement: Measurement) -> int:
        """Draws of a null that are measured: none where it cannot change what is counted."""
        same = unmoved(null, measurement.estimator, measurement.quantizer)
        return 0 if same else len(self._plan.variants_of(null))

    def _draws(self) -> float:
        """Seconds for drawing, once for all measurements."""
        drawn = [
            (null, max(self._counted(null, m) for m in self._plan.measurements))
            for null in self._plan.nulls
        ]
        return sum(
            group.count * draws * self._rates.seconds(drawing(null, form, group.tensor.numel))
            for group in self._groups
            for form in [group.tensor.form]
            for null, draws in drawn
        )

    def _passes(self, tensor: WeightTensor) -> int:
        """How often a tensor is read: a large one twice, if a quantizer is fitted to it first."""
        fitted = any(_is_fitted(quantizer) for quantizer in self._plan.quantizers)
        return 2 if fitted and _bytes(tensor) > HELD else 1


_Prices = list[tuple[float, bool]]
_Priced = list[tuple[_Group, tuple[float, bool]]]


class _Row:
    """A row of the table while groups of tensors are added."""

    def __init__(self, measurement: Measurement, scope: str) -> None:
        self._measurement, self._scope = measurement, scope
        self._tensors = self._weights = self._sampled = self._memory = self._read = 0
        self._refused: Counter[str] = Counter()
        self._seconds, self._known = 0.0, True

    def add(self, take: _Take, priced: _Priced, objects: int) -> None:
        """Add groups that an estimator takes as so many objects, or refuses."""
        tensors = sum(group.count for group, _ in priced)
        if take.refusal is not None:
            self._refused[take.refusal] += tensors
            return
        self._tensors += tensors
        self._sampled += objects * take.sampled
        self._memory = max(self._memory, take.memory + max(g.held for g, _ in priced))
        for group, (seconds, known) in priced:
            self._weights += group.weights
            self._read += group.count * _bytes(group.tensor)
            self._seconds += group.count * seconds
            self._known &= known

    def made(self) -> PlannedRow:
        return PlannedRow(
            str(self._measurement.quantizer),
            str(self._measurement.estimator),
            self._scope,
            self._tensors,
            self._weights,
            self._sampled,
            dict(self._refused),
            self._seconds,
            self._known,
            self._memory,
            self._read,
        )


def _groups(checkpoint: Checkpoint) -> list[_Group]:
    """The tensors by form and shape, in checkpoint order of the first of each."""
    found: dict[tuple[str, Shape], list[WeightTensor]] = {}
    for tensor in checkpoint.values():
        found.setdefault((tensor.form, tensor.shape), []).append(tensor)
    return [_Group(tensors[0], len(tensors)) for tensors in found.values()]


def _take(measurement: Measurement, tensors: Sequence[WeightTensor]) -> _Take:
    """Start an accumulator for tensors of one form, and look at it."""
    estimator = measurement.estimator
    shapes = [array_shape(tensor.shape) for tensor in tensors]
    try:
        alphabet = measurement.quantizer.alphabet_of(tensors[0])
        estimator.start_many(shapes, alphabet)
        foretell(measurement, tensors, Variant())
    except Exception as error:
        return _Take(why(measurement, error).reason)
    sample = getattr(estimator, "sample", None) or getattr(estimator, "window", None)
    sampled = sample is not None and sum(map(math.prod, shapes)) > sample
    adds_up = all(estimator.grain([shape], alphabet) is not None for shape in set(shapes))
    if isinstance(estimator, Sampled):
        sampled = not estimator.is_whole(sum(map(math.prod, shapes)))
    return _Take(None, sampled, adds_up, estimator.working_memory(shapes, alphabet))


def _is_fitted(quantizer: Quantizer) -> bool:
    """Whether its parameters depend on all weights, so that they must be read first."""
    return quantizer.name not in ("native", "sign")


def _bytes(tensor: WeightTensor) -> int:
    return tensor.numel * tensor.dtype.itemsize
