"""Weights of a few bits that operators of ``com.microsoft`` take packed into bytes.

Only the operator's attributes tell the bits, the block and the shape. In rows of bytes the first
number lies in the lowest bits; a row begins with a byte
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Codes, Role, WeightTensor
from kolmo.checkpoints.bits import packed_size, patterns_of
from kolmo.checkpoints.onnx_constants import OnnxCall
from kolmo.checkpoints.onnx_tensors import OnnxArray
from kolmo.checkpoints.scaled import Load, ScaleBlocks, check_count, scaled, spread
from kolmo.errors import InputError
from kolmo.symbols import Alphabet


def rows_of(read: Load, bits: int, width: int, padded: int) -> Load:
    """A loader of numbers in rows of ``width``, of which each takes the bytes of ``padded``.

    >>> data = np.uint8([0x21, 0x03, 0x65, 0x07])
    >>> rows_of(lambda a, b: data[a:b], 4, 3, 4)(0, 6).tolist()
    [1, 2, 3, 5, 6, 7]
    """

    def load(start: int, stop: int) -> NDArray[Any]:
        if width == padded or start >= stop:
            return patterns_of(read, bits, start, stop)
        places = np.arange(start, stop, dtype=np.int64)
        places += places // width * (padded - width)
        first, last = int(places[0]), int(places[-1])
        return np.asarray(patterns_of(read, bits, first, last + 1)[places - first])

    return load


@dataclasses.dataclass(frozen=True)
class _Groups(ScaleBlocks):
    """Blocks of the columns that a list of group indices tells."""

    read: Load = dataclasses.field(kw_only=True)

    def places(self, start: int, stop: int) -> NDArray[np.int64]:
        rows, columns = np.divmod(np.arange(start, stop, dtype=np.int64), self.shape[1])
        groups, per_row = self.read(0, self.shape[1]).astype(np.int64), self.grid[1]
        if groups.min() < 0 or groups.max() >= per_row:
            raise InputError("group indices of a quantized tensor lie outside its groups")
        return np.asarray(rows * per_row + groups[columns])


def _packed(
    array: OnnxArray, shape: tuple[int, ...], op: str, bits: int, load: Load, codes: Load,
    beside: list[OnnxArray | None],
) -> WeightTensor:  # fmt: skip
    side = sum(other.stored_bits for other in beside if other is not None)
    told = Codes(op, Alphabet(1 << bits), codes, side, (array.tensor(),))
    return WeightTensor(array.name, shape, np.dtype(np.float32), load, told, Role.WEIGHT)


def _zeros(
    call: OnnxCall, index: int, bits: int, width: int, blocks: int, where: str
) -> Load | float:
    """Zero points: numbers, codes packed in rows, or 2^(bits - 1) where there are none."""
    zeros = call.array(index)
    if zeros is None:
        return 1 << (bits - 1)
    if zeros.kind.is_float:
        if zeros.numel != blocks:
            raise _misfit(where, zeros.name)
        return zeros.load
    padded = packed_size(width, bits) * 8 // bits
    if zeros.kind.bits != 8 or zeros.numel != blocks // max(1, width) * packed_size(width, bits):
        raise _misfit(where, zeros.name)
    return rows_of(zeros.patterns, bits, width, padded)


def _misfit(where: str, name: str) -> InputError:
    return InputError(f"{where}: the size of {name!r} is not what its operator's attributes tell")


def _matmul_n_bits(call: OnnxCall, index: int, where: str) -> WeightTensor | None:
    """``MatMulNBits``: weights [N, K] in blocks along K, a block padded to its full size."""
    node, array, scales = call.node, call.array(1), call.array(2)
    rows, width, bits = node.integer("N"), node.integer("K"), node.integer("bits", 4)
    size = node.integer("block_size")
    plain = array is not None and array.kind.bits == 8 and not node.integer("weight_prepacked")
    if array is None or scales is None or not plain or not array.numel:
        return None
    if not (0 < rows < 1 << 40 and 0 < width < 1 << 40 and 2 <= bits <= 8 and 8 <= size < 1 << 40):
        raise _misfit(where, array.name)
    per_row = -(-width // size)
    if array.numel != rows * per_row * packed_size(size, bits) or size * bits % 8:
        raise _misfit(where, array.name)
    blocks = ScaleBlocks.runs((rows, width), 1, size)
    check_count(where, "scales", scales.numel, blocks)
    groups = call.array(4)
    if groups is not None and groups.numel >= width:
        blocks = _Groups(blocks.shape, blocks.sides, read=groups.load)
    zeros = _zeros(call, 3, bits, per_row, rows * per_row, where)
    codes = rows_of(array.patterns, bits, width, per_row * size)
    load = scaled(codes, scales.load, zeros, blocks)
    beside = [scales, call.array(3), groups]
    return _packed(array, (rows, width), node.op, bits, load, codes, beside)


def _gather(call: OnnxCall, index: int, where: str) -> WeightTensor | None:
    """``GatherBlockQuantized``: a table in blocks along an axis, packed along its last."""
    node, array, scales, zeros = call.node, call.array(0), call.array(2), call.array(3)
    if array is None or scales is None or not array.shape or array.kind.bits > 8:
        return None
    in_bytes = array.kind.name == "UINT8"
    bits = node.integer("bits", 4) if in_bytes else array.kind.bits
    axis, size = node.integer("quantize_axis", 1), node.integer("block_size", 128)
    if bits not in (2, 4, 8) or not -len(array.shape) <= axis < len(array.shape):
        raise _misfit(where, array.name)
    shape = (*array.shape[:-1], array.shape[-1] * (8 // bits if in_bytes else 1))
    blocks = _blocks(shape, axis, size or shape[axis], scales)
    check_count(where, "scales", scales.numel, blocks)
    codes = rows_of(array.patterns, bits, 1, 1) if in_bytes else array.patterns
    values = codes if in_bytes else array.load
    if in_bytes:
        width = blocks.grid[-1]
        shift = _zeros(call, 3, bits, width, blocks.count, where)
    else:
        shift = zeros.load if zeros else 0
        if zeros:
            check_count(where, "zero points", zeros.numel, blocks)
    load = scaled(values, scales.load, shift, blocks)
    return _packed(array, shape, node.op, bits, load, codes, [scales, zeros])


def _blocks(shape: tuple[int, ...], axis: int, size: int, scales: OnnxArray) -> ScaleBlocks:
    """Blocks along an axis; an axis on which scales have a side of 1 shares one scale."""
    sides = [1] * len(shape)
    if len(scales.shape) == len(shape):
        sides = [max(1, n) if one == 1 else 1 for n, one in zip(shape, scales.shape, strict=True)]
    sides[axis] = max(1, size)
    return ScaleBlocks(shape, tuple(sides))


def _experts(call: OnnxCall, index: int, where: str) -> WeightTensor | None:
    """``QMoE``: weights [experts, N, K], a scale a row or a block along K."""
    node, array, scales = call.node, call.array(index), call.array(index + 1)
    which = (index - 2) // 3
    bits = node.integer("expert_weight_bits", 4)
    bits = node.integer(f"fc{which + 1}_expert_weight_bits", bits)
    told = node.attributes.get("quant_type")
    plain = (told is None or told.text == "int") and node.integer("weights_prepacked", -1) < 1
    if array is None or scales is None or array.kind.name != "UINT8" or not plain:
        return None
    if len(array.shape) != 3 or bits not in (2, 3, 4, 8):
        raise _misfit(where, array.name)
    size = node.integer("block_size")
    shape = (*array.shape[:2], array.shape[2] * 8 // bits)
    blocks = ScaleBlocks.runs(shape, 2, max(1, size or shape[2]))
    check_count(where, "scales", scales.numel, blocks)
    width = blocks.grid[2] if size else shape[1]
    zeros = _zeros(call, 11 + which, bits, width, blocks.count, where)
    codes = rows_of(array.patterns, bits, shape[2], array.shape[2] * 8 // bits)
    load = scaled(codes, scales.load, zeros, blocks)
    return _packed(array, shape, node.op, bits, load, codes, [scales, call.array(11 + which)])


_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
_FP4 = (0.0, 0.0625 / 12, 8 / 12, 1.0, 4 / 12, 6 / 12, 2 / 12, 3 / 12)
BNB_TABLES = {
    0: np.array([*_FP4, *(-value for value in _FP4)], np.float32),
    1: np.array(_NF4, np.float32),
}
"""What codes of bitsandbytes stand for, in FP4 and NF4 (Dettmers et al., arXiv 2305.14314)."""


def _bitsandbytes(call: OnnxCall, index: int, where: str) -> WeightTensor | None:
    """``MatMulBnb4``: weights [N, K] in one run of blocks, the first of two in the high bits."""
    node, array, scales = call.node, call.array(1), call.array(2)
    shape = (node.integer("N"), node.integer("K"))
    size, table = node.integer("block_size"), BNB_TABLES.get(node.integer("quant_type", 1))
    if array is None or scales is None or table is None or array.kind.name != "UINT8":
        return None
    numel = math.prod(shape)
    if min(*shape, size) < 1 or array.numel != packed_size(numel, 4):
        raise _misfit(where, array.name)
    blocks = ScaleBlocks.runs((numel,), 0, size)
    check_count(where, "scales", scales.numel, blocks)

    def codes(start: int, stop: int) -> NDArray[Any]:
        data = array.patterns(start // 2, (stop + 1) // 2)
        pairs = np.stack([data >> 4, data & 15], axis=1).reshape(-1)
        return pairs[start % 2 :][: stop - start]

    def load(start: int, stop: int) -> NDArray[Any]:
        scale = spread(scales.load, blocks, start, stop).astype(np.float32)
        return np.asarray(table[codes(start, stop)] * scale, np.float32)

    return _packed(array, shape, node.op, 4, load, codes, [scales])


UNPACKERS: dict[str, dict[int, Callable[[OnnxCall, int, str], WeightTensor | None]]] = {
    "MatMulNBits": {1: _matmul_n_bits},
    "GatherBlockQuantized": {0: _gather},
    "QMoE": {2: _experts, 5: _experts, 8: _experts},
    "MatMulBnb4": {1: _bitsandbytes},
}
"""Operators that take packed weights, and what makes logical tensors of those inputs."""

CLOSED = frozenset(
    {
        "MatMulNBits", "MatMulNBitsMlp", "MatMulNBitsQkv", "MatMulNBitsQLoRA", "MatMulFpQ4",
        "MatMulBnb4", "QMoE", "MatMulBlockQuantizedFp4Weight", "MatMulBlockQuantizedFp8Weight",
        "GatherBlockQuantized", "DequantizeBFP",
    }
)  # fmt: skip
"""Operators whose packed weights may be in a layout that is not understood here."""
