"""Scales as 8-bit codes: eighths of an octave below a power of two."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kolmo.quantize.scales import Floats

Codes = NDArray[np.uint8]

STEPS = 8
"""Codes to an octave."""

LAST = 255
"""The code of the least scale, 2^(−31 7/8), which rows of zeros have too."""


def octave_codes(scales: Floats) -> tuple[Codes, int]:
    """Codes k of scales near 2^(e − k/8), and e, the least power of two above them all.

    >>> octave_codes(np.array([4.0, 3.0, 1.0, 0.0]))
    (array([  0,   3,  16, 255], dtype=uint8), 2)
    """
    largest = float(scales.max(initial=0.0))
    if not largest:
        return np.full(scales.shape, LAST, np.uint8), 0
    mantissa, exponent = math.frexp(largest)
    exponent -= mantissa == 0.5
    with np.errstate(divide="ignore"):
        below = STEPS * (exponent - np.log2(scales))
    return np.rint(np.clip(below, 0, LAST)).astype(np.uint8), exponent


def octave_scales(codes: Codes) -> Floats:
    """The scales 2^(−k/8) of codes.

    >>> octave_scales(np.uint8([0, 8, 255])).round(12).tolist()
    [1.0, 0.5, 2.54e-10]
    """
    return _SCALES[codes]


def _scales() -> Floats:
    """All scales, from square roots alone, which every machine rounds alike."""
    half = math.sqrt(0.5)
    quarter, eighth = math.sqrt(half), math.sqrt(math.sqrt(half))
    fractions = [math.prod(root for bit, root in ((4, half), (2, quarter), (1, eighth)) if k & bit)
                 for k in range(STEPS)]  # fmt: skip
    return np.array([math.ldexp(fractions[k % STEPS], -(k // STEPS)) for k in range(LAST + 1)])


_SCALES = _scales()
