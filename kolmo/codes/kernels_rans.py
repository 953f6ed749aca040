"""The compiled loops of the static range coder: four states take turns, so that none waits.

A state is at least 2^16; before it would reach 2^32 it gives sixteen bits away.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import compiled

Array = Any

DIGITS = 14
"""Shares of a table add up to two to the power of this."""

_MASK = np.uint64((1 << DIGITS) - 1)
_SHIFT, _HALF, _LOW = np.uint64(DIGITS), np.uint64(16), np.uint64(1 << 16)


@compiled
def count(symbols: Array, counts: Array) -> None:
    """Add up how often each byte occurs; by places in turn, for equal bytes come in rows."""
    turns = np.zeros((4, 256), np.uint32)
    whole = symbols.size & ~3
    for i in range(0, whole, 4):
        turns[0, symbols[i]] += np.uint32(1)
        turns[1, symbols[i + 1]] += np.uint32(1)
        turns[2, symbols[i + 2]] += np.uint32(1)
        turns[3, symbols[i + 3]] += np.uint32(1)
    for i in range(whole, symbols.size):
        turns[0, symbols[i]] += np.uint32(1)
    for turn in range(4):
        for value in range(256):
            counts[value] += turns[turn, value]


@compiled
def encode(symbols: Array, shares: Array, starts: Array, words: Array, states: Array) -> int:
    """Write words from the end of ``words`` on backwards; where the first one is."""
    place = words.size
    a = b = c = state = _LOW
    for i in range(symbols.size - 1, -1, -1):
        share, start = shares[symbols[i]], starts[symbols[i]]
        if state >= share << np.uint64(32 - DIGITS):
            place -= 1
            words[place] = state & np.uint64(0xFFFF)
            state >>= _HALF
        turns = np.uint64(np.uint32(state) // np.uint32(share))
        coded = (turns << _SHIFT) + (state - turns * share) + start
        state, a, b, c = a, b, c, coded
    states[0], states[1], states[2], states[3] = c, b, a, state
    return int(place)


@compiled
def decode(words: Array, states: Array, shares: Array, starts: Array, symbols: Array) -> bool:
    """Undo `encode`; False if the words end too early, or are not used up."""
    named = np.empty(1 << DIGITS, np.uint8)
    for symbol in range(shares.size):
        named[starts[symbol] : starts[symbol] + shares[symbol]] = symbol
    place = 0
    state, a, b, c = states[0], states[1], states[2], states[3]
    for i in range(symbols.size):
        slot = state & _MASK
        symbol = named[slot]
        state = shares[symbol] * (state >> _SHIFT) + slot - starts[symbol]
        if state < _LOW:
            if place == words.size:
                return False
            state = (state << _HALF) | np.uint64(words[place])
            place += 1
        symbols[i] = symbol
        state, a, b, c = a, b, c, state
    return bool(place == words.size)
