"""The arithmetic coder: binary decisions to bytes and back, 32 bits wide, without carries.

All arithmetic is of integers, so that every machine reads what any other one writes. A decision's
probability has 16 bits; the lower part of the range stands for a 1 (after Mahoney, "Adaptive
weighing of context models for lossless data compression", Florida Tech CS-2005-16). Bits that
nothing predicts bypass the coder: they go unchanged to a stream of their own.

The compiled functions are inlined into their callers, where most of what they are given is at hand.

docs/formats/codes.md specifies it.
"""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled

# Registers of the coder: the current range [LOW, HIGH] of 32 bits; when decoding, the 32 bits of
# the stream that lie in it; the place of the stream's next byte; whether it is decoding.
LOW, HIGH, CODE, PLACE, DECODING = range(5)
# Registers of the plain bits: how many wait for a whole byte, those bits, the next byte's place.
FILLED, HELD, WRITTEN = range(3)


def new_coder(stream: Array, decoding: bool) -> Array:
    """The registers before the first decision, to write to the stream or to read from it."""
    coder = np.array([0, 0xFFFFFFFF, 0, 0, int(decoding)], np.int64)
    if decoding:
        head = stream[:4].tobytes().ljust(4, b"\0")
        coder[CODE], coder[PLACE] = int.from_bytes(head, "big"), 4
    return coder


def last_bytes(coder: Array) -> bytes:
    """The end of the stream: one byte at most, after which zeros are read that stay in range."""
    return bytes([(int(coder[LOW]) >> 24) + 1]) if coder[LOW] else b""


@compiled(inline=True)
def code_bit(y: int, probability: int, coder: Array, stream: Array) -> int:
    """Write a decision, or read it.

    ``y`` is the decision, 0 or 1 (ignored when decoding), ``probability`` that of a 1 in
    65,536ths, 1 to 65,535. Returns the decision; ``coder`` and ``stream`` are changed.

    The range is cut in two in proportion to the probability, and the decision's part is kept: the
    lower one for a 1. Leading bytes that both ends share are final and are written.
    """
    low, high = coder[LOW], coder[HIGH]
    width = high - low
    # width × probability / 2^16, in two halves: the product stays within 32 bits and a sign, so
    # that narrower integers than these could do it too.
    middle = low + (width >> 16) * probability + (((width & 0xFFFF) * probability) >> 16)
    if coder[DECODING]:
        y = int(coder[CODE] <= middle)
    if y:
        high = middle
    else:
        low = middle + 1
    # Bytes move out only when both ends share them, so that no carry ever runs back into what was
    # written. A range that straddles a byte border may shrink to few values before that; in four
    # million decisions this cost less than a byte (at p = 1/2, .9, .01, .001 and at random p).
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


@compiled(inline=True)
def code_plain(value: int, bits: int, state: Array, stream: Array, decoding: bool) -> int:
    """Write up to 55 bits unchanged, or read them, the least significant first.

    ``value`` is below 2^bits (ignored when decoding). Returns it; ``state`` and ``stream`` are
    changed. The limit is 55 because up to seven bits may still wait and all must fit in a signed
    word of 64.
    """
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
