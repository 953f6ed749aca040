"""The compiled loops of learned mosaics: which motif each block gets, and the sums behind motifs.

Costs are squared distances of blocks divided by their row's scale, plus ``rate`` times the bits of
the motif's index; |block|², the same for all motifs, is left out. float32, in a fixed order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Array = Any

_CHUNK = 1024  # blocks at a time: their costs stay in a processor's cache


@njit(nogil=True, cache=True)
def assign_blocks(
    blocks: Array,
    columns: int,
    scales: Array,
    motifs: Array,
    zero_bits: Array,
    other_bits: Array,
    motif_bits: Array,
    rate: float,
    indices: Array,
    projected: Array,
) -> None:
    """The cheapest motif of each block, and what the blocks become.

    ``scales`` has one value, or one for each row of ``columns`` blocks. An index costs
    ``zero_bits`` of its block if it is 0, else ``other_bits`` and ``motif_bits`` of the motif.
    """
    k, size = motifs.shape
    scaled = np.empty((size, _CHUNK), np.float32)
    cost, best = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    chosen = np.empty(_CHUNK, np.uint32)
    each = np.full(_CHUNK, scales[0], np.float32)
    paid = np.float32(rate)
    for start in range(0, blocks.shape[0], _CHUNK):
        count = min(_CHUNK, blocks.shape[0] - start)
        if scales.size > 1:
            for i in range(count):
                each[i] = scales[(start + i) // columns]
        for d in range(size):
            for i in range(count):
                scaled[d, i] = blocks[start + i, d] * np.float32(-2) / each[i]
        for i in range(count):
            best[i] = paid * zero_bits[start + i]
            chosen[i] = 0
        for j in range(1, k):
            fixed = paid * motif_bits[j]
            for d in range(size):
                fixed += motifs[j, d] * motifs[j, d]
            for i in range(count):
                cost[i] = paid * other_bits[start + i] + fixed
            for d in range(size):
                value = motifs[j, d]
                for i in range(count):
                    cost[i] += scaled[d, i] * value
            for i in range(count):
                nearer = cost[i] < best[i]
                best[i] = cost[i] if nearer else best[i]
                chosen[i] = np.uint32(j) if nearer else chosen[i]
        for i in range(count):
            indices[start + i] = chosen[i]
        for d in range(size):
            for i in range(count):
                projected[start + i, d] = motifs[chosen[i], d] * each[i]


@njit(nogil=True, cache=True)
def add_blocks(
    blocks: Array,
    whole: int,
    columns: int,
    scales: Array,
    indices: Array,
    sums: Array,
    counts: Array,
) -> None:
    """Add the scaled blocks, but the padded one, to the sums and counts of their motifs."""
    for b in range(whole):
        scale = scales[b // columns] if scales.size > 1 else scales[0]
        motif = indices[b]
        counts[motif] += 1
        for d in range(blocks.shape[1]):
            sums[motif, d] += blocks[b, d] / scale
