"""The compiled loop of the order-0 code, of integers only."""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.codes.arithmetic import DECODING, code_bit
from kolmo.compiled import compiled

Array = Any

SEEN = 256  # what one digit adds to the counts of all tensors, which begin with a prior's fractions


@compiled
def code(
    symbols: Array, digits: int, counts: Array, trust: int, coder: Array, stream: Array
) -> None:
    """Code a tensor's symbols, or fill them in; so many of its digits weigh as much as all
    tensors' counts."""
    decoding = coder[DECODING] == 1
    own = np.zeros(counts.shape, np.int64)
    for i in range(symbols.size):
        symbol = 0 if decoding else int(symbols[i])
        node = 1
        for shift in range(digits - 1, -1, -1):
            known = (counts[node, 1] << 16) // (counts[node, 0] + counts[node, 1])
            total = own[node, 0] + own[node, 1] + trust
            probability = ((own[node, 1] << 16) + trust * known) // total
            y = code_bit((symbol >> shift) & 1, min(max(probability, 1), 65535), coder, stream)
            counts[node, y] += SEEN
            own[node, y] += 1
            node = 2 * node + y
        symbols[i] = node - (1 << digits)
