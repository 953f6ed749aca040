"""The compiled loop of the Lempel–Ziv complexity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Array = Any


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def _common(symbols: Array, a: int, b: int) -> int:
    """How many symbols from ``a`` on, −1 for none, equal those from ``b`` on; a < b."""
    if a < 0:
        return 0
    length = 0
    while b + length < symbols.size and symbols[a + length] == symbols[b + length]:
        length += 1
    return length
