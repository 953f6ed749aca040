"""compressed-tensors' ``weight_packed``: integers of 1 to 8 bits in words, or two FP4 in a byte.

Codes fill words of 32 bits from the least significant bit on
(https://github.com/vllm-project/compressed-tensors, ``pack-quantized``); older versions leave the
bits unused that do not hold a whole code. ``weight_scale`` is (outputs, groups), a single zero
point for each scale is packed along the outputs, ``weight_g_idx`` is the group of each input. Both
codes and zero points are stored with half the range added. ``nvfp4-pack-quantized`` has scales of
16 FP4 numbers that are divided by a global one; ``mxfp4-pack-quantized`` powers of two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

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
    checked_groups,
    demand,
    group_size_of,
    is_integer,
    logical,
    matrix,
    present,
    rows_of,
    stems,
    unpack_padded,
    unpack_words,
)
from kolmo.symbols import Alphabet

_KINDS = {
    "weight_scale": "scales",
    "weight_shape": "the shape",
    "weight_zero_point": "zero points",
    "weight_g_idx": "group indices",
}
_BESIDE = {
    "input_scale": "the scale of the inputs",
    "input_global_scale": "the scale of the inputs",
    "input_zero_point": "the zero point of the inputs",
    "output_scale": "the scale of the outputs",
}


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """The layers of which there is a ``weight_packed`` of words."""
    for stem in stems(arrays, "weight_packed"):
        if is_integer(arrays[f"{stem}weight_packed"], 8):
            continue  # FP4
        needed = present({stem + end: what for end, what in _KINDS.items()}, arrays)
        try:
            yield _found(stem, arrays, needed, settings, latest)
        except NotUnderstood as why:
            names = (f"{stem}weight_packed", *needed)
            yield Unknown(names, f"looks like codes of compressed-tensors, but {why}")


def _found(
    stem: str,
    arrays: Arrays,
    needed: dict[str, str],
    settings: QuantSettings,
    latest: Latest,
) -> Logical:
    words, scale = arrays[f"{stem}weight_packed"], arrays.get(f"{stem}weight_scale")
    demand(is_integer(words, 32), f"they are {words.dtype.name}, no words of 32 bits")
    demand(len(words.shape) >= 2 and words.numel, "they are no matrix")
    if scale is None:
        raise NotUnderstood("there are no scales beside them")
    inputs = _inputs(arrays.get(f"{stem}weight_shape"), words)
    packing = _packing(words.shape[-1], inputs, _said(settings, "num_bits"))
    factors = _factors(scale, words)
    groups = _groups(arrays.get(f"{stem}weight_g_idx"), inputs, factors.shape[-1], settings)
    zeros = _zeros(arrays.get(f"{stem}weight_zero_point"), factors, packing)
    outputs, half = words.shape[-2], np.float32(1 << (packing.bits - 1))

    def read(number: int, first: int, last: int) -> Array:
        rows = rows_of(words, number * outputs + first, number * outputs + last)
        return packing.unpack(rows, packing.bits)[:, :inputs]

    def decode(number: int, codes: Array, first: int) -> Array:
        columns, shifts = latest.of((words.name, number), lambda: (groups(), zeros(number)))
        rows = slice(first, first + len(codes))
        scales = rows_of(factors, number * outputs + first, number * outputs + first + len(codes))
        centred = codes.astype(np.float32) - half
        if shifts is not None:
            centred -= shifts[rows][:, columns]
        return np.asarray(centred * scales.astype(np.float32)[:, columns])

    tensor = logical(
        f"{stem}weight",
        (*words.shape[:-1], inputs),
        Rows(inputs, outputs, read, decode),
        f"INT{packing.bits}",
        Alphabet(1 << packing.bits),
        [words],
        [arrays[name] for name in needed],
    )
    beside = present({stem + end: what for end, what in _BESIDE.items()}, arrays)
    return Logical(tensor, needed, beside)


def _inputs(shape: WeightTensor | None, words: WeightTensor) -> int:
    """The true width of the matrix, of which the last word may hold less."""
    if shape is None or shape.dtype.kind not in "iu" or not 2 <= shape.numel <= 64:
        raise NotUnderstood("nothing says what shape they have")
    outputs, inputs = (int(side) for side in shape.read().reshape(-1)[-2:])
    demand(
        outputs == words.shape[-2] and 0 < inputs <= 32 * words.shape[-1], "they have another shape"
    )
    return inputs


@dataclasses.dataclass(frozen=True)
class _Packing:
    """How the codes of a row lie in words."""

    bits: int
    unpack: Callable[[Array, int], Array]


def _packing(words: int, inputs: int, said: set[int]) -> _Packing:
    """Bits of a code, and whether each lies in one word: what is said, or else what is usual."""
    likely = sorted(range(1, 9), key=lambda bits: (bits not in said, bits not in (4, 8), bits))
    for bits in likely:
        if -(-inputs * bits // 32) == words:
            return _Packing(bits, unpack_words)
        if -(-inputs // (32 // bits)) == words:
            return _Packing(bits, unpack_padded)
    raise NotUnderstood(f"{words:,} words do not hold {inputs:,} codes of any width")


def _said(settings: QuantSettings, key: str) -> set[int]:
    """What the groups of layers of a configuration say of their weights."""
    groups = settings.values.get("config_groups")
    groups = groups.values() if isinstance(groups, Mapping) else ()
    weights = [group.get("weights") for group in groups if isinstance(group, Mapping)]
    found = [w.get(key) for w in weights if isinstance(w, Mapping)]
    return {number for number in found if type(number) is int and 0 < number < 1 << 31}


def _factors(scale: WeightTensor, words: WeightTensor) -> WeightTensor:
    """The scales as (outputs, groups) of each matrix."""
    outputs = words.shape[:-1]
    demand(scale.numel, "there are no scales beside them")
    if scale.numel == 1:
        return WeightTensor(
            scale.name,
            (*outputs, 1),
            scale.dtype,
            lambda first, last: np.repeat(scale.load(0, 1), last - first),
        )
    shape = scale.shape if len(scale.shape) == len(words.shape) else (*scale.shape, 1)
    demand(shape[:-1] == outputs, f"scales of {scale.shape} do not go with them")
    return dataclasses.replace(scale, shape=shape)


def _groups(
    stored: WeightTensor | None, inputs: int, count: int, settings: QuantSettings
) -> Callable[[], Array]:
    """The group of each input, which an array tells if they are not in order."""
    size = group_size_of(inputs, count, next(iter(_said(settings, "group_size")), None))
    if stored is None:
        return lambda: np.arange(inputs) // size
    demand(stored.numel == inputs, "there are group indices of other inputs")
    return lambda: checked_groups(stored.read(), count, stored.name)


def _zeros(
    stored: WeightTensor | None, factors: WeightTensor, packing: _Packing
) -> Callable[[int], Array | None]:
    """The zero points of a matrix as (outputs, groups), less half the range."""
    if stored is None:
        return lambda number: None
    *before, outputs, groups = factors.shape
    if is_integer(stored, 8) and stored.numel == factors.numel:
        plain = dataclasses.replace(stored, shape=factors.shape)
        return lambda number: matrix(plain, number).astype(np.float32)
    whole = packing.unpack is unpack_padded
    words = -(-outputs // (32 // packing.bits)) if whole else -(-outputs * packing.bits // 32)
    fits = stored.shape == (*before, words, groups)
    demand(is_integer(stored, 32) and fits, "there are other zero points")

    def read(number: int) -> Array:
        columns = np.ascontiguousarray(matrix(stored, number).T)
        codes = packing.unpack(columns, packing.bits)[:, :outputs].T
        return codes.astype(np.float32) - np.float32(1 << (packing.bits - 1))

    return read
