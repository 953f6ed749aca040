"""Exact nearest-motif search: seconds a projection, against a search in distance chunks.

``python tests/benchmarks/projection.py [--all]``: without ``--all`` the largest size is left out.
The chunked search is float32 products, as fast as they go in cache, and not exact.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from momos.nearest import nearest_motifs

SIZES = [(68_000, 4, 6_800), (350_000, 16, 3_500), (700_000, 8, 7_000), (1_400_000, 4, 14_000)]


def chunked(blocks: np.ndarray, motifs: np.ndarray) -> np.ndarray:
    """The nearest motifs by the expansion |b|² − 2 b·m + |m|², in float32 chunks."""
    norms, found = (motifs * motifs).sum(axis=1), []
    rows = max(1, (1 << 20) // len(motifs))
    for start in range(0, len(blocks), rows):
        found.append((norms - 2 * (blocks[start : start + rows] @ motifs.T)).argmin(axis=1))
    return np.concatenate(found)


def main() -> None:
    print(f"{'blocks':>10} {'size':>5} {'motifs':>7} {'exact s':>8} {'chunked s':>10} {'wrong':>8}")
    for count, size, k in SIZES if "--all" in sys.argv else SIZES[:-1]:
        random = np.random.default_rng(0)
        blocks = random.normal(size=(count, size)).astype(np.float32)
        motifs = blocks[random.choice(count, k, replace=False)]
        start = time.perf_counter()
        exact = nearest_motifs(blocks, motifs)
        middle = time.perf_counter()
        other = chunked(blocks, motifs)
        end = time.perf_counter()
        wrong = int((exact != other).sum())
        times = f"{middle - start:8.2f} {end - middle:10.2f}"
        print(f"{count:>10,} {size:>5} {k:>7,} {times} {wrong:>8,}", flush=True)


if __name__ == "__main__":
    main()
