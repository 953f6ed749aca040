"""The compiled loops of the Lempel–Ziv parsings."""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled


@compiled
def find_smaller(order: Array, after: Array) -> None:
    """The nearest smaller start after each start in the order, or the number of symbols if there is
    none; ``order``, the suffix array, is lost.

    Starts that still wait for a smaller one form a stack, in the places of ``order`` that were read
    already.
    """
    top = -1
    for i in range(order.size):
        start = order[i]
        while top >= 0 and order[top] > start:
            after[order[top]] = start
            top -= 1
        top += 1
        order[top] = start
    for i in range(top + 1):
        after[order[i]] = order.size


@compiled
def count_phrases(symbols: Array, after: Array) -> int:
    """Phrases of the exhaustive history (Lempel & Ziv 1976), in linear time.

    A phrase is the longest stretch that also begins earlier, and one symbol more. The longest
    earlier occurrence of the stretch at i begins one of two suffixes: the nearest in the order, on
    each side, of those that start before i. ``after``, of one place more than there are symbols,
    holds the later one (`find_smaller`). The earlier one stands before that in the order of all
    suffixes that start before i, which is kept as a linked list in the same places: once i is
    passed, ``after[i]`` is the suffix before it (Kärkkäinen, Kempa & Puglisi 2013, KKP2).
    """
    end = symbols.size
    after[end] = -1
    phrases, following = 0, 0
    for i in range(end):
        later = after[i]
        before = after[later]
        after[later], after[i] = i, before
        if i == following:
            longest = _common(symbols, before, i)
            if later < end:
                longest = max(longest, _common(symbols, later, i))
            following += longest + 1
            phrases += 1
    return phrases


@compiled
def take_even(order: Array) -> None:
    """Move the even entries to the front, halved: the suffixes that begin at a whole symbol of two
    bytes, of all suffixes of bytes."""
    found = 0
    for start in order:
        if start % 2 == 0:
            order[found] = start // 2
            found += 1


@compiled
def _common(symbols: Array, a: int, b: int) -> int:
    """How many symbols from ``a`` on equal those from ``b`` on, a < b; 0 if ``a`` is −1."""
    if a < 0:
        return 0
    length = 0
    while b + length < symbols.size and symbols[a + length] == symbols[b + length]:
        length += 1
    return length


# --- the growing dictionary of 1978 ---------------------------------------------------------


@compiled
def parse_phrases(
    symbols: Array, alphabet: int, keys: Array, children: Array, phrases: Array, node: Array
) -> tuple[Array, Array]:
    """Parse symbols: follow phrases of the dictionary, and add a phrase where none goes on.

    ``keys`` and ``children`` are the dictionary, an open-addressed table with at least as many free
    places as there are symbols: phrase × alphabet + symbol + 1 → the phrase that is longer by the
    symbol. ``phrases`` is the number of phrases, ``node`` the current one, 0 for the empty phrase;
    returns both as they are after the symbols.
    """
    for i in range(symbols.size):
        key = np.uint64(node) * np.uint64(alphabet) + np.uint64(symbols[i]) + np.uint64(1)
        slot = _slot(key, keys)
        if keys[slot] == key:
            node = np.int64(children[slot])
        else:
            phrases += 1
            keys[slot], children[slot] = key, phrases
            node = 0
    return phrases, node


@compiled
def move_phrases(keys: Array, children: Array, to_keys: Array, to_children: Array) -> None:
    """Move the dictionary to a roomier one, ``to_keys`` and ``to_children``, which is all 0."""
    for i in range(keys.size):
        if keys[i]:
            slot = _slot(keys[i], to_keys)
            to_keys[slot], to_children[slot] = keys[i], children[i]


@compiled
def _slot(key: Array, keys: Array) -> Array:
    """The place of a key, or the free place for it; 0 marks a free place.

    The table's length is a power of two. The place is taken from bits 32 and up of the product with
    2^64 / golden ratio, which depend on more bits of the key than the lowest ones (multiplicative
    hashing).
    """
    mask = np.uint64(keys.size - 1)
    slot = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)
