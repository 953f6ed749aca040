"""The compiled loops of the rANS coder: four states take turns, so that none waits for another.

A state is a number of 32 bits that holds what was coded and not yet written. Coding a symbol of
frequency f / 2^14 multiplies the state by about 2^14 / f; decoding divides again, so that the last
symbol comes out first: the coder runs backwards. A state is at least 2^16; before it would reach
2^32 its lower sixteen bits are written.
"""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled

DIGITS = 14
"""The frequencies of a table add up to two to the power of this."""

_MASK = np.uint64((1 << DIGITS) - 1)
_SHIFT, _HALF, _LOW = np.uint64(DIGITS), np.uint64(16), np.uint64(1 << 16)
_ONE, _FOUR, _WORD = np.uint64(1), np.uint64(4), np.uint64(0xFFFF)


@compiled(allocates=True)
def count(symbols: Array, counts: Array) -> None:
    """Add how often each byte of ``symbols`` occurs to ``counts``, shape (256,).

    Four tables take turns: equal bytes often follow each other, and an addition to a count that was
    just written would have to wait for it.
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


@compiled(allocates=True)
def encode(symbols: Array, shares: Array, starts: Array, words: Array, states: Array) -> int:
    """Write the code of bytes backwards from the end of ``words``; returns where it begins.

    ``shares`` and ``starts``, shape (256,), are the interval of [0, 2^14) of each symbol, not empty
    for symbols that occur. ``words`` has one more than there are symbols. ``states``, shape (4,),
    is written: decoding begins with it.
    """
    table = _encoding_table(shares, starts)
    place = words.size
    a = b = c = state = _LOW  # four variables that rotate, rather than an array, stay in registers
    for i in range(symbols.size - 1, -1, -1):
        row = table[symbols[i]]
        # If the state would reach 2^32, one word goes out. Which symbols make it so is like noise:
        # without a branch, no processor guesses wrong.
        out = np.uint64(state >= row[0])
        words[place - 1] = np.uint16(state & _WORD)
        place -= np.int64(out)
        state >>= out << _FOUR
        # The remainder goes into the symbol's interval, the quotient above it.
        turns = (state * row[1] + row[2]) >> row[3]
        state, a, b, c = a, b, c, state + row[4] + turns * row[5]
    states[0], states[1], states[2], states[3] = c, b, a, state
    return int(place)


@compiled(allocates=True)
def _encoding_table(shares: Array, starts: Array) -> Array:
    """Of each symbol: the state from which on a word goes out; a factor, a summand and a shift that
    divide by its share; its start; what a quotient adds to the state.

    A state x to be divided is below share · 2^18. With bits so that 2^(bits − 1) < share <= 2^bits,
    k = 31 + bits and the factor m = ceil(2^k / share), x · m >> k is the quotient if x times the
    excess e = m · share − 2^k is below 2^k: always if e <= 2^13. Else share − e is, and with
    m − 1 for the factor and for the summand the quotient is right. Products stay below 2^64.
    """
    table = np.empty((shares.size, 6), np.uint64)
    for symbol in range(shares.size):
        share, bits = max(shares[symbol], _ONE), np.uint64(0)
        while _ONE << bits < share:
            bits += _ONE
        shift = np.uint64(31) + bits
        factor = ((_ONE << shift) + share - _ONE) // share
        table[symbol, 1], table[symbol, 2] = factor, np.uint64(0)
        if factor * share - (_ONE << shift) > _ONE << np.uint64(13):
            table[symbol, 1] = table[symbol, 2] = factor - _ONE
        table[symbol, 0], table[symbol, 3] = share << np.uint64(32 - DIGITS), shift
        table[symbol, 4], table[symbol, 5] = starts[symbol], np.uint64(1 << DIGITS) - share
    return table


@compiled(allocates=True)
def decode(words: Array, states: Array, shares: Array, starts: Array, symbols: Array) -> bool:
    """Undo `encode`: write the bytes; False if the words end too early, or are not used up.

    ``words`` is the code from its beginning, ``states`` are those that `encode` wrote.
    """
    # The symbol of each number of [0, 2^14), 16 kB: a look-up instead of a search.
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
