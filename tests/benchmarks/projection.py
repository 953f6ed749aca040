"""Exact nearest-motif search against a k-d tree, faiss and brute force, all in one run.

``python tests/benchmarks/projection.py [--all]``; faiss-cpu is compared with where it is
installed. Brute force is the published program's: float32 distances in chunks of 4 GB; it is
timed on a part of the blocks, as many as a chunk holds at most, and scaled up, and only with
``--all`` (it needs some 12 GB). *wrong* counts the blocks that faiss gives another motif than the
exact one. Times are the best of several, taken in turns; only the ratios mean anything.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from scipy.spatial import cKDTree

from momos.nearest.exact import nearest_motifs

SIZES = [(68_000, 4, 6_800), (350_000, 16, 3_500), (700_000, 8, 7_000), (1_400_000, 4, 14_000)]
Search = Callable[[np.ndarray, np.ndarray], np.ndarray]


def tree(blocks: np.ndarray, motifs: np.ndarray) -> np.ndarray:
    return cKDTree(motifs).query(blocks, workers=-1)[1]


def flat(blocks: np.ndarray, motifs: np.ndarray) -> np.ndarray:
    import faiss

    index = faiss.IndexFlatL2(motifs.shape[1])
    index.add(motifs)
    return index.search(blocks, 1)[1][:, 0]


def brute(blocks: np.ndarray, motifs: np.ndarray) -> np.ndarray:
    """All differences of a chunk at once, as (blocks, motifs, values), squared and summed."""
    rows = max(1, (4 << 30) // (4 * motifs.size))
    b, m = torch.from_numpy(blocks), torch.from_numpy(motifs)
    parts = [((part[:, None] - m) ** 2).sum(dim=2).argmin(dim=1) for part in b.split(rows)]
    return torch.cat(parts).numpy()


def timed(search: Search, blocks: np.ndarray, motifs: np.ndarray) -> tuple[float, np.ndarray]:
    time.sleep(0.3)  # the one before leaves its threads spinning for a while
    start = time.perf_counter()
    found = search(blocks, motifs)
    return time.perf_counter() - start, found


def best_of(rounds: int, searches: list[Search], blocks: np.ndarray, motifs: np.ndarray) -> list:
    """Least time of each search, taken in turns, and what it found."""
    runs = [[timed(search, blocks, motifs) for search in searches] for _ in range(rounds)]
    return [(min(run[i][0] for run in runs), runs[0][i][1]) for i in range(len(searches))]


def main() -> None:
    faiss = find_spec("faiss") is not None
    names = ["blocks", "size", "motifs", "exact s", "tree ×", "faiss ×", "wrong", "brute ×"]
    print("  ".join(f"{name:>9}" for name in names))
    for count, size, k in SIZES:
        random = np.random.default_rng(0)
        blocks = random.normal(size=(count, size)).astype(np.float32)
        motifs = blocks[random.choice(count, k, replace=False)]
        nearest_motifs(blocks[:10], motifs)  # compiles
        peers = [nearest_motifs, flat] if faiss else [nearest_motifs]
        (ours, exact), *theirs = best_of(9, peers, blocks, motifs)
        ((branches, _),) = best_of(2, [tree], blocks, motifs)
        shown = [f"{count:,}", f"{size}", f"{k:,}", f"{ours:.3f}", f"{branches / ours:.2f}"]
        shown += (
            [f"{theirs[0][0] / ours:.2f}", f"{(theirs[0][1] != exact).sum():,}"] if faiss else "--"
        )
        part = blocks[: max(1, min(count, (4 << 30) // (4 * motifs.size)))]
        if "--all" in sys.argv:
            seconds = timed(brute, part, motifs)[0] * count / len(part)
            shown.append(f"{seconds / ours:.0f}")
        print("  ".join(f"{value:>9}" for value in shown), flush=True)


if __name__ == "__main__":
    main()
