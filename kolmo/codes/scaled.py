"""Float32 tensors as float16 motifs times a scale for each tensor, if they are exactly that.

Learned mosaics are such products, rounded: all tensors share the motifs, and each has a scale of
its own. The checkpoint does not hold the scale, but few numbers divide all values of a tensor so
that each quotient has eleven bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.symbols import Symbols

_MOST = 4096  # most magnitudes of a tensor, because each is tried with 1,024 divisors
_NEAR = 2.0**-11  # how far two roundings to float32 move an integer of eleven bits
_SHIFTS = range(-8, 9)  # powers of two by which the motifs of two tensors may differ

Floats = NDArray[Any]


def take_scales(parts: Sequence[Symbols], size: int) -> tuple[Floats, list[Symbols]] | None:
    """A scale for each tensor and its weights divided by it, as float16 bits; None if inexact.

    Parameters
    ----------
    parts : sequence of uint32 ndarrays
        Bit patterns of float32 weights.
    size : int
        Weights of a block; scales are chosen so that tensors have many blocks in common.

    Examples
    --------
    >>> motifs = np.float16([-0.3, 0, 0.7, 1.9])
    >>> scales = np.float32([0.0123, 4.56])
    >>> tensors = [motifs.astype(np.float32) * scale for scale in scales]
    >>> taken = take_scales([tensor.view(np.uint32) for tensor in tensors], 1)
    >>> np.array_equal(taken[1][0], taken[1][1])
    True
    >>> joined = give_scales(*taken)
    >>> all(np.array_equal(a.view(np.float32), b) for a, b in zip(joined, tensors))
    True
    """
    tensors = [part.view("<f4") for part in parts]
    scales, halves = np.ones(len(parts), np.float32), [np.zeros(0, np.uint16)] * len(parts)
    known: set[bytes] = set()
    for number in sorted(range(len(parts)), key=lambda n: -tensors[n].size):
        distinct = _distinct(tensors[number], size)
        choices = _divided(np.unique(np.abs(distinct)))
        if not choices:
            return None
        blocks = [_as_set(choice.divide(distinct), size) for choice in choices]
        best = max(range(len(choices)), key=lambda n: len(blocks[n] & known))
        known |= blocks[best]
        scales[number] = choices[best].scale
        halves[number] = choices[best].divide(tensors[number]).view("<u2")
    joined = give_scales(scales, halves)
    return (scales, halves) if all(map(np.array_equal, joined, parts)) else None


def give_scales(scales: Floats, halves: Sequence[Symbols]) -> list[Symbols]:
    """Undo `take_scales`."""
    with np.errstate(all="ignore"):  # products of a damaged file may be anything
        products = [
            half.view("<f2").astype(np.float32) * scale
            for half, scale in zip(halves, scales, strict=True)
        ]
    return [np.asarray(product, "<f4").view("<u4") for product in products]


@dataclasses.dataclass(frozen=True)
class _Choice:
    """A scale, the magnitudes in order, and the float16 number of each divided by the scale."""

    scale: np.float32
    sizes: Floats
    halves: Floats

    def divide(self, tensor: Floats) -> Floats:
        places = np.searchsorted(self.sizes, np.abs(tensor))
        return np.copysign(self.halves[places], tensor).astype("<f2")


def _divided(sizes: Floats) -> list[_Choice]:
    """The scales by which all magnitudes, given in order, become float16 numbers."""
    if sizes.size > _MOST + 1 or not np.isfinite(sizes).all():
        return []
    positive = sizes[sizes > 0].astype(np.float64)
    choices = []
    for values in _candidates(positive):
        scale = _scale(positive, values)
        if scale is None:
            continue
        for shift in _SHIFTS:
            moved = np.ldexp(values, shift)
            halves = np.zeros(sizes.size, np.float16)
            with np.errstate(over="ignore"):
                halves[sizes > 0] = moved
            if np.array_equal(halves[sizes > 0], moved):
                choices.append(_Choice(np.ldexp(scale, -shift), sizes, halves))
    return choices


def _candidates(sizes: Floats) -> list[Floats]:
    """All ways to write the magnitudes, up to a scale, as numbers of eleven bits; the largest is in
    [1, 2)."""
    if not sizes.size:
        return [sizes]
    leading = np.arange(1024, 2048)
    for value in sizes:
        leading = leading[_whole(leading * (value / sizes[-1]))]
    return [_rounded(number * (sizes / sizes[-1])) / 1024 for number in leading[:16]]


def _whole(numbers: Floats) -> NDArray[np.bool_]:
    leading = 2048 * np.frexp(numbers)[0]
    near: NDArray[np.bool_] = np.abs(leading - np.rint(leading)) < _NEAR
    return near


def _rounded(numbers: Floats) -> Floats:
    leading, exponents = np.frexp(numbers)
    rounded: Floats = np.ldexp(np.rint(2048 * leading), exponents - 11)
    return rounded


def _scale(sizes: Floats, values: Floats) -> np.float32 | None:
    """The float32 scale whose products with the values round to the magnitudes; None if none."""
    if not sizes.size:
        return np.float32(1)
    half = np.spacing(sizes.astype(np.float32)).astype(np.float64) / 2
    low, high = ((sizes - half) / values).max(), ((sizes + half) / values).min()
    middle = np.float32((low + high) / 2)
    wanted = sizes.astype(np.float32)
    others = [np.nextafter(middle, np.float32(end)) for end in (0, np.inf)]
    for scale in (middle, *others):
        if np.array_equal(values.astype(np.float32) * scale, wanted):
            return np.float32(scale)
    return None


def _distinct(tensor: Floats, size: int) -> Floats:
    """The distinct blocks of a tensor, flat; its last block is padded with zeros."""
    whole = np.zeros(-(-tensor.size // size) * size, "<f4")
    whole[: tensor.size] = tensor.reshape(-1)
    return np.unique(whole.view(f"V{4 * size}")).view("<f4")


def _as_set(halves: Floats, size: int) -> set[bytes]:
    data, width = halves.tobytes(), 2 * size
    return {data[n : n + width] for n in range(0, len(data), width)}
