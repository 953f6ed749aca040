"""What a job is expected to cost, from shapes alone: seconds of one core, and bytes of memory."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.shapes import array_shape
from kolmo.engine import feeding
from kolmo.estimators.base import Estimator
from kolmo.estimators.sampled import Sampled
from kolmo.measure import Measurement, Variant
from kolmo.nulls import Null
from kolmo.rates import expected_seconds
from kolmo.symbols import Alphabet, Shape

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
    shapes = [array_shape(tensor.shape) for tensor in tensors]
    try:
        measurement.estimator.start_many(shapes, measurement.quantizer.alphabet_of(tensors[0]))
    except Exception:  # of whatever kind: who starts it is told
        return True
    return False


def held_bytes(tensor: WeightTensor, variant: Variant) -> int:
    """Bytes of the weights that a job has in memory: the tensor's, and those of a draw."""
    size = tensor.numel * tensor.dtype.itemsize
    if variant.null is not None:
        return min(size, feeding.HELD) + variant.null.working_memory(tensor)
    return min(size, feeding.HELD)


def memory(
    tensors: Sequence[WeightTensor], measurements: Iterable[Measurement], variant: Variant
) -> int:
    """Bytes that one accumulator of each measurement holds, with the largest tensor."""
    shapes = tuple(array_shape(tensor.shape) for tensor in tensors)
    working = sum(_working(m, tensors[0], shapes) for m in measurements)
    return _BESIDE + working + max(held_bytes(tensor, variant) for tensor in tensors)


@functools.lru_cache(maxsize=1 << 16)  # most tensors of a model have one of a few shapes
def _seconds(measurement: Measurement, form: str, numel: int, null: Null | None) -> float:
    try:
        return expected_seconds(measurement.estimator, measurement.quantizer, form, numel, null)
    except Exception:  # what cannot be foreseen cannot be started either
        return 0.0


def _working(m: Measurement, tensor: WeightTensor, shapes: tuple[Shape, ...]) -> int:
    """Bytes of an accumulator; none where it raises an error, as it will when it is started."""
    try:
        return _working_memory(m.estimator, shapes, m.quantizer.alphabet_of(tensor))
    except Exception:
        return 0


@functools.lru_cache(maxsize=1 << 12)
def _working_memory(estimator: Estimator, shapes: tuple[Shape, ...], alphabet: Alphabet) -> int:
    return estimator.working_memory(shapes, alphabet)
