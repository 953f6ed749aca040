"""Numbers of few bits, one in each entry of an array, with scales in another beside it.

The entries are 8-bit floats (or narrower ones that safetensors knows as dtypes) or 8-bit integers;
the scales are of the whole tensor, of each row or column, or of blocks such as DeepSeek's of 128 x
128 (``weight_scale_inv``, https://huggingface.co/deepseek-ai/DeepSeek-V3, README_WEIGHTS.md), the
32 of a row in MX formats (OCP Microscaling Formats, v1.0), or the rows of bitsandbytes' LLM.int8
(``SCB``, Dettmers et al., arXiv 2208.07339). The weight is (entry − zero point) · scale, whatever
the scale's name; compressed-tensors calls such layers naive-, int- or float-quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from kolmo.checkpoints.base import WeightTensor
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
    numel,
    present,
    rows_of,
)
from kolmo.dtypes import DTYPES, bits_of
from kolmo.floats import bit_patterns, is_float
from kolmo.symbols import Alphabet

_ENDINGS = ("_scale_inv", "_scale", ".scale", "_scales", "_scale_2")
_IN_MODULE = ("SCB", "weight.SCB", "scale_weight", "scale_inv", "scale", "scales")
_BESIDE = {
    "input_scale": "the scale of the inputs",
    "scale_input": "the scale of the inputs",
    "input_scale_inv": "the scale of the inputs",
    "input_zero_point": "the zero point of the inputs",
    "activation_scale": "the scale of the inputs",
    "act_scale": "the scale of the inputs",
    "output_scale": "the scale of the outputs",
    "weight_format": "the order of the codes",
}
_INT8_SCALE = np.float32(1 / 127)


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """Every array of such entries that has scales of its own."""
    for name, tensor in arrays.items():
        if not _may_be_scaled(tensor):
            continue
        stem = name.removesuffix("weight") if name.endswith("weight") else ""
        scale = _scale_of(name, stem, arrays)
        if scale is None:
            continue
        try:
            yield _found(tensor, stem, scale, arrays, settings, latest)
        except NotUnderstood as why:
            beside = _beside(stem, arrays)
            yield Unknown((name, scale.name, *beside), f"looks like codes with scales, but {why}")


def _may_be_scaled(tensor: WeightTensor) -> bool:
    narrow = is_float(tensor.dtype) and bits_of(tensor.dtype) <= 8
    is_scale = tensor.dtype.name == "float8_e8m0fnu"
    return (narrow and not is_scale) or is_integer(tensor, 2, 4, 8)


def _scale_of(name: str, stem: str, arrays: Arrays) -> WeightTensor | None:
    """The array of scales that its name says belongs to it."""
    names = [name + end for end in _ENDINGS]
    names += [stem + end for end in _IN_MODULE if name.endswith("weight")]
    found = (arrays[n] for n in names if n in arrays)
    return next((t for t in found if _may_be_scale(t)), None)


def _may_be_scale(tensor: WeightTensor) -> bool:
    return is_float(tensor.dtype) or is_integer(tensor, 8)


def _found(
    tensor: WeightTensor,
    stem: str,
    scale: WeightTensor,
    arrays: Arrays,
    settings: QuantSettings,
    latest: Latest,
) -> Logical:
    is_int8 = scale.name.endswith("SCB")
    zero = arrays.get(f"{tensor.name}_zero_point")
    is_byte = tensor.dtype == np.uint8 and zero is None
    demand(not is_byte, "they are bytes, each of which may hold several codes")
    over = arrays.get(f"{scale.name}_2")
    demand(over is None or over.numel == 1, "the scale of their scales is not one")
    needed = [t for t in (scale, zero, over) if t is not None]
    blocks = blocks_of(tensor.shape, scale.shape, _said_blocks(settings))
    expand = expander(tensor.shape, scale, blocks, latest, over)
    shift = expander(tensor.shape, zero, blocks, Latest()) if zero is not None else None
    if is_int8:
        _check_order(stem, arrays)

    def read(_: int, first: int, last: int) -> Array:
        return bit_patterns(rows_of(tensor, first, last))

    def decode(_: int, codes: Array, first: int) -> Array:
        values = values_of(codes, tensor.dtype)
        if shift is not None:
            values = values - shift(first, first + len(codes))
        scaled = values * expand(first, first + len(codes))
        return scaled * _INT8_SCALE if is_int8 else scaled

    rows = Rows(tensor.shape[-1], max(1, numel(tensor.shape[:-1])), read, decode)
    made = logical(
        tensor.name,
        tensor.shape,
        rows,
        "LLM.int8" if is_int8 else _scheme(tensor),
        Alphabet.of_dtype(tensor.dtype),
        [tensor],
        needed,
    )
    kinds = {id(zero): "zero points", id(over): "the scale of the scales"}
    named = {t.name: kinds.get(id(t), "scales") for t in needed}
    return Logical(made, named, _beside(stem, arrays))


def _beside(stem: str, arrays: Arrays) -> dict[str, str]:
    return present({stem + end: what for end, what in _BESIDE.items()}, arrays)


def _scheme(tensor: WeightTensor) -> str:
    """Of one scheme are tensors of one dtype: ``FP8 E4M3FN``, ``INT8``."""
    kind, _, rest = tensor.dtype.name.partition("_")
    return f"FP{bits_of(tensor.dtype)} {rest.upper()}" if rest else kind.upper()


def _check_order(stem: str, arrays: Arrays) -> None:
    """LLM.int8 codes may lie in the order of a kernel's tiles, which another array says."""
    order = arrays.get(f"{stem}weight_format")
    rows = order is None or order.numel != 1 or int(order.read().reshape(-1)[0]) == 0
    demand(rows, "they are in the tiles of a kernel, not in rows")


def values_of(codes: Array, dtype: np.dtype[np.generic]) -> Array:
    """What bit patterns of a dtype stand for, as float32."""
    return np.ascontiguousarray(codes).view(dtype).astype(np.float32)


# --- scales ---------------------------------------------------------------------------------


def _said_blocks(settings: QuantSettings) -> tuple[int, ...]:
    """The sides of a block as a configuration says them."""
    said = settings.values.get("weight_block_size")
    if not isinstance(said, list) or not all(type(n) is int and 0 < n < 1 << 31 for n in said):
        return ()
    return tuple(said)


def blocks_of(
    shape: tuple[int, ...], scales: tuple[int, ...], said: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """The sides of the block that has one scale, along each axis.

    >>> blocks_of((256, 512), (2, 4)), blocks_of((300, 512), (3, 4)), blocks_of((8, 4), (8, 1))
    ((128, 128), (128, 128), (1, 4))
    >>> blocks_of((8, 4), (8,)), blocks_of((8, 4), ())
    ((1, 4), (8, 4))
    """
    demand(shape and numel(shape), "they have no axes")
    if numel(scales) == 1:
        return shape
    if len(scales) < len(shape) and scales == shape[: len(scales)]:
        scales = (*scales, *[1] * (len(shape) - len(scales)))
    demand(len(scales) == len(shape), f"scales of {scales} do not go with codes of {shape}")
    sides = said if len(said) == len(shape) else (None,) * (len(shape) - len(said[:2])) + said[:2]
    each = zip(shape, scales, sides, strict=False)
    return tuple(_side(length, count, side) for length, count, side in each)


def _side(length: int, count: int, said: int | None) -> int:
    """Entries of an axis that have one scale, of ``count`` in all; the last may be fewer."""
    if count == 1:
        return length
    even = [length // count] if count and length % count == 0 else []
    for side in (said, 128, 64, 32, 16, *even):
        if side and -(-length // side) == count:
            return side
    raise NotUnderstood(f"{count:,} scales do not cover {length:,} entries")


def expander(
    shape: tuple[int, ...],
    scale: WeightTensor,
    blocks: tuple[int, ...],
    latest: Latest,
    over: WeightTensor | None = None,
) -> Callable[[int, int], Array]:
    """``expand(first, last)``: the scales of rows of a tensor, one for each entry, each times
    that of the scales where there is one."""

    def whole_scales() -> Array:
        values = scale_values(scale.read())
        return values if over is None else values * np.float32(over.load(0, 1)[0])

    inner = shape[-2] if len(shape) > 1 else 1
    side = blocks[-2] if len(shape) > 1 else 1

    def expand(first: int, last: int) -> Array:
        whole = latest.of(scale, lambda: _as_matrix(shape, whole_scales(), blocks))
        row = np.arange(first, last)
        stack = np.zeros_like(row) if len(whole) == 1 else _stack(row // inner, shape, blocks)
        columns = np.arange(shape[-1]) // blocks[-1]
        found: Array = whole[stack, row % inner // side][:, columns]
        return found

    return expand


def _stack(matrices: Array, shape: tuple[int, ...], blocks: tuple[int, ...]) -> Array:
    """Which matrix of scales belongs to each of a stack of matrices."""
    place, step = np.zeros_like(matrices), 1
    for length, block in zip(shape[-3::-1], blocks[-3::-1], strict=True):
        matrices, index = np.divmod(matrices, length)
        place += index // block * step
        step *= -(-length // block)
    return place


def _as_matrix(shape: tuple[int, ...], scales: Array, blocks: tuple[int, ...]) -> Array:
    """Scales as (matrices, rows, columns)."""
    counts = [-(-length // block) for length, block in zip(shape, blocks, strict=True)]
    counts = [1] * (3 - len(counts)) + counts
    return scales.reshape(-1, *counts[-2:])


def scale_values(values: Array) -> Array:
    """Scales as float32; bytes are exponents, as in MX formats."""
    if values.dtype == np.uint8:
        values = np.ascontiguousarray(values).view(DTYPES["float8_e8m0fnu"])
    return values.astype(np.float32)
