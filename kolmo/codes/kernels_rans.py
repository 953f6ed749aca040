"""The compiled loops of the static range coder: four states take turns, so that none waits.

A state is a number of 32 bits that holds all that was coded and not yet written. To code a symbol
of share f / 2^14 is to multiply it by about 2^14 / f; decoding divides again, and so the last
symbol comes out first: the coder runs backwards. A state is at least 2^16; before it would reach
2^32 it gives sixteen bits away.
"""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled

DIGITS = 14
"""Shares of a table add up to two to the power of this."""

_MASK = np.uint64((1 << DIGITS) - 1)
_SHIFT, _HALF, _LOW = np.uint64(DIGITS), np.uint64(16), np.uint64(1 << 16)


@compiled
def count(symbols: Array, counts: Array) -> None:
    """Add how often each byte of ``symbols`` occurs to ``counts``, shape (256,).

    Four tables, by place: equal bytes come in rows, and an addition to a count that was just
    written would have to wait for it.
    """
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
    """Write the code of bytes, from the end of ``words`` on backwards; returns where it begins.

    ``shares`` and ``starts``, shape (256,), say which part of [0, 2^14) each symbol has; all that
    occur have some. ``states``, shape (4,), is written: the states that decoding begins with.
    """
    place = words.size
    a = b = c = state = _LOW  # four variables that move on, rather than an array: registers
    for i in range(symbols.size - 1, -1, -1):
        share, start = shares[symbols[i]], starts[symbols[i]]
        if state >= share << np.uint64(32 - DIGITS):  # it would pass 2^32: once is always enough
            place -= 1
            words[place] = state & np.uint64(0xFFFF)
            state >>= _HALF
        # Within the symbol's share the remainder, beyond it the quotient. A division of 32 bits
        # is quicker than one of 64.
        turns = np.uint64(np.uint32(state) // np.uint32(share))
        coded = (turns << _SHIFT) + (state - turns * share) + start
        state, a, b, c = a, b, c, coded
    states[0], states[1], states[2], states[3] = c, b, a, state
    return int(place)


@compiled
def decode(words: Array, states: Array, shares: Array, starts: Array, symbols: Array) -> bool:
    """Undo `encode`: write the bytes; False if the words end too early, or are not used up.

    ``words`` begins with the code, ``states`` are those that coding left.
    """
    # Which symbol has each number of [0, 2^14): 16 kB, a look instead of a search.
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
