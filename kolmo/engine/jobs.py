"""Jobs: what a run is cut into. Each reads its own weights, and tells code lengths and counts only.

::

    TensorJob   whole tensors, each under some measurements
    FitJob      quantizers fitted to a tensor that is too large to be held, before its stripes
    StripeJob   some rows of such a tensor, under the measurements whose parts add up
    StreamJob   tensors one after the other, under a measurement that needs its symbols in order
    DigestJob   the content of tensors, for the store of results

A job is a plain value, which can be pickled: its tensors are opened again where it runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.binding import stretch
from kolmo.digests import digest
from kolmo.engine.costs import give_up
from kolmo.engine.feeding import Cell, by_quantizer, check_readable, feed, held, hold, sweep, why
from kolmo.engine.meters import Meter
from kolmo.engine.parts import CountedPart, no_part, part_of
from kolmo.errors import NotApplicableError, NotExpressibleError
from kolmo.measure import Measurement, Variant
from kolmo.nulls import Weights
from kolmo.outcomes import Failed, Missing, Result
from kolmo.quantize import Quantizer, SymbolCoder

FINE = 1 << 16
"""Weights of tensors that are small on average: Python's own work is the most of theirs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Wanted:
    """One tensor, and what is to be measured of it.

    Attributes
    ----------
    tensor : WeightTensor
    place : int
        Its place in the checkpoint.
    before : int
        Weights of the same form that lie before it in the checkpoint.
    alone : tuple of Measurement
        Those whose figures of this tensor alone are wanted.
    parts : tuple of Measurement
        Those whose accumulators are wanted, for they are parts of the whole model's.
    """

    tensor: WeightTensor
    place: int
    before: int = 0
    alone: tuple[Measurement, ...] = ()
    parts: tuple[Measurement, ...] = ()

    @property
    def measurements(self) -> list[Measurement]:
        return list(dict.fromkeys((*self.alone, *self.parts)))

    def apart(self) -> Iterator[tuple[Measurement, Wanted]]:
        """The same, measurement by measurement."""
        for m in self.measurements:
            alone, parts = ((m,) if m in wanted else () for wanted in (self.alone, self.parts))
            yield m, dataclasses.replace(self, alone=alone, parts=parts)


@dataclasses.dataclass
class TensorFound:
    """What was found of one tensor."""

    place: int
    alone: dict[Measurement, Result]
    parts: dict[Measurement, CountedPart]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """Base of the jobs.

    Attributes
    ----------
    cost : float
        Seconds that it is expected to take on one core.
    memory : int
        Bytes that it holds at most.
    """

    cost: float
    memory: int

    @property
    def symbols(self) -> int:
        """Symbols that its accumulators take, as a meter counts them."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What it is about, for people."""
        raise NotImplementedError

    @property
    def is_fine(self) -> bool:
        """Whether its tensors are so small that Python's own work is the most of it."""
        return False

    def run(self, meter: Meter) -> Any:
        """Do it; the result can be pickled as well."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class TensorJob(Job):
    """Whole tensors, each measured as it is, or as a draw of a null."""

    wanted: tuple[Wanted, ...]
    variant: Variant
    seed: int

    @cached_property
    def symbols(self) -> int:
        return sum(w.tensor.numel * (len(w.alone) + len(w.parts)) for w in self.wanted)

    @property
    def label(self) -> str:
        return self.wanted[-1].tensor.name

    @property
    def is_fine(self) -> bool:
        return sum(w.tensor.numel for w in self.wanted) < FINE * len(self.wanted)

    def run(self, meter: Meter) -> list[TensorFound]:
        found = [self._found(wanted, meter) for wanted in self.wanted]
        _join_parts(found, [wanted.tensor.form for wanted in self.wanted])
        return found

    def _found(self, wanted: Wanted, meter: Meter) -> TensorFound:
        """What is found of a tensor; after an error each measurement is made apart, so that it
        shows which one is at fault."""
        try:
            return self._measure(wanted, meter)
        except Exception as error:
            check_readable(error, [wanted.tensor])
        found = TensorFound(wanted.place, {}, {})
        for m, one in wanted.apart():
            try:
                each = self._measure(one, meter)
            except Exception as error:
                missing = why(m, error, self.variant.null)
                each = TensorFound(
                    wanted.place,
                    dict.fromkeys(one.alone, Result(missing, 0.0)),
                    dict.fromkeys(one.parts, no_part(missing)),
                )
            found.alone |= each.alone
            found.parts |= each.parts
        return found

    def _measure(self, wanted: Wanted, meter: Meter) -> TensorFound:
        tensor = wanted.tensor
        alone = {m: Cell.start(m, [tensor]) for m in wanted.alone}
        shared = {m: cell for m, cell in alone.items() if m in wanted.parts and cell.is_part}
        parts = {
            m: Cell.start_part(m, tensor, 0, tensor.numel, wanted.before)
            for m in wanted.parts
            if m not in shared
        }
        cells = [*alone.values(), *parts.values()]
        give_up(cells, [tensor], self.variant)
        feed_variant(cells, tensor, self.variant, self.seed, meter)
        results = {m: Result(cell.finish(), cell.seconds) for m, cell in alone.items()}
        merged = {m: part_of(cell) for m, cell in parts.items()}
        for m, cell in shared.items():  # whose seconds are told already
            merged[m] = dataclasses.replace(part_of(cell), seconds=0.0)
        return TensorFound(wanted.place, results, merged)


def _join_parts(found: Sequence[TensorFound], forms: Sequence[str]) -> None:
    """Join the parts of neighbours, so that one is sent rather than many."""
    first: dict[tuple[str, Measurement], CountedPart] = {}
    ends: dict[CountedPart, int] = {}
    for each, form in zip(found, forms, strict=True):
        for measurement in [m for m in each.parts if m.estimator.joins]:
            part, before = each.parts[measurement], first.get((form, measurement))
            if isinstance(part.accumulator, Missing):
                continue
            if before and ends[before] == each.place:
                before.join(measurement, each.parts.pop(measurement))
            else:
                first[form, measurement] = before = part
            ends[before] = each.place + 1


def feed_variant(
    cells: Sequence[Cell], tensor: WeightTensor, variant: Variant, seed: int, meter: Meter
) -> None:
    """Feed cells with a tensor, or a draw of its null; they are told where it has none."""
    if variant.null is None:
        feed(cells, Weights(tensor), meter)
        return
    with held(tensor) as at_hand:
        _feed_draw(cells, at_hand, variant, seed, meter)


def _feed_draw(
    cells: Sequence[Cell], tensor: WeightTensor, variant: Variant, seed: int, meter: Meter
) -> None:
    try:
        source = variant.source(tensor, seed)
    except NotApplicableError as error:
        for cell in cells:
            cell.accumulator = Missing(str(error))
        return
    if isinstance(source, Weights):  # which are drawn when they are read
        source = dataclasses.replace(source, tensor=hold(source.tensor))
    feed(cells, source, meter, measured=False)


Fits = dict[Quantizer, SymbolCoder | Missing]
"""What became of each quantizer that was fitted to a tensor."""


@dataclasses.dataclass(frozen=True, eq=False)
class FitJob(Job):
    """Quantizers fitted to one tensor."""

    tensor: WeightTensor
    quantizers: tuple[Quantizer, ...]

    @property
    def symbols(self) -> int:
        return self.tensor.numel

    @property
    def label(self) -> str:
        return self.tensor.name

    def run(self, meter: Meter) -> Fits:
        fits = {quantizer: self._fit(quantizer) for quantizer in self.quantizers}
        meter.add(self.symbols)
        return fits

    def _fit(self, quantizer: Quantizer) -> SymbolCoder | Missing:
        try:
            return quantizer.fit(self.tensor)
        except (NotApplicableError, NotExpressibleError) as error:
            return Missing(str(error), isinstance(error, NotExpressibleError))
        except Exception as error:
            check_readable(error, [self.tensor])
            return Failed.of(str(quantizer), error)


@dataclasses.dataclass
class StripeFound:
    """What was found of a stripe: parts of the tensor's figures, and of the whole model's."""

    alone: dict[Measurement, CountedPart]
    parts: dict[Measurement, CountedPart]


@dataclasses.dataclass(frozen=True, eq=False)
class StripeJob(Job):
    """The weights [start, stop) of a tensor under fitted quantizers."""

    wanted: Wanted
    start: int
    stop: int
    coders: Mapping[Quantizer, SymbolCoder]

    def __getstate__(self) -> dict[str, Any]:
        tensor = stretch(self.wanted.tensor, self.start, self.stop)
        return {**self.__dict__, "wanted": dataclasses.replace(self.wanted, tensor=tensor)}

    @property
    def symbols(self) -> int:
        cells = len(self.wanted.alone) + len(self.wanted.parts)
        return (self.stop - self.start) * cells

    @property
    def label(self) -> str:
        return self.wanted.tensor.name

    def run(self, meter: Meter) -> StripeFound:
        try:
            return self._measure(self.wanted, meter)
        except Exception as error:
            check_readable(error, [self.wanted.tensor])
        found = StripeFound({}, {})
        for m, one in self.wanted.apart():
            try:
                each = self._measure(one, meter)
            except Exception as error:
                part = no_part(why(m, error))
                each = StripeFound(dict.fromkeys(one.alone, part), dict.fromkeys(one.parts, part))
            found.alone |= each.alone
            found.parts |= each.parts
        return found

    def _measure(self, wanted: Wanted, meter: Meter) -> StripeFound:
        alone = self._cells(wanted.alone, 0)
        parts = self._cells(wanted.parts, wanted.before)
        give_up([*alone, *parts], [wanted.tensor], Variant())
        groups = by_quantizer([cell for cell in (*alone, *parts) if cell.alive])
        fed = [(self.coders[quantizer], cells) for quantizer, cells in groups.items()]
        sweep(wanted.tensor, fed, meter, self.start, self.stop)
        return StripeFound(_parts(alone), _parts(parts))

    def _cells(self, measurements: Sequence[Measurement], before: int) -> list[Cell]:
        place = self.wanted.tensor, self.start, self.stop, before
        return [Cell.start_part(m, *place) for m in measurements if m.quantizer in self.coders]


def _parts(cells: Sequence[Cell]) -> dict[Measurement, CountedPart]:
    return {cell.measurement: part_of(cell) for cell in cells}


@dataclasses.dataclass
class StreamFound:
    """What was found of several tensors; of those that could not be measured, which one it was."""

    result: Result
    failed: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class StreamJob(Job):
    """Tensors of one form, one after the other, through one accumulator."""

    tensors: tuple[WeightTensor, ...]
    measurement: Measurement
    variant: Variant
    seed: int

    @cached_property
    def symbols(self) -> int:
        return sum(tensor.numel for tensor in self.tensors)

    @property
    def label(self) -> str:
        return f"all tensors, {self.measurement.estimator}"

    @property
    def is_fine(self) -> bool:
        return self.symbols < FINE * len(self.tensors)

    def run(self, meter: Meter) -> StreamFound:
        try:
            return self._measure(meter)
        except Exception as error:
            check_readable(error, self.tensors)
            missing = why(self.measurement, error, self.variant.null)
            return StreamFound(Result(missing, 0.0), None)

    def _measure(self, meter: Meter) -> StreamFound:
        cell = Cell.start(self.measurement, self.tensors)
        give_up([cell], self.tensors, self.variant)
        failed = None
        for number, tensor in enumerate(self.tensors if cell.alive else ()):
            feed_variant([cell], tensor, self.variant, self.seed, meter)
            if not cell.alive:
                failed = number
                break
        return StreamFound(Result(cell.finish(), cell.seconds), failed)


@dataclasses.dataclass(frozen=True, eq=False)
class TensorsJob(Job):
    """Base of the jobs that find something of each of several tensors."""

    tensors: tuple[WeightTensor, ...]

    @cached_property
    def symbols(self) -> int:
        return sum(tensor.numel for tensor in self.tensors)

    @property
    def label(self) -> str:
        return self.tensors[-1].name


@dataclasses.dataclass(frozen=True, eq=False)
class DigestJob(TensorsJob):
    """The content hashes of tensors."""

    def run(self, meter: Meter) -> list[bytes]:
        found = []
        for tensor in self.tensors:
            found.append(digest(tensor))
            meter.add(tensor.numel)
        return found
