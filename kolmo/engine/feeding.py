"""From one tensor, or one draw of its null, to the accumulators that measure it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.loads import ArrayLoad, borrowed, is_near, refilled
from kolmo.checkpoints.shapes import array_shape
from kolmo.engine.meters import Meter, Stopped
from kolmo.errors import InputError, KolmoError, NotApplicableError, NotExpressibleError
from kolmo.estimators.base import Accumulator
from kolmo.estimators.sampled import SampleAccumulator
from kolmo.estimators.sweep import Sweep, is_late
from kolmo.measure import Measurement
from kolmo.nulls import Null, Source, UniformSymbols, Weights
from kolmo.outcomes import Failed, Missing, Outcome
from kolmo.quantize import UNKNOWN, Distortion, Quantizer, SymbolCoder, distortion, side_bits
from kolmo.quantize.late import LateCoder
from kolmo.symbols import Symbols

HELD = 1 << 27
"""Bytes up to which a tensor is held in memory while it is measured."""

CHUNK = 1 << 20
"""Weights that are read and measured at once: few enough to stay in a core's cache."""


class Cell:
    """One accumulator, the time that it took, and why it gave up, if it did."""

    def __init__(self, measurement: Measurement, accumulator: Accumulator | Missing) -> None:
        self.measurement = measurement
        self.accumulator = accumulator
        self.seconds = 0.0
        self.side_bits = 0.0
        self.distortion = Distortion()

    @classmethod
    def start(cls, measurement: Measurement, tensors: Sequence[WeightTensor]) -> Cell:
        """A cell for tensors of one form."""
        shapes = [array_shape(tensor.shape) for tensor in tensors]
        try:
            alphabet = measurement.quantizer.alphabet_of(tensors[0])
            return cls(measurement, measurement.estimator.start_inner(shapes, alphabet))
        except Exception as error:
            return cls(measurement, why(measurement, error))

    @classmethod
    def start_part(
        cls, measurement: Measurement, tensor: WeightTensor, start: int, stop: int, before: int = 0
    ) -> Cell:
        """A cell for the weights [start, stop) of a tensor, which is merged into another's."""
        shape, estimator = array_shape(tensor.shape), measurement.estimator
        try:
            alphabet = measurement.quantizer.alphabet_of(tensor)
            started = estimator.start_part(shape, alphabet, start, stop, before)
            return cls(measurement, started.inner)
        except Exception as error:
            return cls(measurement, why(measurement, error))

    @property
    def alive(self) -> bool:
        return not isinstance(self.accumulator, Missing)

    @property
    def is_part(self) -> bool:
        """Whether the accumulator of a tensor is as well one for its part of a whole model."""
        return self.measurement.estimator.order_free and is_mergeable(self)

    def miss(self, missing: Missing) -> None:
        """Give up, for the first reason that is told."""
        if self.alive:
            self.accumulator = missing

    def take_side(self, coder: SymbolCoder, tensor: WeightTensor) -> None:
        """Count the bits of what was fitted to a tensor."""
        try:
            self.side_bits += side_bits(coder, tensor)
        except Exception as error:
            self.miss(why(self.measurement, error))

    def update(self, symbols: Symbols) -> None:
        if isinstance(self.accumulator, Missing):
            return
        began = time.thread_time()
        try:
            self.accumulator.update(symbols)
        except Exception as error:
            self.miss(why(self.measurement, error))
        self.seconds += time.thread_time() - began

    def finish(self) -> Outcome:
        """The code length, with the side information of the quantizer."""
        if isinstance(self.accumulator, Missing):
            return self.accumulator
        began = time.thread_time()
        try:
            found = self.accumulator.finish().with_side(self.side_bits)
            return found.with_distortion(self.distortion.error, self.distortion.power)
        except Exception as error:
            return why(self.measurement, error)
        finally:
            self.seconds += time.thread_time() - began


def why(measurement: Measurement, error: Exception, null: Null | None = None) -> Missing:
    """Why an error leaves no figure of a measurement; all others are made."""
    if isinstance(error, NotApplicableError | NotExpressibleError):
        return Missing(str(error), isinstance(error, NotExpressibleError))
    drawn = f", {null}" if null else ""
    return Failed.of(f"{measurement.estimator} of {measurement.quantizer}{drawn}", error)


def check_readable(error: Exception, tensors: Iterable[WeightTensor]) -> None:
    """Raise the error, if it is that of a run that ends, or of weights that cannot be read."""
    if isinstance(error, Stopped):
        raise error
    if isinstance(error, KolmoError):
        for tensor in tensors:
            for start in range(0, tensor.numel, CHUNK):
                tensor.load(start, min(start + CHUNK, tensor.numel))


def hold(tensor: WeightTensor) -> WeightTensor:
    """The tensor in memory, if it is small enough; else as it is, read anew by every pass."""
    if tensor.numel * tensor.dtype.itemsize > HELD:
        return tensor
    return dataclasses.replace(tensor, load=ArrayLoad(tensor.load(0, tensor.numel)))


@contextmanager
def held(tensor: WeightTensor) -> Iterator[WeightTensor]:
    """The tensor as `hold` gives it, in memory that is used again afterwards: nothing that outlives
    it may keep an array of the tensor."""
    if tensor.numel * tensor.dtype.itemsize > HELD:
        yield tensor
        return
    with borrowed(tensor.load, tensor.dtype, tensor.numel) as array:
        yield dataclasses.replace(tensor, load=ArrayLoad(array))


def feed(cells: Sequence[Cell], source: Source, meter: Meter, measured: bool = True) -> None:
    """Give the cells all symbols of a source, and the bits of their quantizers' parameters; and
    what the quantizers lose, if that is to be measured."""
    groups = by_quantizer([cell for cell in cells if cell.alive])
    if isinstance(source, Weights):
        with _at_hand(source, groups) as at_hand:
            _feed_weights(at_hand, groups, meter, measured)
        return
    assert isinstance(source, UniformSymbols)
    for quantizer, group in groups.items():
        _add_own_side(group, quantizer, source.original)
        _lose(group, UNKNOWN)
        for symbols in source.coded(quantizer).chunks:
            _update(group, symbols, meter)


Groups = dict[Quantizer, list[Cell]]


@contextmanager
def _at_hand(source: Weights, groups: Groups) -> Iterator[Weights]:
    """The weights in memory, unless they are read just once, or a sample of them."""
    tensor = source.tensor
    cells = [cell for group in groups.values() for cell in group]
    sampled = all(isinstance(cell.accumulator, SampleAccumulator) for cell in cells)
    once = all(_reads_once(source, *each) for each in groups.items())
    if sampled or (once and is_near(tensor.load)):
        yield source
        return
    with held(tensor) as at_hand:
        yield dataclasses.replace(source, tensor=at_hand)


def _reads_once(source: Weights, quantizer: Quantizer, cells: Sequence[Cell]) -> bool:
    return quantizer.fitted_to == "nothing" or _is_late(source, quantizer, cells)


def _is_late(source: Weights, quantizer: Quantizer, cells: Sequence[Cell]) -> bool:
    """Whether the quantizer may be fitted after the weights were swept."""
    if quantizer.fitted_to != "values" or not source.own_fit:
        return False
    tensor, takers = source.tensor, (_taker(cell) for cell in cells)
    return is_late(tensor.dtype, quantizer.alphabet_of(tensor), takers, tensor.numel)


def _feed_weights(source: Weights, groups: Groups, meter: Meter, measured: bool) -> None:
    tensor = source.tensor
    fed = [fitted for each in groups.items() if (fitted := _fit(source, *each))]
    sweep(tensor, fed, meter, measured=measured)
    for coder, cells in fed:
        if any(cell.alive for cell in cells):
            _add_side(cells, side_bits(coder, tensor))


def _fit(
    source: Weights, quantizer: Quantizer, cells: Sequence[Cell]
) -> tuple[SymbolCoder, Sequence[Cell]] | None:
    """The quantizer fitted for these cells; None where it cannot be, which they are told."""
    if _is_late(source, quantizer, cells):
        return LateCoder(quantizer, source.tensor), cells
    try:
        return source.fit(quantizer), cells
    except (NotApplicableError, NotExpressibleError) as error:
        _miss(cells, error)
        return None


def _add_own_side(cells: Sequence[Cell], quantizer: Quantizer, tensor: WeightTensor) -> None:
    """The bits of the parameters that a tensor itself has, for symbols that no weights are behind;
    none where it has none."""
    with contextlib.suppress(NotApplicableError, NotExpressibleError):
        _add_side(cells, side_bits(quantizer.fit(tensor), tensor))


def _add_side(cells: Sequence[Cell], bits: int) -> None:
    for cell in cells:
        cell.side_bits += bits


def _lose(cells: Sequence[Cell], lost: Distortion) -> None:
    for cell in cells:
        cell.distortion += lost


def _miss(cells: Sequence[Cell], error: InputError) -> None:
    for cell in cells:
        cell.miss(why(cell.measurement, error))


# --- passes over weights --------------------------------------------------------------------

Fed = Sequence[tuple[SymbolCoder, Sequence[Cell]]]


def sweep(
    tensor: WeightTensor,
    fed: Fed,
    meter: Meter,
    start: int = 0,
    stop: int | None = None,
    measured: bool = True,
) -> None:
    """Feed cells with the weights [start, stop) of a tensor, in one pass for all whose symbols
    follow from single weights; and tell them what is lost, if that is to be measured."""
    stretch = Swept(tensor, start, tensor.numel if stop is None else stop, measured)
    for coder, cells in fed:
        if not coder.elementwise:
            for first, last in _chunks(stretch.start, stretch.stop):
                _update(cells, _symbols(stretch, coder, cells, first, last), meter)
    elementwise = [each for each in fed if each[0].elementwise]
    if _is_simple(elementwise, stretch.stop - stretch.start):
        _at_once(stretch, *elementwise[0], meter)
    else:
        _one_pass(stretch, elementwise, meter)


@dataclasses.dataclass(frozen=True, eq=False)
class Swept:
    """The weights [start, stop) of a tensor, and whether what is lost of them is measured."""

    tensor: WeightTensor
    start: int
    stop: int
    measured: bool


def _symbols(
    stretch: Swept, coder: SymbolCoder, cells: Sequence[Cell], start: int, stop: int
) -> Symbols:
    """Symbols of some of the weights; the cells are told what is lost."""
    if coder.lossless or not coder.restores or not stretch.measured:
        _lose(cells, Distortion() if coder.lossless and stretch.measured else UNKNOWN)
        return coder.load(stretch.tensor, start, stop)
    weights = stretch.tensor.load(start, stop)
    symbols = coder.encode_at(weights, start)
    _lose(cells, distortion(coder, weights, symbols, start))
    return symbols


def _is_simple(fed: Fed, weights: int) -> bool:
    """Whether a single cell, which reads symbols in order, takes them all in one chunk."""
    if len(fed) != 1 or len(fed[0][1]) != 1 or weights > CHUNK:
        return False
    (cell,) = fed[0][1]
    return not is_mergeable(cell) and not isinstance(cell.accumulator, SampleAccumulator)


def _at_once(stretch: Swept, coder: SymbolCoder, cells: Sequence[Cell], meter: Meter) -> None:
    """Feed one cell with the symbols of a few weights: nothing is shared by a pass."""
    (cell,) = cells
    began = time.thread_time()
    try:
        symbols = _symbols(stretch, coder, cells, stretch.start, stretch.stop)
    except NotExpressibleError as error:
        _miss(cells, error)
        return
    cell.seconds += time.thread_time() - began
    _update(cells, symbols, meter)


def _one_pass(stretch: Swept, fed: Fed, meter: Meter) -> None:
    cells = [cell for _, group in fed for cell in group]
    if not cells:
        return
    began = time.thread_time()
    own = sum(cell.seconds for cell in cells)
    takers = [(coder, [_taker(cell) for cell in group]) for coder, group in fed]
    numel, seen = stretch.stop - stretch.start, 0
    passing = Sweep(stretch.tensor.dtype, takers, numel, stretch.measured)
    for chunk in _weights(stretch.tensor, cells, stretch.start, stretch.stop):
        passing.update(chunk)
        meter.add(chunk.size * len(cells))
        seen += chunk.size
    passing.finish()
    for error, lost, (coder, group) in zip(passing.errors, passing.distortions, fed, strict=True):
        _lose(group, lost if seen == numel or coder.lossless else UNKNOWN)
        if error is not None:
            _miss(group, error)
    _share(cells, time.thread_time() - began, sum(cell.seconds for cell in cells) - own)


def _weights(
    tensor: WeightTensor, cells: Sequence[Cell], start: int, stop: int
) -> Iterator[NDArray[Any]]:
    """The weights piece by piece; in one buffer that is filled again, where nobody keeps them."""
    if all(is_mergeable(cell) for cell in cells):
        return refilled(tensor.load, tensor.dtype, _chunks(start, stop))
    needed = (each for each in _chunks(start, stop) if not _passes(cells, each[1] - each[0]))
    return (tensor.load(first, last) for first, last in needed)


def _passes(cells: Sequence[Cell], symbols: int) -> bool:
    """Let symbols pass unread that no window of any cell needs."""
    found = [cell.accumulator for cell in cells]
    samples = [each for each in found if isinstance(each, SampleAccumulator)]
    if len(samples) < len(found) or any(each.needs(symbols) for each in samples):
        return False
    for each in samples:
        each.skip(symbols)
    return True


def _chunks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + CHUNK, stop)) for first in range(start, stop, CHUNK))


def _taker(cell: Cell) -> Accumulator:
    """What a sweep feeds: an accumulator that it may know a short cut for, or else the cell."""
    return cell.accumulator if is_mergeable(cell) else cell  # type: ignore[return-value]


def is_mergeable(cell: Cell) -> bool:
    """Whether its accumulator keeps counts alone, which add up."""
    return hasattr(cell.accumulator, "merge")


def _share(cells: Sequence[Cell], seconds: float, counted: float) -> None:
    """Share the time of a pass that the cells have not counted themselves."""
    for cell in cells:
        cell.seconds += max(0.0, seconds - counted) / len(cells)


def _update(cells: Sequence[Cell], symbols: Symbols, meter: Meter) -> None:
    for cell in cells:
        cell.update(symbols)
    meter.add(symbols.size * len(cells))


def by_quantizer(cells: Iterable[Cell]) -> dict[Quantizer, list[Cell]]:
    """The cells by their quantizers, in their order."""
    groups: dict[Quantizer, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.measurement.quantizer, []).append(cell)
    return groups
