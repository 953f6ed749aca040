"""The dtypes that weights may have, by the names that numpy, torch and ml_dtypes give them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

_NARROW = {
    "float6_e2m3fn": 6,
    "float6_e3m2fn": 6,
    "float4_e2m1fn": 4,
    "int4": 4,
    "uint4": 4,
    "int2": 2,
    "uint2": 2,
}
"""Bits of the dtypes that are narrower than a byte; in memory each number has a byte."""

EXTENDED_DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in (
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e4m3b11fnuz",
        "float8_e3m4",
        "float8_e4m3",
        "float8_e8m0fnu",
        *_NARROW,
    )
}
"""Numbers that numpy lacks: floating-point formats, and integers narrower than a byte."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "bool": np.dtype(bool),
    **{f"int{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **EXTENDED_DTYPES,
}
"""All of them: booleans, integers, floats."""

PARTS: Mapping[str, np.dtype[Any]] = {
    "complex32": np.dtype(np.float16),
    "bcomplex32": EXTENDED_DTYPES["bfloat16"],
    "complex64": np.dtype(np.float32),
    "complex128": np.dtype(np.float64),
}
"""Complex dtypes, and that of their real and imaginary parts, which are two weights each."""


@functools.cache
def bits_of(dtype: np.dtype[Any]) -> int:
    """Bits of a number: those that a file needs, of which memory may take more.

    >>> bits_of(np.dtype(np.float16)), bits_of(DTYPES["float4_e2m1fn"]), bits_of(DTYPES["int2"])
    (16, 4, 2)
    """
    return _NARROW.get(dtype.name, 8 * dtype.itemsize)
