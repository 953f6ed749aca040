"""The compiled loop of the order-0 code, of integers only."""

from __future__ import annotations

import numpy as np

from kolmo.codes.arithmetic import DECODING, code_bit
from kolmo.compiled import Array, compiled

SEEN = 256  # added for each digit to the counts of all tensors, whose priors are fractions of it


@compiled(allocates=True)
def code(
    symbols: Array, digits: int, counts: Array, trust: int, coder: Array, stream: Array
) -> None:
    """Encode a tensor's symbols, or decode into them.

    Parameters
    ----------
    symbols : unsigned integer ndarray
        Flat; read when coding, written when decoding.
    digits : int
        Binary digits of a symbol.
    counts : int64 ndarray, shape (2^digits, 2)
        How often each digit was 0 and 1 in all tensors so far, prior included, in 256ths. The row
        is a leading 1 followed by the digits before this one. Changed.
    trust : int
        How many of the tensor's own digits weigh as much as the counts of all tensors.
    coder, stream
        See `kolmo.codes.arithmetic`; changed.
    """
    decoding = coder[DECODING] == 1
    own = np.zeros(counts.shape, np.int64)
    for i in range(symbols.size):
        symbol = 0 if decoding else int(symbols[i])
        node = 1
        for shift in range(digits - 1, -1, -1):
            # The share of 1's in all tensors is the prior of this tensor's share: layers differ in
            # scale, and a small one needs a start.
            known = (counts[node, 1] << 16) // (counts[node, 0] + counts[node, 1])
            total = own[node, 0] + own[node, 1] + trust
            probability = ((own[node, 1] << 16) + trust * known) // total
            y = code_bit((symbol >> shift) & 1, min(max(probability, 1), 65535), coder, stream)
            counts[node, y] += SEEN
            own[node, y] += 1
            node = 2 * node + y
        symbols[i] = node - (1 << digits)
