"""The motifs of sampled mosaics: blocks of the model, or their means by Lloyd's iteration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from momos.config import SampledMosaic
from momos.mosaic.blocks import Array, Partition
from momos.nearest.exact import nearest_motifs

_ROUNDS = 10  # rounds of Lloyd's iteration at most


def draw_motifs(blocks: Array, config: SampledMosaic, random: np.random.Generator) -> Array:
    """The zero block, if the configuration has one, and blocks at distinct positions."""
    count = config.motif_count(len(blocks))
    drawn = count - 1 if config.zero_motif else count
    motifs = blocks[random.choice(len(blocks), size=drawn, replace=False)]
    if config.zero_motif:
        motifs = np.concatenate([np.zeros((1, blocks.shape[1]), blocks.dtype), motifs])
    return motifs


def refine_motifs(blocks: Array, motifs: Array, zero_motif: bool, partition: Partition) -> Array:
    """Lloyd's iteration: each motif moves to the mean of its blocks; the zero motif stays.

    Blocks with padding are left out of the means, and a motif without blocks stays.
    """
    whole = np.ones(len(blocks), bool)
    whole[[number for number, _ in partition.padded()]] = False
    points = blocks[whole].astype(np.float64)
    centres = motifs.astype(np.float64)
    for _ in range(_ROUNDS):
        moved = _means(points, nearest_motifs(points, centres), centres)
        if zero_motif:
            moved[0] = 0
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres.astype(motifs.dtype)


def _means(
    points: NDArray[np.float64], indices: NDArray[np.int64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    counts = np.bincount(indices, minlength=len(centres))
    sums = np.stack(
        [np.bincount(indices, weights=place, minlength=len(centres)) for place in points.T], axis=1
    )
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
