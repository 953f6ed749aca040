"""Floating-point bit patterns, and differences in the right arithmetic for each dtype.

Bit patterns of floats are mapped to integers in the order of their values, so that neighbouring
numbers have neighbouring integers, −0.0 and 0.0 too; those of integers are taken as they are.
Differences are modulo 2^w, w the dtype's width, so that every pair of values has one, NaN payloads
included; zigzag makes small differences of both signs small numbers.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.dtypes import DTYPES, bits_of

Weights = NDArray[Any]
Unsigned = NDArray[Any]
Floats = NDArray[np.float64]


@functools.cache
def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether weights of this dtype are floating-point numbers; ml_dtypes report kind V.

    >>> is_float(DTYPES["bfloat16"]), is_float(DTYPES["int4"])
    (True, False)
    """
    return dtype.kind == "f" or (dtype.kind == "V" and "float" in dtype.name)


@functools.cache
def has_sign(dtype: np.dtype[Any]) -> bool:
    """Whether weights of this dtype are floating-point numbers of both signs.

    >>> has_sign(DTYPES["float4_e2m1fn"]), has_sign(DTYPES["float8_e8m0fnu"])
    (True, False)
    """
    return is_float(dtype) and dtype.name not in _UNSIGNED


def bit_patterns(weights: Weights) -> Unsigned:
    """The stored bits, as unsigned integers of the same width and shape.

    >>> bit_patterns(np.array([-1, 7], DTYPES["int4"])).tolist()  # a byte each, of which 4 bits
    [15, 7]
    """
    whole = np.ascontiguousarray(weights).view(f"u{weights.dtype.itemsize}").reshape(weights.shape)
    bits = bits_of(weights.dtype)
    return whole & whole.dtype.type((1 << bits) - 1) if bits < 8 else whole


def ordered(weights: Weights) -> Unsigned:
    """Unsigned integers in the order of the values, for floats; else the bit patterns.

    >>> o = ordered(np.float32([-1.0, -0.0, 0.0, 1e-45])).astype(int)
    >>> (o - o[2]).tolist()
    [-1065353217, -1, 0, 1]
    """
    bits = bit_patterns(weights)
    return order_patterns(bits, weights.dtype.name) if is_float(weights.dtype) else bits


def order_patterns(patterns: Unsigned, format: str) -> Unsigned:
    """Bit patterns of floats of a format as unsigned integers in the order of the values.

    The one NaN of the formats without negative zero, which has the pattern of a sign alone, comes
    below zero.

    >>> order_patterns(np.uint8([0x80, 0x00]), "float8_e5m2").tolist()  # -0 and 0
    [127, 128]
    >>> order_patterns(np.uint8([0b1001, 0b0001]), "float4_e2m1fn").tolist()  # -0.5 and 0.5
    [6, 9]
    """
    if format in _UNSIGNED:
        return patterns
    top, all_bits = _masks(patterns, format)
    return np.asarray(np.where(patterns & top, ~patterns & all_bits, patterns | top))


def disorder_patterns(integers: Unsigned, format: str) -> Unsigned:
    """Undo `order_patterns`."""
    if format in _UNSIGNED:
        return integers
    top, all_bits = _masks(integers, format)
    return np.asarray(np.where(integers & top, integers ^ top, ~integers) & all_bits)


_UNSIGNED = ("float8_e8m0fnu",)
"""Formats of powers of two alone, whose patterns are in the order of the values."""


def _masks(patterns: Unsigned, format: str) -> tuple[Any, Any]:
    """The sign's bit, and all bits of a format."""
    bits, one = bits_of(DTYPES[format]), patterns.dtype.type
    return one(1 << (bits - 1)), one((1 << bits) - 1)


def unordered(integers: Unsigned, dtype: np.dtype[Any]) -> Weights:
    """Undo `ordered`.

    >>> unordered(ordered(np.float16([-0.0, 3.5])), np.dtype(np.float16))
    array([-0. ,  3.5], dtype=float16)
    """
    if is_float(dtype):
        integers = disorder_patterns(integers, dtype.name)
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
        signed = weights.dtype.name not in _UNSIGNED
        digits = mantissa_bits(weights.dtype)
        width = bits_of(weights.dtype) - digits - signed
        return (bit_patterns(weights) >> digits).astype(np.int64) & ((1 << width) - 1)
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
