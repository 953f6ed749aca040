"""The nearest motif of each block, exact and fast.

The distance is squared Euclidean: float64 differences, squared and added in the order of the
block's values. Of motifs at the same distance, the one with the lowest index is the nearest.

A compiled float32 search proposes four motifs for each block, and a lower bound on the distance of
all others. If its error, which is bounded, cannot have hidden the nearest motif, the definition
decides among the four; otherwise among all motifs. So the result depends neither on the search nor
on the number of threads, also for blocks far from the origin, where the expansion
|b|² − 2 b·m + |m|² loses its digits.

Blocks of at most four values are taken along a Z-order curve (Morton 1966), tile by tile, and
motifs whose box is too far from the tile's are skipped. In more dimensions hardly any box would
be, so every motif is compared.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.execution import cores
from momos.nearest import kernels as kernels

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_SLAB = 1 << 21  # weights a thread takes at a time, about 16 MB of scratch
_SCRATCH = 1 << 24  # weights that all threads together take at a time
_LEAF = 64  # motifs in one box
_SAMPLE = 1 << 14  # motifs, at most, whose quantiles are the grid's lines


def nearest_motifs(blocks: NDArray[Any], motifs: NDArray[Any]) -> Indices:
    """Index of the nearest motif of each block.

    Parameters
    ----------
    blocks : ndarray, shape (m, s)
        Finite floats.
    motifs : ndarray, shape (k, s)
        Equal motifs may occur; the first of them is taken.

    Returns
    -------
    ndarray of int64, shape (m,)
        The exact minimizers; ties go to the lowest index.

    Examples
    --------
    >>> motifs = np.array([[0.0, 0.0], [2.0, 2.0], [2.0, 2.0]])
    >>> nearest_motifs(np.array([[0.5, 0.0], [3.0, 3.0], [1.0, 1.0]]), motifs).tolist()
    [0, 1, 0]
    """
    if blocks.dtype not in (np.float32, np.float64):
        blocks = blocks.astype(np.float32)
    nearest = np.zeros(len(blocks), np.int64)
    search = _Search(motifs.astype(np.float64))
    threads = cores()
    turns = 1 + blocks.size // (threads * min(_SLAB, _SCRATCH // threads))
    rows = 1 + len(blocks) // (threads * turns)  # the same for every thread
    with ThreadPoolExecutor(threads) as pool:
        starts = range(0, len(blocks), rows)
        list(
            pool.map(
                lambda at: search.find(blocks[at : at + rows], nearest[at : at + rows]), starts
            )
        )
    return nearest


def power_to_one(centred: Floats) -> float:
    """The power of two that scales the largest magnitude to 1, so that no square overflows."""
    return float(2.0 ** min(1000, max(-1000, -int(np.frexp(np.abs(centred).max())[1]))))


class _Search:
    """Motifs ready to be searched: distinct, centred, scaled to a reach of 1, in float32."""

    def __init__(self, motifs: Floats) -> None:
        motifs, labels = distinct_motifs(motifs)
        size = motifs.shape[1]
        self._grid = _grid(motifs) if size <= 4 else None
        order = self._along(motifs)
        self._motifs, self._labels = motifs[order], labels[order]
        self._centre = motifs.mean(axis=0)  # nearer the origin, float32 keeps more digits
        centred = self._motifs - self._centre
        self._scale = power_to_one(centred)
        self._fast = np.zeros(_filled(centred.shape), np.float32)
        self._fast[: len(motifs), :size] = centred * self._scale
        self._norms = np.full(len(self._fast), kernels.NEVER, np.float32)
        self._norms[: len(motifs)] = (self._fast[: len(motifs)].astype(np.float64) ** 2).sum(axis=1)
        self._leaf = len(self._fast) if self._grid is None else _LEAF
        starts = np.arange(0, len(motifs), self._leaf)
        self._lows = np.minimum.reduceat(self._fast[: len(motifs), :size], starts)
        self._highs = np.maximum.reduceat(self._fast[: len(motifs), :size], starts)

    def find(self, blocks: NDArray[Any], nearest: Indices) -> None:
        """Write the index of each block's nearest motif to ``nearest``."""
        kernels.nearest(
            blocks, self._along(blocks), self._centre, self._scale, self._motifs, self._labels,
            self._fast, self._norms, self._leaf, self._lows, self._highs, nearest,
        )  # fmt: skip

    def _along(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Order of the rows along the curve; as they are, if there is no grid."""
        if self._grid is None:
            return np.arange(len(rows))
        keys = np.empty(len(rows), np.uint16)
        kernels.cells(rows, self._grid, keys)
        return np.argsort(keys, kind="stable")


def distinct_motifs(motifs: Floats) -> tuple[Floats, Indices]:
    """The distinct motifs by value, in the order of their lowest index, and that index."""
    motifs = motifs + 0.0  # −0.0 and 0.0 are one value
    rows = np.ascontiguousarray(motifs).view(f"V{8 * motifs.shape[1]}").reshape(-1)
    first = np.sort(np.unique(rows, return_index=True)[1]).astype(np.int64)
    return motifs[first], first


def _grid(motifs: Floats) -> Floats:
    """Lines of a grid along each value, at quantiles: cells hold about as many motifs each."""
    bits = min(8, 16 // motifs.shape[1])
    shares = np.arange(1, 1 << bits) / (1 << bits)
    sample = motifs[:: -(-len(motifs) // _SAMPLE)]
    return np.ascontiguousarray(np.quantile(sample, shares, axis=0).T)


def _filled(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape, both sides rounded up to multiples of four."""
    count, size = shape
    return -(-count // 4) * 4, -(-size // 4) * 4
