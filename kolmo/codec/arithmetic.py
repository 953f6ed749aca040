"""The arithmetic coder: binary decisions to bytes and back, 32 bits wide, without carries.

All arithmetic is of integers, so that what one machine writes every other one reads. A decision's
probability has 16 bits; the lower part of the range is 1's (after Mahoney, "Adaptive weighing of
context models for lossless data compression", Florida Tech CS-2005-16).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Array = Any

# Places of the coder's registers.
LOW, HIGH, CODE, PLACE, DECODING = range(5)


def new_coder(stream: Array, decoding: bool) -> Array:
    """The registers before the first decision, to write to the stream or to read from it."""
    coder = np.array([0, 0xFFFFFFFF, 0, 0, int(decoding)], np.int64)
    if decoding:
        for _ in range(4):
            coder[CODE] = (coder[CODE] << 8) | _next_byte.py_func(coder, stream)
    return coder


def last_bytes(coder: Array) -> bytes:
    """What ends the stream: one byte tells the last range apart, whatever zeros are read after."""
    return bytes([(int(coder[LOW]) >> 24) + 1]) if coder[LOW] else b""


@njit(nogil=True, cache=True)
def code_bit(y: int, probability: int, coder: Array, stream: Array) -> int:
    """Write a decision, or read it: the lower part of the range is 1's."""
    low, high = coder[LOW], coder[HIGH]
    middle = (
        low + ((high - low) >> 16) * probability + (((high - low & 0xFFFF) * probability) >> 16)
    )
    if coder[DECODING]:
        y = int(coder[CODE] <= middle)
    if y:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) & 0xFF000000 == 0:
        if coder[DECODING]:
            coder[CODE] = ((coder[CODE] << 8) & 0xFFFFFFFF) | _next_byte(coder, stream)
        else:
            stream[coder[PLACE]] = high >> 24
            coder[PLACE] += 1
        low = (low << 8) & 0xFFFFFFFF
        high = ((high << 8) & 0xFFFFFFFF) | 0xFF
    coder[LOW], coder[HIGH] = low, high
    return y


@njit(nogil=True, cache=True)
def _next_byte(coder: Array, stream: Array) -> int:
    """The next byte of the stream; zeros follow its end."""
    place = coder[PLACE]
    coder[PLACE] += 1
    return int(stream[place]) if place < stream.size else 0
