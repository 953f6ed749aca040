"""MLX: words of 32 bits in ``weight``, with ``scales`` and ``biases`` beside it.

A row's codes of 2, 3, 4, 5, 6 or 8 bits fill its words from the least significant bit on
(https://ml-explore.github.io/mlx, ``mlx.core.quantize``); the weight is code · scale + bias, with
one scale and bias for each group of inputs. Bits and the group's size are in ``config.json``, for
all layers or by name; without it, only their product is known, and the size is taken to be that at
which most layers have as many inputs as another array has entries, or else MLX's own, 64. In
the modes mxfp4, mxfp8 and nvfp4 the codes are floats, and there are no biases.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
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
    demand,
    logical,
    present,
    rows_of,
    stems,
    unpack_words,
)
from kolmo.checkpoints.quantized.scaled import values_of
from kolmo.dtypes import DTYPES
from kolmo.floats import is_float
from kolmo.symbols import Alphabet

_BITS = (2, 3, 4, 5, 6, 8)
_SIZES = (64, 32, 128, 16)
_MODES = {
    "mxfp4": ("MXFP4", 4, 32, "float4_e2m1fn", "float8_e8m0fnu"),
    "mxfp8": ("MXFP8", 8, 32, "float8_e4m3fn", "float8_e8m0fnu"),
    "nvfp4": ("NVFP4", 4, 16, "float4_e2m1fn", "float8_e4m3fn"),
}
"""By mode: the scheme, bits of a code, inputs of a group, dtypes of a code and of a scale."""


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """The layers whose weight is of words and has scales."""
    likely = _likely_sizes(arrays)
    for stem in stems(arrays, "weight"):
        words, scales = arrays[f"{stem}weight"], arrays.get(f"{stem}scales")
        if words.dtype != np.uint32 or scales is None or not words.shape:
            continue
        try:
            yield _found(stem, words, scales, arrays, settings, likely)
        except NotUnderstood as why:
            yield Unknown((words.name, scales.name), f"looks like codes of MLX, but {why}")


Sizes = Mapping[tuple[int, int], int]
"""By the product of bits and a group's inputs, and by these: layers for which they are likely."""


def _likely_sizes(arrays: Arrays) -> Sizes:
    """How many layers have as many inputs, with groups of some size, as another array of the
    model has entries: norms have those of the layers beside them."""
    widths = {t.shape[0] for t in arrays.values() if len(t.shape) == 1 and is_float(t.dtype)}
    votes: Counter[tuple[int, int]] = Counter()
    for stem in stems(arrays, "scales"):
        words, groups = arrays.get(f"{stem}weight"), arrays[f"{stem}scales"].shape[-1:]
        if words is not None and words.shape and groups and groups[0]:
            product = 32 * words.shape[-1] // groups[0]
            votes.update((product, size) for size in _SIZES if size * groups[0] in widths)
    return votes


def _found(
    stem: str,
    words: WeightTensor,
    scales: WeightTensor,
    arrays: Arrays,
    settings: QuantSettings,
    likely: Sizes,
) -> Logical:
    biases = arrays.get(f"{stem}biases")
    demand(len(words.shape) >= 2 and words.numel and scales.numel, "they are no matrix")
    demand(scales.shape[:-1] == words.shape[:-1], "the scales are of other rows")
    demand(biases is None or biases.shape == scales.shape, "there are other biases")
    product, rest = divmod(32 * words.shape[-1], scales.shape[-1])  # bits · inputs of a group
    demand(not rest, "the groups do not fill their rows")
    said = _said(stem, settings)
    if biases is None:
        kind = _floats(product, scales, said)
    else:
        kind = _integers(product, biases, settings, said, likely)
    inputs, count = kind.size * scales.shape[-1], words.numel // words.shape[-1]

    def read(_: int, first: int, last: int) -> Array:
        return unpack_words(rows_of(words, first, last), kind.bits)

    def decode(_: int, codes: Array, first: int) -> Array:
        factors = rows_of(scales, first, first + len(codes))
        return kind.weights(codes, factors, first)

    others = [t for t in (scales, biases) if t is not None]
    shape, rows = (*words.shape[:-1], inputs), Rows(inputs, count, read, decode)
    tensor = logical(words.name, shape, rows, kind.scheme, kind.alphabet, [words], others)
    return Logical(tensor, present({f"{stem}scales": "scales", f"{stem}biases": "biases"}, arrays))


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What the codes of a layer are; ``weights(codes, scales, first)`` makes numbers of them."""

    scheme: str
    bits: int
    size: int
    alphabet: Alphabet
    weights: Callable[[Array, Array, int], Array]


def _said(stem: str, settings: QuantSettings) -> Mapping[str, object]:
    """What the configuration says of a layer, or of all."""
    own = settings.values.get(stem.removesuffix("."))
    return own if isinstance(own, Mapping) else settings.values


def _integers(
    product: int,
    biases: WeightTensor,
    settings: QuantSettings,
    said: Mapping[str, object],
    likely: Sizes,
) -> _Kind:
    """Codes that are integers."""
    bits, size = _bits_and_size(product, settings, said, likely)

    def weights(codes: Array, scales: Array, first: int) -> Array:
        added = rows_of(biases, first, first + len(codes)).astype(np.float32)
        factors = np.repeat(scales.astype(np.float32), size, axis=1)
        return np.asarray(codes.astype(np.float32) * factors + np.repeat(added, size, axis=1))

    return _Kind("MLX", bits, size, Alphabet(1 << bits), weights)


def _bits_and_size(
    product: int,
    settings: QuantSettings,
    said: Mapping[str, object],
    likely: Sizes,
) -> tuple[int, int]:
    """Bits of a code and inputs of a group, whose product is known."""
    bits, size = settings.number("bits", of=said), settings.number("group_size", of=said)
    if bits in _BITS and bits and product % bits == 0 and size in (None, product // bits):
        return bits, product // bits
    fit = [(product // s, s) for s in _SIZES if product % s == 0 and product // s in _BITS]
    demand(fit, "nothing says how many bits a code has")
    return max(fit, key=lambda pair: likely.get((product, pair[1]), 0))  # the first of equal ones


def _floats(product: int, scales: WeightTensor, said: Mapping[str, object]) -> _Kind:
    """Codes that are floats, whose scales are bytes."""
    demand(scales.dtype == np.uint8, "there are no biases")
    mode = str(said.get("mode", ""))
    found = [kind for name, kind in _MODES.items() if mode in (name, "")]
    found = [kind for kind in found if kind[1] * kind[2] == product]
    if not found:
        raise NotUnderstood("they are floats of no known kind")
    scheme, bits, size, element, factor = found[0]

    def weights(codes: Array, scales: Array, first: int) -> Array:
        factors = np.repeat(values_of(scales, DTYPES[factor]), size, axis=1)
        return np.asarray(values_of(codes, DTYPES[element]) * factors)

    return _Kind(scheme, bits, size, Alphabet.of_dtype(DTYPES[element]), weights)
