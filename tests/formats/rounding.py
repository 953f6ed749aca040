"""Weights rounded to a dtype, as bit patterns (docs/formats/kmo.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SMALL = {"bfloat16": (8, 7), "float8_e4m3fn": (4, 3), "float8_e5m2": (5, 2)}


def to_bits(values: Array, dtype: str) -> Array:
    """Nearest, ties to even; to the formats of few bits by way of float32."""
    with np.errstate(over="ignore"):
        if dtype not in SMALL:
            return values.astype(dtype).view(f"u{np.dtype(dtype).itemsize}")
        narrow = values.astype(np.float32)
    width = "u2" if dtype == "bfloat16" else "u1"
    return np.array([nearest(float(value), dtype) for value in narrow.reshape(-1)], width)


def nearest(value: float, dtype: str) -> int:
    exponent_bits, mantissa_bits = SMALL[dtype]
    sign = int(np.signbit(value)) << (exponent_bits + mantissa_bits)
    low, high = 0, overflow(dtype)
    while high - low > 1:  # patterns are in the order of magnitudes
        middle = (low + high) // 2
        low, high = (middle, high) if magnitude(middle, dtype) <= abs(value) else (low, middle)
    below, above = magnitude(low, dtype), magnitude(high, dtype)
    up = 2 * abs(value) > below + above or (2 * abs(value) == below + above and low % 2)
    return sign | (high if up else low)


def overflow(dtype: str) -> int:
    """What is taken for too large: infinity, or NaN where there is none."""
    return {"bfloat16": 0x7F80, "float8_e4m3fn": 0x7F, "float8_e5m2": 0x7C}[dtype]


def magnitude(pattern: int, dtype: str) -> float:
    """The value of a pattern without sign, were the largest exponent an ordinary one."""
    exponent_bits, mantissa_bits = SMALL[dtype]
    exponent, mantissa = divmod(pattern, 1 << mantissa_bits)
    leading = mantissa + (1 << mantissa_bits if exponent else 0)
    bias = (1 << (exponent_bits - 1)) - 1
    return leading * 2.0 ** (max(exponent, 1) - bias - mantissa_bits)


def to_floats(bits: Array, dtype: str) -> Array:
    """Finite bit patterns as float64."""
    if dtype not in SMALL:
        return bits.view(dtype).astype(np.float64)
    top = 1 << sum(SMALL[dtype])
    signs = np.where(bits & top, -1.0, 1.0)
    sizes = [magnitude(int(pattern) & (top - 1), dtype) for pattern in bits.reshape(-1)]
    return signs * np.array(sizes, np.float64).reshape(bits.shape)
