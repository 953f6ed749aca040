"""Quantized weights of ONNX: what the codes in a tensor stand for, by the operator that takes it.

``DequantizeLinear`` has a scale for a tensor, a slice or a block; operators that compute with
codes (``QLinearConv``, ``MatMulInteger``) have scales among their inputs; ``MatMulNBits`` and its
kin pack codes of a few bits into bytes, which only the operator's attributes tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Codes, Role, WeightTensor
from kolmo.checkpoints.onnx_constants import OnnxCall, OnnxConstant
from kolmo.checkpoints.onnx_operators import SCALINGS, OnnxScaling
from kolmo.checkpoints.onnx_packed import UNPACKERS
from kolmo.checkpoints.onnx_tensors import KINDS, OnnxArray
from kolmo.checkpoints.scaled import Load, ScaleBlocks, check_count, scaled
from kolmo.errors import InputError
from kolmo.floats import is_float
from kolmo.symbols import Alphabet


def quantized_tensors(calls: list[OnnxCall], where: str) -> dict[OnnxConstant, WeightTensor]:
    """The logical tensors of the constants that hold codes; the first use of each decides.

    Raises
    ------
    InputError
        If scales or packed codes do not fit the shape that the operator tells.
    """
    found: dict[OnnxConstant, WeightTensor] = {}
    for call in calls:
        for index, constant in enumerate(call.inputs):
            if constant is None or constant in found:
                continue
            tensor = _logical(call, index, where)
            if tensor is not None:
                found[constant] = tensor
    return found


def _logical(call: OnnxCall, index: int, where: str) -> WeightTensor | None:
    op, array = call.node.op, call.array(index)
    if array is None:
        return None
    if index in UNPACKERS.get(op, {}):
        return UNPACKERS[op][index](call, index, where)
    if array.kind.is_float and array.kind.bits > 8:
        return None
    if op == "DequantizeLinear" and index == 0:
        return _dequantized(call, array, where)
    if op in ("MatMulInteger", "ConvInteger") and index in (0, 1):
        return _integer(call, index, array, where)
    scaling = SCALINGS.get(op, {}).get(index)
    return _scaled_input(call, array, scaling, where) if scaling else None


def _dequantized(call: OnnxCall, array: OnnxArray, where: str) -> WeightTensor | None:
    scales, zeros = call.array(1), call.array(2)
    if scales is None or (zeros is None and len(call.inputs) > 2 and call.node.inputs[2]):
        return None
    where = f"{where}: tensor {array.name!r}"
    blocks = _blocks_of(call, array, scales, where)
    check_count(where, "scales", scales.numel, blocks)
    if zeros is not None:
        check_count(where, "zero points", zeros.numel, blocks)
    told = KINDS.get(call.node.integer("output_dtype"))
    dtype = told.dtype if told else scales.kind.dtype
    dtype = dtype if is_float(dtype) and dtype.itemsize > 1 else np.dtype(np.float32)
    load = scaled(array.load, scales.load, zeros.load if zeros else 0, blocks, dtype)
    return logical(array, "QDQ", load, [scales, zeros], dtype)


def _blocks_of(call: OnnxCall, array: OnnxArray, scales: OnnxArray, where: str) -> ScaleBlocks:
    """One block, one for each slice of the axis, or blocks along it."""
    axis, size = call.node.integer("axis", 1), call.node.integer("block_size")
    if scales.numel == 1 and len(scales.shape) < 2:
        return ScaleBlocks.whole(array.shape)
    if not -len(array.shape) <= axis < len(array.shape) or size < 0:
        raise InputError(f"{where} is quantized along axis {axis}, which it has not")
    return (
        ScaleBlocks.runs(array.shape, axis, size)
        if size
        else ScaleBlocks.channels(array.shape, axis)
    )


def _scaled_input(
    call: OnnxCall, array: OnnxArray, scaling: OnnxScaling, where: str
) -> WeightTensor | None:
    scales, zeros = call.array(scaling.scale), call.array(scaling.zero)
    factors = [call.array(index) for index in scaling.by]
    if scales is None or any(factor is None or factor.numel != 1 for factor in factors):
        return None
    axis = scaling.axis
    if call.node.op == "QGemm" and len(array.shape) == 2 and call.node.integer("transB"):
        axis = 0
    where = f"{where}: tensor {array.name!r}"
    blocks = _along(array, scales, axis, where)
    if zeros is not None and zeros.numel not in (1, blocks.count):
        check_count(where, "zero points", zeros.numel, blocks)
    product = _product(scales, [factor for factor in factors if factor], call)
    load = scaled(array.load, product, _each(zeros, blocks) if zeros else 0, blocks)
    return logical(array, call.node.op, load, [scales, zeros], np.dtype(np.float32))


def _each(values: OnnxArray, blocks: ScaleBlocks) -> Load:
    """A loader of one value a block, where there may be one for all."""
    if values.numel == 1 < blocks.count:
        return lambda start, stop: np.repeat(values.load(0, 1), stop - start)
    return values.load


def _product(scales: OnnxArray, factors: list[OnnxArray], call: OnnxCall) -> Load:
    """Scales times those of the activations, which the scale of a bias is."""
    if not factors:
        return scales.load
    alpha = call.node.attributes.get("alpha")
    weight = 1.0 if alpha is None or alpha.number is None else alpha.number

    def load(start: int, stop: int) -> NDArray[Any]:
        found = scales.load(start, stop).astype(np.float32)
        for factor in factors:
            found = found * factor.load(0, 1).astype(np.float32)
        return np.asarray(found * np.float32(weight), np.float32)

    return load


def _along(array: OnnxArray, scales: OnnxArray, axis: int, where: str) -> ScaleBlocks:
    """The blocks of as many scales as there are: one, one a slice, or one a leading slice."""
    shape = array.shape
    if scales.numel == 1:
        return ScaleBlocks.whole(shape)
    if not -len(shape) <= axis < len(shape):
        raise InputError(f"{where} is quantized along axis {axis}, which it has not")
    choices = [ScaleBlocks.channels(shape, axis), ScaleBlocks.channels(shape, 0)]
    if len(shape) > 2:
        sides = [1, *shape[1:]]
        sides[axis] = 1
        choices.append(ScaleBlocks(shape, tuple(max(1, side) for side in sides)))
    fitting = [blocks for blocks in choices if blocks.count == scales.numel]
    if not fitting:
        check_count(where, "scales", scales.numel, choices[0])
    return fitting[0]


def _integer(call: OnnxCall, index: int, array: OnnxArray, where: str) -> WeightTensor | None:
    """Codes that are multiplied as integers; a later product has their scale."""
    zeros = call.array(index + 2)
    scale = call.scale.found if call.scale else None
    scales = scale if isinstance(scale, OnnxArray) else None
    axis = 0 if call.node.op == "ConvInteger" else (-2, -1)[index]
    where = f"{where}: tensor {array.name!r}"
    whole = ScaleBlocks.whole(array.shape)
    most = max((a for a in (scales, zeros) if a), key=lambda a: a.numel, default=None)
    blocks = whole if most is None else _along(array, most, axis, where)
    if any(a is not None and a.numel not in (1, blocks.count) for a in (scales, zeros)):
        return None
    multipliers = _each(scales, blocks) if scales else _ones
    load = scaled(array.load, multipliers, _each(zeros, blocks) if zeros else 0, blocks)
    scheme = call.node.op if scales else f"{call.node.op} (scale unknown)"
    return logical(array, scheme, load, [scales, zeros], np.dtype(np.float32))


def _ones(start: int, stop: int) -> NDArray[Any]:
    return np.ones(stop - start, np.float32)


def logical(
    array: OnnxArray, scheme: str, load: Load, beside: list[OnnxArray | None], dtype: np.dtype[Any]
) -> WeightTensor:
    """The logical tensor of an array whose numbers are codes, one for each weight."""
    width = 8 * array.kind.dtype.itemsize
    bits = min(array.kind.bits, width)
    floats = array.kind.dtype.name if array.kind.is_float and bits == width else ""
    side = sum(other.stored_bits for other in beside if other is not None)
    codes = Codes(scheme, Alphabet(1 << bits, floats), array.patterns, side, (array.tensor(),))
    return WeightTensor(array.name, array.shape, dtype, load, codes, Role.WEIGHT, array.place)
