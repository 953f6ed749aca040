"""The compiled loop of the order-0 code, of integers only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kolmo.codec.arithmetic import DECODING, code_bit

Array = Any


def new_counts(digits: int) -> Array:
    """How often each digit was 0 and 1 after the digits before it."""
    return np.zeros((1 << digits, 2), np.int64)


@njit(nogil=True, cache=True)
def code(symbols: Array, digits: int, counts: Array, coder: Array, stream: Array) -> None:
    """Code all symbols, or fill them in."""
    decoding = coder[DECODING] == 1
    for i in range(symbols.size):
        symbol = 0 if decoding else int(symbols[i])
        node = 1
        for shift in range(digits - 1, -1, -1):
            ones, total = counts[node, 1], counts[node, 0] + counts[node, 1]
            probability = (2 * ones + 1) * 32768 // (total + 1)
            y = code_bit((symbol >> shift) & 1, min(max(probability, 1), 65535), coder, stream)
            counts[node, y] += 1
            node = 2 * node + y
        symbols[i] = node - (1 << digits)
