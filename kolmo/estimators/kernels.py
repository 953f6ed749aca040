"""The compiled inner loops, nothing else.

Plain loops over flat arrays, compiled by numba when first called and cached on disk; they hold no
lock, so that lanes run side by side. Callers allocate, check and interpret.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

Array = Any


# --- counting symbols -----------------------------------------------------------------------


@njit(nogil=True, cache=True)
def count_symbols(symbols: Array, counts: Array) -> None:
    """Add the symbols (unsigned) to their counts."""
    for i in range(symbols.size):
        counts[symbols[i]] += 1


@njit(nogil=True, cache=True)
def count_bytes(data: Array, counts: Array) -> None:
    """Add bytes to the counts of their byte-plane; ``counts`` has shape (planes, 256)."""
    planes = counts.shape[0]
    for i in range(0, data.size, planes):
        for p in range(planes):
            counts[p, data[i + p]] += 1


# --- distinct blocks ------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def count_blocks(data: Array, spans: Array, width: int, table: Array, counts: Array) -> None:
    """Count equal blocks of ``width`` bytes, exactly.

    ``spans`` holds (first byte, number of blocks) of each tensor. ``table``, a power of two long
    and longer than there are blocks, is all −1. ``counts[start // width]`` becomes the number of
    blocks equal to the one at ``start`` if that is the first of them, and stays 0 otherwise.
    """
    mask = np.uint64(table.size - 1)
    for t in range(spans.shape[0]):
        for b in range(spans[t, 1]):
            start = spans[t, 0] + b * width
            key = np.uint64(0x9E3779B97F4A7C15)
            for i in range(start, start + width):
                key = (key ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
            key = (key ^ (key >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
            slot = (key ^ (key >> np.uint64(29))) & mask
            while True:
                first = table[slot]
                if first < 0:
                    table[slot] = start
                    counts[start // width] = 1
                    break
                same = True
                for i in range(width):
                    if data[first + i] != data[start + i]:
                        same = False
                        break
                if same:
                    counts[first // width] += 1
                    break
                slot = (slot + np.uint64(1)) & mask


@njit(nogil=True, cache=True)
def gather_distinct(
    data: Array, spans: Array, width: int, counts: Array, pool: Array
) -> tuple[int, int, float]:
    """Of the blocks that ``count_blocks`` counted: how many occur twice or more, how many once,
    and the sum of ln Γ(count + 1/2) over the former. The bytes of every distinct block are added
    to ``pool``, counts by byte-plane of shape (planes, 256)."""
    planes = pool.shape[0]
    repeated, single, log_gamma = 0, 0, 0.0
    for t in range(spans.shape[0]):
        for b in range(spans[t, 1]):
            start = spans[t, 0] + b * width
            count = counts[start // width]
            if count == 0:
                continue
            if count == 1:
                single += 1
            else:
                repeated += 1
                log_gamma += math.lgamma(count + 0.5)
            for i in range(0, width, planes):
                for p in range(planes):
                    pool[p, data[start + i + p]] += 1
    return repeated, single, log_gamma
