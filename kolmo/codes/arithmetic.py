"""The arithmetic coder: binary decisions to bytes and back, 32 bits wide, without carries.

All arithmetic is of integers, so that what one machine writes every other one reads. A decision's
probability has 16 bits; the lower part of the range is 1's (after Mahoney, "Adaptive weighing of
context models for lossless data compression", Florida Tech CS-2005-16). Bits that nothing predicts
go past it, as they are, to a stream of their own.

The compiled functions are inlined where they are called: a call would count references to every
array that it is given, which takes longer than the decision.

docs/formats/codes.md specifies it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import compiled

Array = Any

# Places of the coder's registers, and of those of plain bits.
LOW, HIGH, CODE, PLACE, DECODING = range(5)
FILLED, HELD, WRITTEN = range(3)


def new_coder(stream: Array, decoding: bool) -> Array:
    """The registers before the first decision, to write to the stream or to read from it."""
    coder = np.array([0, 0xFFFFFFFF, 0, 0, int(decoding)], np.int64)
    if decoding:
        head = stream[:4].tobytes().ljust(4, b"\0")
        coder[CODE], coder[PLACE] = int.from_bytes(head, "big"), 4
    return coder


def last_bytes(coder: Array) -> bytes:
    """What ends the stream: one byte tells the last range apart, whatever zeros are read after."""
    return bytes([(int(coder[LOW]) >> 24) + 1]) if coder[LOW] else b""


@compiled(inline="always")
def code_bit(y: int, probability: int, coder: Array, stream: Array) -> int:
    """Write a decision, or read it: the lower part of the range is 1's."""
    low, high = coder[LOW], coder[HIGH]
    width = high - low
    middle = low + (width >> 16) * probability + (((width & 0xFFFF) * probability) >> 16)
    if coder[DECODING]:
        y = int(coder[CODE] <= middle)
    if y:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) & 0xFF000000 == 0:
        place = coder[PLACE]
        coder[PLACE] = place + 1
        if coder[DECODING]:  # zeros follow the stream's end
            byte = int(stream[place]) if place < stream.size else 0
            coder[CODE] = ((coder[CODE] << 8) & 0xFFFFFFFF) | byte
        else:
            stream[place] = high >> 24
        low = (low << 8) & 0xFFFFFFFF
        high = ((high << 8) & 0xFFFFFFFF) | 0xFF
    coder[LOW] = low
    coder[HIGH] = high
    return y


@compiled(inline="always")
def code_plain(value: int, bits: int, state: Array, stream: Array, decoding: bool) -> int:
    """Write up to 55 bits as they are, or read them, the least significant first."""
    if decoding:
        while state[FILLED] < bits:
            place = state[WRITTEN]
            state[WRITTEN] = place + 1
            byte = int(stream[place]) if place < stream.size else 0
            state[HELD] |= byte << state[FILLED]
            state[FILLED] += 8
        value = state[HELD] & ((1 << bits) - 1)
        state[HELD] >>= bits
        state[FILLED] -= bits
    else:
        state[HELD] |= value << state[FILLED]
        state[FILLED] += bits
        while state[FILLED] >= 8:
            stream[state[WRITTEN]] = state[HELD] & 255
            state[WRITTEN] += 1
            state[HELD] >>= 8
            state[FILLED] -= 8
    return value
