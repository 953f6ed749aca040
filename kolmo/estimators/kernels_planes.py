"""The compiled loops of the bit-plane code."""

from __future__ import annotations

import math

import numpy as np

from kolmo.compiled import Array, compiled


@compiled
def count_bits(symbols: Array, planes: int, recent: Array, above: Array, before: Array) -> None:
    """Add the bits of symbols (unsigned) to the counts of their plane and context.

    ``above`` and ``before`` have shape (planes, 256, 2), the most significant plane first: how
    often each bit followed the 8 bits of the higher planes, and the last 8 bits of its own plane,
    which ``recent`` keeps between calls. The nearest bit is the lowest of a context.
    """
    one, mask = np.uint64(1), np.uint64(255)
    for i in range(symbols.size):
        symbol = np.uint64(symbols[i])
        higher = np.uint64(0)
        for p in range(planes):
            bit = (symbol >> np.uint64(planes - 1 - p)) & one
            above[p, higher, bit] += 1
            before[p, recent[p], bit] += 1
            higher = ((higher << one) | bit) & mask
            recent[p] = ((recent[p] << one) | bit) & mask


@compiled
def kt_bits(counts: Array) -> float:
    """Bits of the Krichevsky–Trofimov code of a sequence of bits with these counts by context.

    ``counts`` has shape (contexts, 2); each context has a code of its own, with probability
    Γ(zeros + ½) Γ(ones + ½) / (π Γ(zeros + ones + 1)).
    """
    nats = 0.0
    for c in range(counts.shape[0]):
        zeros, ones = counts[c, 0], counts[c, 1]
        if zeros + ones:
            nats += math.lgamma(zeros + ones + 1.0) + math.log(math.pi)
            nats -= math.lgamma(zeros + 0.5) + math.lgamma(ones + 0.5)
    return nats / math.log(2.0)
