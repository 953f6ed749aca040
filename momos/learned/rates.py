"""Bits of an index, from how often each motif was used: the prices of learned mosaics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LONGEST = 20.0  # bits of a motif at most, however rare it is
_PRIOR = 16.0  # weight of the tensor's share of zeros in each row and column, in blocks
_EVEN = 4.0  # weight of the geometric distribution of sizes, in weights
_LONGEST_SIZE = 9.0  # bits of the size of a level at most


def other_odds(
    used: NDArray[np.int64], by_row: NDArray[np.int64], by_column: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log odds of a motif other than zero, as a sum: one term by row, one by column.

    The odds of a block are its row's times its column's over the tensor's.
    """
    total, others = int(used.sum()), int(used[1:].sum())
    share = (others + 0.5) / (total + 1)
    rows = (by_row + _PRIOR * share) / (by_column.size + _PRIOR)
    columns = (by_column + _PRIOR * share) / (by_row.size + _PRIOR)
    return _logit(rows), _logit(columns) - _logit(np.array(share))


def motif_bits(used: NDArray[np.int64]) -> Floats:
    """Bits of each motif's index, given that it is not the zero motif."""
    others = int(used[1:].sum())
    bits = -np.log2((used + 0.5) / (others + 0.5 * (used.size - 1)))
    bits[0] = 0
    return np.asarray(np.clip(bits, 0, _LONGEST), np.float32)


def level_bits(used: NDArray[np.int64]) -> Floats:
    """Bits of each level other than 0, its sign included; from counts by index.

    Levels that are rare have those of a geometric distribution of the same mean.
    """
    counts = (used[1::2] + used[2::2]).astype(np.float64)
    sizes = np.arange(1, len(counts) + 1)
    mean = (counts @ sizes + 1.5) / (counts.sum() + 1)
    falling = max(1 - 1 / mean, 0.01) ** sizes
    chances = (counts + _EVEN * falling / falling.sum()) / (counts.sum() + _EVEN)
    lengths = 1 - np.log2(np.maximum(chances, 2.0**-_LONGEST_SIZE))
    return np.concatenate([[0], np.repeat(lengths, 2)], dtype=np.float32)


def _logit(share: NDArray[Any]) -> NDArray[np.float64]:
    kept = np.clip(share, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(kept / (1 - kept)), np.float64)
