"""The compiled loops of the Lempel–Ziv parsings."""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import compiled

Array = Any


@compiled
def count_phrases(symbols: Array, order: Array) -> int:
    """Phrases of the exhaustive history, from the suffix array; in linear time.

    The longest earlier occurrence of what begins at i is one of two suffixes: the nearest that
    begins before i, on either side of it in the order (Kärkkäinen, Kempa & Puglisi 2013).
    """
    before, after = np.empty(order.size, np.int32), np.empty(order.size, np.int32)
    top = -1
    for i in order:
        while top > i:
            after[top] = i
            top = before[top]
        before[i] = top
        top = i
    while top >= 0:
        after[top] = -1
        top = before[top]

    phrases, i = 0, 0
    while i < symbols.size:
        longest = max(_common(symbols, before[i], i), _common(symbols, after[i], i))
        i += longest + 1
        phrases += 1
    return phrases


@compiled
def _common(symbols: Array, a: int, b: int) -> int:
    """How many symbols from ``a`` on, −1 for none, equal those from ``b`` on; a < b."""
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
    """Walk down the dictionary, and add a phrase where it ends; how many phrases there are then,
    and at which of them the walk stands."""
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
    """Move the dictionary to a roomier one."""
    for i in range(keys.size):
        if keys[i]:
            slot = _slot(keys[i], to_keys)
            to_keys[slot], to_children[slot] = keys[i], children[i]


@compiled
def _slot(key: Array, keys: Array) -> Array:
    """Where the key is, or the free place for it; 0 stands for a free place."""
    mask = np.uint64(keys.size - 1)
    slot = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)
