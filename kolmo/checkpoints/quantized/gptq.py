"""GPTQ and AWQ: ``qweight``, ``qzeros`` and ``scales`` in place of a linear layer's weight.

Words of 32 bits hold codes of 2, 3, 4 or 8 bits. GPTQ (Frantar et al., arXiv 2210.17323, as
AutoGPTQ and GPTQModel write it) packs them along the inputs: ``qweight`` is (inputs · bits / 32,
outputs), ``scales`` (groups, outputs), ``g_idx`` the group of each input, which need not be in
order. The first version of its files stores each zero point less one, modulo 2^bits. AWQ (Lin et
al., arXiv 2306.00978, as AutoAWQ writes it) packs them along the outputs: ``qweight`` is (inputs,
outputs / 8), and the eight codes of a word are those of the outputs 0 2 4 6 1 3 5 7; its GEMV
layout is (outputs, inputs / 8), in order. The weight is (code − zero point) · scale; the layer's
is the transpose, (outputs, inputs).
"""

from __future__ import annotations

import dataclasses
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
    checked_groups,
    demand,
    group_size_of,
    is_integer,
    logical,
    matrix,
    present,
    stems,
    unpack_words,
)
from kolmo.symbols import Alphabet

_GPTQ_BITS = (2, 3, 4, 8)
_AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7]
"""The place in a word of each of eight outputs."""


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """The layers of which there is a ``qweight``."""
    for stem in stems(arrays, "qweight"):
        parts = _parts(arrays, settings, stem)
        try:
            yield _found(parts, settings, latest)
        except NotUnderstood as why:
            yield Unknown(parts.names, f"looks like codes of GPTQ or AWQ, but {why}")


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The arrays of a layer."""

    stem: str
    weight: WeightTensor
    zeros: WeightTensor | None
    scales: WeightTensor | None
    groups: WeightTensor | None
    needed: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.weight.name, *self.needed)


def _parts(arrays: Arrays, settings: QuantSettings, stem: str) -> _Parts:
    kinds = {"qzeros": "zero points", "scales": "scales", "g_idx": "group indices"}
    needed = present({f"{stem}{end}": what for end, what in kinds.items()}, arrays)
    zeros, scales, groups = (arrays.get(f"{stem}{end}") for end in kinds)
    return _Parts(stem, arrays[f"{stem}qweight"], zeros, scales, groups, needed)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How the arrays of a layer lie: what it is called, and for each matrix what it is made of.

    ``prepare(number)`` gives a function of the codes of outputs [first, last), the zero points
    and the scales as (outputs, groups), and the group of each input.
    """

    scheme: str
    bits: int
    shape: tuple[int, ...]
    prepare: Callable[[int], _Matrix]


@dataclasses.dataclass(frozen=True)
class _Matrix:
    codes: Callable[[int, int], Array]
    zeros: Array
    scales: Array
    groups: Array


def _found(parts: _Parts, settings: QuantSettings, latest: Latest) -> Logical:
    layout = _layout(parts, settings)
    outputs, inputs = layout.shape[-2:]

    def held(number: int) -> _Matrix:
        made: _Matrix = latest.of((parts.weight.name, number), lambda: layout.prepare(number))
        return made

    def read(number: int, first: int, last: int) -> Array:
        return held(number).codes(first, last)

    def decode(number: int, codes: Array, first: int) -> Array:
        kept, rows = held(number), slice(first, first + len(codes))
        zeros, scales = kept.zeros[rows][:, kept.groups], kept.scales[rows][:, kept.groups]
        return (codes.astype(np.float32) - zeros) * scales

    needed = [t for t in (parts.zeros, parts.scales, parts.groups) if t is not None]
    tensor = logical(
        f"{parts.stem}weight",
        layout.shape,
        Rows(inputs, outputs, read, decode),
        layout.scheme,
        Alphabet(1 << layout.bits),
        [parts.weight],
        needed,
    )
    return Logical(tensor, parts.needed)


def _layout(parts: _Parts, settings: QuantSettings) -> _Layout:
    weight, scales = parts.weight, parts.scales
    demand(is_integer(weight, 32), f"they are {weight.dtype.name}, no words of 32 bits")
    if scales is None:
        raise NotUnderstood("there are no scales beside them")
    demand(len(weight.shape) >= 2 and weight.numel, "they are no matrix")
    demand(len(scales.shape) == len(weight.shape) and scales.numel, "the scales are no matrix")
    demand(scales.shape[:-2] == weight.shape[:-2], "the scales are of other matrices")
    demand(parts.zeros is None or is_integer(parts.zeros, 32), "the zero points are no words")
    is_marlin = "marlin" in settings.text("checkpoint_format") + settings.method
    demand(not is_marlin, "they are in the order of the Marlin kernel")
    if weight.shape[-1] == scales.shape[-1] and settings.method != "awq":
        return _gptq(parts, scales, settings)
    if weight.shape[-1] * 8 == scales.shape[-1] and parts.zeros:
        return _awq(parts, scales, parts.zeros)
    if weight.shape[-2] == scales.shape[-2] and parts.zeros:
        return _gemv(parts, scales, parts.zeros, settings)
    raise NotUnderstood(f"codes of shape {weight.shape} do not go with scales of {scales.shape}")


def _gptq(parts: _Parts, scales: WeightTensor, settings: QuantSettings) -> _Layout:
    *before, words, outputs = parts.weight.shape
    bits = _gptq_bits(parts, scales, settings)
    inputs = 32 * words // bits
    if parts.groups is not None:
        demand(0 < parts.groups.shape[-1] <= inputs, "there are group indices of more inputs")
        inputs = parts.groups.shape[-1]
    size = group_size_of(inputs, scales.shape[-2], settings.number("group_size"))
    is_sorted = parts.groups is None and settings.values.get("desc_act") is True
    demand(not is_sorted or scales.shape[-2] == 1, "their inputs are in an order that is not there")
    offset = 0 if settings.text("checkpoint_format") == "gptq_v2" else 1

    def prepare(number: int) -> _Matrix:
        packed = np.ascontiguousarray(matrix(parts.weight, number).T)

        def codes(first: int, last: int) -> Array:
            return unpack_words(packed[first:last], bits)[:, :inputs]

        factors = matrix(scales, number).astype(np.float32)
        zeros = np.full(factors.shape, 1 << (bits - 1), np.float32)
        if parts.zeros is not None:
            stored = unpack_words(matrix(parts.zeros, number), bits)[:, :outputs]
            zeros = ((stored + np.uint8(offset)) & np.uint8((1 << bits) - 1)).astype(np.float32)
        return _Matrix(codes, zeros.T, factors.T, _groups(parts, number, inputs, size, scales))

    return _Layout("GPTQ", bits, (*before, outputs, inputs), prepare)


def _gptq_bits(parts: _Parts, scales: WeightTensor, settings: QuantSettings) -> int:
    """Bits of a code: the zero points tell, of which there is one for each scale."""
    words, outputs = parts.weight.shape[-2:]
    fit = list(_GPTQ_BITS)
    if parts.zeros is not None:
        demand(parts.zeros.shape[:-1] == scales.shape[:-1], "there are other zero points")
        fit = [b for b in fit if -(-outputs * b // 32) == parts.zeros.shape[-1]]
    if parts.groups is not None:
        fit = [b for b in fit if -(-parts.groups.shape[-1] * b // 32) == words]
    said = settings.number("bits", "w_bit", "wbits")
    demand(said in fit or len(fit) == 1, "nothing says of how many bits they are")
    return said if said is not None and said in fit else fit[0]


def _groups(parts: _Parts, number: int, inputs: int, size: int, scales: WeightTensor) -> Array:
    if parts.groups is None:
        return np.arange(inputs) // size
    one = len(parts.groups.shape) == 1  # the same for all matrices
    first = 0 if one else number * inputs
    groups = parts.groups.load(first, first + inputs)
    return checked_groups(groups, scales.shape[-2], parts.groups.name)


def _awq(parts: _Parts, scales: WeightTensor, zeros: WeightTensor) -> _Layout:
    *before, inputs, words = parts.weight.shape
    demand(zeros.shape == (*before, scales.shape[-2], words), "there are other zero points")
    size = group_size_of(inputs, scales.shape[-2])

    def prepare(number: int) -> _Matrix:
        codes = _in_order(matrix(parts.weight, number)).T
        shifts = _in_order(matrix(zeros, number)).T.astype(np.float32)
        factors = matrix(scales, number).T.astype(np.float32)
        return _Matrix(lambda a, b: codes[a:b], shifts, factors, np.arange(inputs) // size)

    return _Layout("AWQ", 4, (*before, 8 * words, inputs), prepare)


def _in_order(words: Array) -> Array:
    """Codes of the outputs in order, from words of eight that AWQ interleaves."""
    codes = unpack_words(words, 4).reshape(*words.shape, 8)
    return codes[..., _AWQ_PLACES].reshape(len(words), -1)


def _gemv(
    parts: _Parts, scales: WeightTensor, zeros: WeightTensor, settings: QuantSettings
) -> _Layout:
    *before, outputs, words = parts.weight.shape
    inputs, padded = 8 * words, scales.shape[-1]
    said = settings.number("group_size", "q_group_size")
    size = next((n for n in (said, 128, 64, 32) if n and _gemv_width(inputs, n) == padded), 0)
    demand(size and inputs % size == 0, "nothing says how many inputs a group has")
    demand(zeros.shape == (*before, outputs, padded // 8), "there are other zero points")

    def prepare(number: int) -> _Matrix:
        packed = matrix(parts.weight, number)
        shifts = unpack_words(matrix(zeros, number), 4).astype(np.float32)
        factors = matrix(scales, number).astype(np.float32)
        groups = np.arange(inputs) // size
        return _Matrix(lambda a, b: unpack_words(packed[a:b], 4), shifts, factors, groups)

    return _Layout("AWQ", 4, (*before, outputs, inputs), prepare)


def _gemv_width(inputs: int, size: int) -> int:
    """Scales of an output in the GEMV layout, which are filled up for the kernel's sake."""
    words, multiple = -(-(inputs // size) // 8), max(1, 128 // size)
    return -(-words // multiple) * multiple * 8
