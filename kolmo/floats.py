"""Floating-point bit patterns, and differences in the right arithmetic for each dtype.

Bit patterns of floats are mapped to integers in the order of their values, so that neighbouring
numbers have neighbouring integers, −0.0 and 0.0 too; those of integers are taken as they are.
Differences are modulo 2^w, w the dtype's width, so that every pair of values has one, NaN payloads
included; zigzag makes small differences of both signs small numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[Any]
Unsigned = NDArray[Any]
Floats = NDArray[np.float64]


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether weights of this dtype are floating-point numbers; ml_dtypes report kind V."""
    return dtype.kind in "fV"


def bit_patterns(weights: Weights) -> Unsigned:
    """The stored bits, as unsigned integers of the same width and shape."""
    return np.ascontiguousarray(weights).view(f"u{weights.dtype.itemsize}").reshape(weights.shape)


def ordered(weights: Weights) -> Unsigned:
    """Unsigned integers in the order of the values, for floats; else the bit patterns.

    >>> o = ordered(np.float32([-1.0, -0.0, 0.0, 1e-45])).astype(int)
    >>> (o - o[2]).tolist()
    [-1065353217, -1, 0, 1]
    """
    bits = bit_patterns(weights)
    return order_patterns(bits) if is_float(weights.dtype) else bits


def order_patterns(patterns: Unsigned) -> Unsigned:
    """Bit patterns of floats as unsigned integers in the order of the values.

    >>> order_patterns(np.uint8([0x80, 0x00])).tolist()  # -0 and 0 of any format of 8 bits
    [127, 128]
    """
    top = patterns.dtype.type(1 << (8 * patterns.itemsize - 1))
    return np.where(patterns & top, ~patterns, patterns | top)


def disorder_patterns(integers: Unsigned) -> Unsigned:
    """Undo `order_patterns`."""
    top = integers.dtype.type(1 << (8 * integers.itemsize - 1))
    return np.where(integers & top, integers ^ top, ~integers)


def unordered(integers: Unsigned, dtype: np.dtype[Any]) -> Weights:
    """Undo `ordered`.

    >>> unordered(ordered(np.float16([-0.0, 3.5])), np.dtype(np.float16))
    array([-0. ,  3.5], dtype=float16)
    """
    if is_float(dtype):
        integers = disorder_patterns(integers)
    return np.ascontiguousarray(integers).view(dtype).reshape(integers.shape)


def zigzag(differences: Unsigned) -> Unsigned:
    """0, −1, 1, −2, … modulo 2^w become 0, 1, 2, 3, …

    >>> zigzag(np.uint8([0, 255, 1, 254])).tolist()
    [0, 1, 2, 3]
    """
    signed = differences.view(f"i{differences.itemsize}")
    return (differences << 1) ^ (signed >> (8 * differences.itemsize - 1)).view(differences.dtype)


def exponents(weights: Weights) -> NDArray[np.int64]:
    """The magnitude of each weight as a small integer, for contexts: the exponent of floats, the
    number of binary digits of integers.

    >>> exponents(np.float32([1.0, 1.5, 2.0])).tolist(), exponents(np.int8([0, 5, -5])).tolist()
    ([127, 127, 128], [0, 3, 3])
    """
    if is_float(weights.dtype):
        magnitude = ordered(np.abs(weights))
        width, digits = 8 * weights.dtype.itemsize, mantissa_bits(weights.dtype)
        return ((magnitude >> digits).astype(np.int64)) & ((1 << (width - 1 - digits)) - 1)
    if weights.dtype.kind == "b":
        return weights.astype(np.int64)
    return np.frexp(np.abs(weights.astype(np.float64)))[1].astype(np.int64)


def mantissa_bits(dtype: np.dtype[Any]) -> int:
    """Stored bits of the mantissa.

    >>> mantissa_bits(np.dtype(np.float32))
    23
    """
    import ml_dtypes

    finfo: Any = ml_dtypes.finfo
    return int(finfo(dtype).nmant)


def least_exponent(dtype: np.dtype[Any]) -> int:
    """The exponent of the least positive number.

    >>> least_exponent(np.dtype(np.float16)), least_exponent(np.dtype(np.float32))
    (-24, -149)
    """
    import ml_dtypes

    finfo: Any = ml_dtypes.finfo
    return math.frexp(float(finfo(dtype).smallest_subnormal))[1] - 1


def neighbours(weights: Weights) -> tuple[Floats, Floats]:
    """The next lower and the next higher number of the dtype, as float64."""
    place, one = ordered(weights), np.array(1, f"u{weights.dtype.itemsize}")
    low, high = (unordered(p, weights.dtype) for p in (place - one, place + one))
    return low.astype(np.float64), high.astype(np.float64)
