"""The dtypes that weights may have, by the names that numpy, torch and ml_dtypes give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

EXTENDED_DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
}
"""Floating-point formats that numpy lacks."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "bool": np.dtype(bool),
    **{f"int{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **EXTENDED_DTYPES,
}
"""All of them: booleans, integers, floats."""
