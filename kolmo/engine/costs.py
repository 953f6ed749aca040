"""What a job is expected to cost, from shapes alone: seconds of one core, and bytes of memory.

A forecast that raises an error counts as nothing while jobs are cut. It is made again where the
accumulator is started, and the error is told there (`give_up`): no figure is made unforeseen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.shapes import array_shape
from kolmo.engine import feeding
from kolmo.engine.feeding import Cell
from kolmo.estimators.base import Estimator
from kolmo.estimators.sampled import Sampled
from kolmo.measure import Measurement, Variant
from kolmo.nulls import Null
from kolmo.rates import drawing, expected_seconds, measuring
from kolmo.symbols import Alphabet, Shape

T = TypeVar("T")

_BESIDE = 32 << 20  # bytes of chunks and symbols that a job has in its hands


def seconds(measurement: Measurement, tensor: WeightTensor, variant: Variant) -> float:
    """Seconds that one measurement of one tensor takes."""
    return _seconds(measurement, tensor.form, tensor.numel, variant.null)


def stream_seconds(
    measurement: Measurement, tensors: Sequence[WeightTensor], variant: Variant
) -> float:
    """Seconds that one measurement of tensors together takes: of a sample those of its windows;
    of others no less than those of each alone; none where it is refused."""
    if _is_refused(measurement, tensors):
        return 0.0
    numel, form = sum(tensor.numel for tensor in tensors), tensors[0].form
    together = _seconds(measurement, form, numel, variant.null)
    if isinstance(measurement.estimator, Sampled):
        return together
    return max(together, sum(seconds(measurement, tensor, variant) for tensor in tensors))


def _is_refused(measurement: Measurement, tensors: Sequence[WeightTensor]) -> bool:
    def start() -> object:
        alphabet = measurement.quantizer.alphabet_of(tensors[0])
        return measurement.estimator.start_many(_shapes(tensors), alphabet)

    return _or(None, start) is None


def held_bytes(tensor: WeightTensor, variant: Variant) -> int:
    """Bytes of the weights that a job has in memory: the tensor's, and those of a draw."""
    size = min(tensor.numel * tensor.dtype.itemsize, feeding.HELD)
    return size + drawn_bytes(tensor, variant.null)


def drawn_bytes(tensor: WeightTensor, null: Null | None) -> int:
    """Bytes of a draw of a null."""
    return _or(0, partial(_drawn, tensor, null))


def memory(
    tensors: Sequence[WeightTensor], measurements: Iterable[Measurement], variant: Variant
) -> int:
    """Bytes that one accumulator of each measurement holds, with the largest tensor."""
    shapes = _shapes(tensors)
    working = sum(_or(0, partial(_working, m, tensors[0], shapes)) for m in measurements)
    return _BESIDE + working + max(held_bytes(tensor, variant) for tensor in tensors)


def grain(measurement: Measurement, tensor: WeightTensor) -> int | None:
    """Where a tensor may be cut for a measurement; None if it cannot be."""
    return _or(None, partial(_grain, measurement, tensor))


# --- what raises an error -------------------------------------------------------------------


def give_up(cells: Iterable[Cell], tensors: Sequence[WeightTensor], variant: Variant) -> None:
    """Tell cells that have been started for tensors of a form which error their forecast raises."""
    for cell in cells:
        if cell.alive:
            try:
                foretell(cell.measurement, tensors, variant)
            except Exception as error:
                cell.miss(feeding.why(cell.measurement, error, variant.null))


def foretell(measurement: Measurement, tensors: Sequence[WeightTensor], variant: Variant) -> None:
    """Make the forecasts of a measurement of tensors of a form, for the errors that they raise."""
    first = tensors[0]
    _priced(measurement, first.form, first.numel, variant.null)
    _working(measurement, first, _shapes(tensors))
    for tensor in tensors:
        _grain(measurement, tensor)
        _drawn(tensor, variant.null)


def _or(nothing: T, forecast: Callable[[], T]) -> T:
    """A forecast, or what counts instead of one until `give_up` tells why there is none."""
    try:
        return forecast()
    except Exception:
        return nothing


# --- forecasts ------------------------------------------------------------------------------


def _shapes(tensors: Sequence[WeightTensor]) -> tuple[Shape, ...]:
    return tuple(array_shape(tensor.shape) for tensor in tensors)


@functools.lru_cache(maxsize=1 << 16)  # most tensors of a model have one of a few shapes
def _seconds(measurement: Measurement, form: str, numel: int, null: Null | None) -> float:
    known = measurement.estimator, measurement.quantizer, form, numel, null
    return _or(0.0, partial(expected_seconds, *known))


@functools.lru_cache(maxsize=1 << 16)
def _priced(measurement: Measurement, form: str, numel: int, null: Null | None) -> None:
    """The forecast of `_seconds` without what this machine has learned, which raises nothing."""
    measuring(measurement.estimator, measurement.quantizer, form, numel)
    if null is not None:
        drawing(null, form, numel)


def _working(m: Measurement, tensor: WeightTensor, shapes: tuple[Shape, ...]) -> int:
    """Bytes of an accumulator."""
    return _working_memory(m.estimator, shapes, m.quantizer.alphabet_of(tensor))


@functools.lru_cache(maxsize=1 << 12)
def _working_memory(estimator: Estimator, shapes: tuple[Shape, ...], alphabet: Alphabet) -> int:
    return estimator.working_memory(shapes, alphabet)


def _drawn(tensor: WeightTensor, null: Null | None) -> int:
    return 0 if null is None else null.working_memory(tensor)


def _grain(m: Measurement, tensor: WeightTensor) -> int | None:
    return _grain_of(m.estimator, array_shape(tensor.shape), m.quantizer.alphabet_of(tensor))


@functools.lru_cache(maxsize=1 << 16)
def _grain_of(estimator: Estimator, shape: Shape, alphabet: Alphabet) -> int | None:
    return estimator.grain([shape], alphabet)
