"""Two FP4 numbers in a byte, with a scale for each block of 16 or 32 of a row.

MXFP4 (OCP Microscaling Formats, v1.0) has blocks of 32 whose scales are powers of two, in a byte
each. gpt-oss (https://huggingface.co/openai/gpt-oss-20b) keeps them in ``…_blocks`` of (experts,
outputs, blocks, 16) and ``…_scales``; transformers' parameter, and so the logical tensor, is the
transpose, (experts, inputs, outputs); OpenAI's own files name them ``….blocks`` and ``….scales``
and keep the order. NVFP4 has blocks of 16, scales of float8_e4m3fn and one more for the tensor:
NVIDIA's modelopt multiplies by it (``weight_scale_2``), compressed-tensors divides by it
(``weight_global_scale``). Of the two numbers in a byte the first has the low half.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.narrow import unpack
from kolmo.checkpoints.quantized.base import (
    Array,
    Arrays,
    Latest,
    Logical,
    NotUnderstood,
    QuantSettings,
    Rows,
    Unknown,
    demand,
    is_integer,
    logical,
    present,
    rows_of,
)
from kolmo.checkpoints.quantized.scaled import scale_values, values_of
from kolmo.dtypes import DTYPES
from kolmo.symbols import Alphabet

_ELEMENTS = {4: DTYPES["float4_e2m1fn"], 6: DTYPES["float6_e2m3fn"]}
_BESIDE = {
    "input_scale": "the scale of the inputs",
    "input_global_scale": "the scale of the inputs",
}


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """Arrays of bytes that have scales of blocks of 16 or 32 numbers beside them."""
    for name, tensor in arrays.items():
        parts = _parts(name, arrays) if is_integer(tensor, 8) and len(tensor.shape) > 1 else None
        if parts is None:
            continue
        try:
            yield _found(parts, latest)
        except NotUnderstood as why:
            yield Unknown((name, *parts.needed), f"looks like FP4 numbers in blocks, but {why}")


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The arrays of a tensor, and the name that it gets.

    ``over`` is the scale of the whole tensor, by which the others are multiplied or divided.
    """

    name: str
    codes: WeightTensor
    scale: WeightTensor
    block: int
    needed: dict[str, str]
    beside: dict[str, str]
    over: WeightTensor | None = None
    divided: bool = False
    transposed: bool = False
    stored: WeightTensor | None = None


def _parts(name: str, arrays: Arrays) -> _Parts | None:
    return _blocks(name, arrays) or _bytes(name, arrays)


def _blocks(name: str, arrays: Arrays) -> _Parts | None:
    """gpt-oss's ``_blocks`` and ``_scales``, or OpenAI's ``.blocks`` and ``.scales``."""
    for blocks, scales in (("_blocks", "_scales"), (".blocks", ".scales")):
        stem = name.removesuffix(blocks)
        scale = arrays.get(stem + scales)
        if stem != name and scale is not None:
            codes, flat = arrays[name], (*scale.shape[:-1], 16 * scale.shape[-1])
            if codes.shape != (*scale.shape, 16) or len(scale.shape) < 2:
                return None
            rows = dataclasses.replace(codes, shape=flat)
            needed, transposed = {scale.name: "scales"}, blocks == "_blocks"
            return _Parts(stem, rows, scale, 32, needed, {}, transposed=transposed, stored=codes)
    return None


def _bytes(name: str, arrays: Arrays) -> _Parts | None:
    """Rows of bytes and, named after them, rows of scales."""
    stem = name.removesuffix("weight_packed").removesuffix("weight")
    is_layer = stem != name
    logical_name = f"{stem}weight" if is_layer else name
    names = (
        [f"{stem}weight_scale", f"{stem}scale"]
        if is_layer
        else [f"{name}_weight_scale", f"{name}_scale"]
    )
    scale = next((arrays[n] for n in names if n in arrays), None)
    block = _block(arrays[name], scale)
    if scale is None or not block:
        return None
    needed = {scale.name: "scales"}
    global_scale = {scale.name + "_2": False, f"{stem}weight_global_scale": True}
    over, divided = next(
        ((arrays[n], d) for n, d in global_scale.items() if n in arrays), (None, False)
    )
    if over is not None:
        needed[over.name] = "the scale of the scales"
    beside = (
        present({stem + end: what for end, what in _BESIDE.items()}, arrays) if is_layer else {}
    )
    return _Parts(logical_name, arrays[name], scale, block, needed, beside, over, divided)


def _block(codes: WeightTensor, scale: WeightTensor | None) -> int:
    """Numbers of a block, which the scales' dtype tells; 0 if they are no such scales."""
    blocks = {"float8_e4m3fn": 16, "uint8": 32, "float8_e8m0fnu": 32}
    block = blocks.get(scale.dtype.name, 0) if scale is not None else 0
    if scale is None or not block or scale.shape[:-1] != codes.shape[:-1]:
        return 0
    return block if _bits(codes, scale, block) else 0


def _bits(codes: WeightTensor, scale: WeightTensor, block: int) -> int:
    """Bits of a number: 4, or 6; 0 if the scales are of other blocks."""
    width = block * scale.shape[-1]
    return next((bits for bits in _ELEMENTS if width and width * bits == 8 * codes.shape[-1]), 0)


def _found(parts: _Parts, latest: Latest) -> Logical:
    codes, block = parts.codes, parts.block
    bits = _bits(codes, parts.scale, block)
    outputs, width = codes.shape[-2], 8 * codes.shape[-1] // bits
    demand(codes.numel, "they are none")
    demand(parts.over is None or parts.over.numel == 1, "the scale of their scales is not one")

    def read(number: int, first: int, last: int) -> Array:
        rows = rows_of(codes, number * outputs + first, number * outputs + last)
        return unpack(rows.view(np.uint8), bits)

    def decode(number: int, values: Array, first: int) -> Array:
        start = number * outputs + first
        scales = scale_values(rows_of(parts.scale, start, start + len(values)))
        if parts.over is not None:
            over = np.float32(parts.over.load(0, 1)[0])
            scales = scales / over if parts.divided else scales * over
        return np.asarray(values_of(values, _ELEMENTS[bits]) * np.repeat(scales, block, axis=1))

    rows, shape = Rows(width, outputs, read, decode), (*codes.shape[:-1], width)
    if parts.transposed:
        rows, shape = rows.transposed(latest, parts.name), (*shape[:-2], width, outputs)
    tensor = logical(
        parts.name,
        shape,
        rows,
        f"MXFP{bits}" if block == 32 else "NVFP4",
        Alphabet.of_dtype(_ELEMENTS[bits]),
        [parts.stored or codes],
        [t for t in (parts.scale, parts.over) if t is not None],
    )
    return Logical(tensor, parts.needed, parts.beside)
