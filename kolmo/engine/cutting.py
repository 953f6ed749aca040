"""How the measurements of a checkpoint are cut into jobs, from shapes alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence

from kolmo.checkpoints.base import WeightTensor
from kolmo.engine import feeding
from kolmo.engine.costs import grain, held_bytes, memory, seconds, stream_seconds
from kolmo.engine.jobs import DigestJob, FitJob, StreamJob, StripeJob, TensorJob, Wanted
from kolmo.measure import Measurement, Variant
from kolmo.rates import hashing_seconds, reading_seconds

QUANTUM = 0.25
"""Seconds that small measurements are gathered into one job for."""

STRIPE = 1 << 24
"""Weights of a stripe, about: as many whole grains as come nearest below."""

_MANY = 256  # tensors of one job, at most
_HASHED = 1 << 25  # bytes that are hashed in one job, about
_ROOM = 256 << 20  # bytes of accumulators that one job has side by side


@dataclasses.dataclass(frozen=True, eq=False)
class Striped:
    """A tensor that is measured in stripes, once its quantizers are fitted."""

    wanted: Wanted
    fit: FitJob
    stripes: tuple[StripeJob, ...]

    @property
    def cost(self) -> float:
        """Seconds that all of it is expected to take."""
        return self.fit.cost + sum(stripe.cost for stripe in self.stripes)


def add_up(measurement: Measurement, tensor: WeightTensor) -> bool:
    """Whether accumulators of this tensor's parts, and of whole tensors, add up."""
    return grain(measurement, tensor) is not None


def tensor_jobs(
    wanted: Iterable[Wanted], variant: Variant, seed: int
) -> Iterator[TensorJob | Striped]:
    """Jobs for the tensors of a checkpoint, in their order."""
    cuts: dict[Hashable, list[_Cut]] = {}  # most tensors of a model have one of a few shapes
    batch = _Batch(variant, seed)
    for each in wanted:
        tensor = each.tensor
        known = tensor.form, tensor.shape, each.alone, each.parts
        if known not in cuts:
            cuts[known] = list(_cuts(each, variant))
        for cut in cuts[known]:
            if cut.striped:
                yield _striped(cut.of(each))
                continue
            batch.add(cut.of(each), cut)
            if batch.is_full:
                yield batch.job()
                batch = _Batch(variant, seed)
    if batch.wanted:
        yield batch.job()


def parts_last(wanted: Sequence[Wanted]) -> list[Wanted]:
    """What is wanted of tensors alone, and then the parts of the whole, which are of no use before
    all of them are there: a run that is killed again and again does not count them each time."""
    alone = [dataclasses.replace(w, parts=()) for w in wanted]
    return alone + [dataclasses.replace(w, alone=()) for w in wanted]


def cost_of(wanted: Wanted, variant: Variant) -> float:
    """Seconds that all measurements of a tensor alone, and of its parts, are expected to take."""
    cuts = _cuts(wanted, variant)
    return sum(_striped(cut.of(wanted)).cost if cut.striped else cut.cost for cut in cuts)


def stream_job(
    tensors: Sequence[WeightTensor], measurement: Measurement, variant: Variant, seed: int
) -> StreamJob:
    """The job of one measurement over all tensors of a form."""
    cost = stream_seconds(measurement, tensors, variant)
    held = memory(tensors, [measurement], variant)
    return StreamJob(cost, held, tuple(tensors), measurement, variant, seed)


def digest_jobs(tensors: Iterable[WeightTensor]) -> Iterator[DigestJob]:
    """Jobs that hash tensors: large ones first, so that none is alone at the end, the others in
    their order."""
    batch: list[WeightTensor] = []
    size = 0
    for tensor in sorted(tensors, key=lambda tensor: -max(_bytes(tensor), _HASHED)):
        batch.append(tensor)
        size += _bytes(tensor)
        if len(batch) >= _MANY or size >= _HASHED:
            yield _digest_job(batch)
            batch, size = [], 0
    if batch:
        yield _digest_job(batch)


def _digest_job(tensors: Sequence[WeightTensor]) -> DigestJob:
    return DigestJob(hashing_seconds(sum(map(_bytes, tensors))), 32 << 20, tuple(tensors))


def _bytes(tensor: WeightTensor) -> int:
    return tensor.numel * tensor.dtype.itemsize


# --- one tensor -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Measurements of a tensor that a job makes together, and what it takes."""

    alone: tuple[Measurement, ...]
    parts: tuple[Measurement, ...]
    striped: bool = False
    cost: float = 0.0
    memory: int = 0

    @classmethod
    def made(cls, wanted: Wanted, group: Sequence[Measurement], striped: bool = False) -> _Cut:
        alone, parts = (
            tuple(m for m in those if m in group) for those in (wanted.alone, wanted.parts)
        )
        return cls(alone, parts, striped)

    @classmethod
    def held(cls, wanted: Wanted, group: Sequence[Measurement], variant: Variant) -> _Cut:
        """Of a tensor that is held in memory."""
        cost = sum(seconds(m, wanted.tensor, variant) for m in group)
        held = memory([wanted.tensor], group, variant)
        return dataclasses.replace(cls.made(wanted, group), cost=cost, memory=held)

    def of(self, wanted: Wanted) -> Wanted:
        """The same of another tensor of this kind."""
        return Wanted(wanted.tensor, wanted.place, wanted.before, self.alone, self.parts)


def _cuts(wanted: Wanted, variant: Variant) -> Iterator[_Cut]:
    """A tensor's measurements: those whose parts add up together, and what else is small; each
    large one, that needs its symbols in order, alone."""
    tensor = wanted.tensor
    adding = [m for m in wanted.measurements if add_up(m, tensor)]
    others = [m for m in wanted.measurements if m not in adding]
    if adding and variant.null is None and _bytes(tensor) > feeding.HELD:
        yield _Cut.made(wanted, adding, striped=True)
        adding = []
    small = [m for m in others if _is_small(m, tensor, variant)]
    for group in _fitting([*adding, *small], tensor, variant):
        yield _Cut.held(wanted, group, variant)
    for measurement in others:
        if measurement not in small:
            yield _Cut.held(wanted, [measurement], variant)


class _Batch:
    """Tensors that are gathered into one job."""

    def __init__(self, variant: Variant, seed: int) -> None:
        self._variant, self._seed = variant, seed
        self._cost, self._memory = 0.0, 0
        self.wanted: list[Wanted] = []

    def add(self, wanted: Wanted, cut: _Cut) -> None:
        self.wanted.append(wanted)
        self._cost += cut.cost
        self._memory = max(self._memory, cut.memory)

    @property
    def is_full(self) -> bool:
        return len(self.wanted) >= _MANY or self._cost > QUANTUM

    def job(self) -> TensorJob:
        return TensorJob(self._cost, self._memory, tuple(self.wanted), self._variant, self._seed)


def _fitting(
    measurements: Sequence[Measurement], tensor: WeightTensor, variant: Variant
) -> Iterator[list[Measurement]]:
    """Measurements that a job may have side by side, so that several jobs find room in memory."""
    group: list[Measurement] = []
    for measurement in measurements:
        if group and memory([tensor], [*group, measurement], variant) > _most(tensor, variant):
            yield group
            group = []
        group.append(measurement)
    if group:
        yield group


def _most(tensor: WeightTensor, variant: Variant) -> int:
    return _ROOM + held_bytes(tensor, variant)


def _is_small(measurement: Measurement, tensor: WeightTensor, variant: Variant) -> bool:
    cheap = seconds(measurement, tensor, variant) < QUANTUM
    return cheap and memory([tensor], [measurement], variant) < _most(tensor, variant)


# --- stripes --------------------------------------------------------------------------------


def _striped(wanted: Wanted) -> Striped:
    tensor, measurements = wanted.tensor, wanted.measurements
    quantizers = tuple(dict.fromkeys(m.quantizer for m in measurements))
    cost = len(quantizers) * reading_seconds(_bytes(tensor))
    fit = FitJob(cost, 64 << 20, tensor, quantizers)
    return Striped(wanted, fit, tuple(_stripes(wanted)))


def _stripes(wanted: Wanted) -> Iterator[StripeJob]:
    """Stripes of whole grains of every measurement."""
    tensor, measurements = wanted.tensor, wanted.measurements
    whole = math.lcm(*(grain(m, tensor) or 1 for m in measurements))
    step = max(1, STRIPE // whole) * whole
    cost = sum(seconds(m, tensor, Variant()) for m in measurements)
    held = memory([tensor], measurements, Variant()) - held_bytes(tensor, Variant())
    for start in range(0, tensor.numel, step):
        stop = min(start + step, tensor.numel)
        share = (stop - start) / tensor.numel
        yield StripeJob(cost * share, held, wanted, start, stop, {})
