"""The nearest motif of each block: exactly, and fast.

The distance is squared Euclidean: float64 differences, squared and added in the order of the
block's values. Of motifs at the same distance, the one with the lowest index is the nearest.

Fast engines only propose candidates, with an error that is known; where that error leaves more
than one motif possible, all of them are compared by the definition. So the result depends
neither on the engine nor on the number of threads, also for blocks far from the origin, where
the expansion |b|² − 2 b·m + |m|² loses its digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_TREE_LIMIT = 8  # values a block up to which a k-d tree beats matrix products
_PAIRS = 1 << 20  # block-motif pairs compared at a time, 8 MB of distances
_CLEAR = 1e-9  # relative gap between the nearest two by which the tree's answer is certain
_EPSILON = float(np.finfo(np.float64).eps)


def nearest_motifs(blocks: NDArray[Any], motifs: NDArray[Any]) -> Indices:
    """Index of the nearest motif of each block.

    Parameters
    ----------
    blocks : ndarray, shape (m, s)
        Finite floats, of magnitudes whose squares do not overflow float64.
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
    points = blocks.astype(np.float64)
    distinct, first = _distinct(motifs.astype(np.float64))
    if points.shape[0] == 0 or first.size == 1:
        return np.full(points.shape[0], first[0], np.int64)
    if points.shape[1] <= _TREE_LIMIT:
        found = _by_tree(points, distinct)
    else:
        found = _by_products(points, distinct)
    return first[found]


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Squared Euclidean distances along the last axis: the definition that decides.

    >>> squared_distances(np.array([[3.0, 4.0]]), np.zeros((1, 2))).tolist()
    [25.0]
    """
    total = np.zeros(np.broadcast_shapes(a.shape, b.shape)[:-1])
    for place in range(a.shape[-1]):
        difference = a[..., place] - b[..., place]
        total += difference * difference
    return total


def _distinct(motifs: Floats) -> tuple[Floats, Indices]:
    """The distinct motifs by value, in the order of their lowest index, and that index."""
    motifs = motifs + 0.0  # −0.0 and 0.0 are one value
    rows = np.ascontiguousarray(motifs).view(f"V{8 * motifs.shape[1]}").reshape(-1)
    first = np.sort(np.unique(rows, return_index=True)[1]).astype(np.int64)
    return motifs[first], first


def _by_tree(blocks: Floats, motifs: Floats) -> Indices:
    """The nearest of distinct motifs by a k-d tree.

    The tree's two nearest distances are right to some 1e-14 of themselves. Where they differ by
    more than 1e-9 no third motif can be nearer than the first; the other blocks are compared anew.
    """
    from scipy.spatial import cKDTree

    distances, indices = cKDTree(motifs).query(blocks, k=2, workers=1)
    found: Indices = indices[:, 0].astype(np.int64)
    unclear = ~(distances[:, 1] > distances[:, 0] * (1 + _CLEAR))
    if unclear.any():
        found[unclear] = _by_products(blocks[unclear], motifs)
    return found


def _by_products(blocks: Floats, motifs: Floats) -> Indices:
    """The nearest of distinct motifs: matrix products propose, the definition decides."""
    centre = motifs.mean(axis=0)  # nearer the origin, the products keep more digits
    centred = motifs - centre
    norms = (centred * centred).sum(axis=1)
    reach = np.sqrt(norms.max())
    rows = max(1, _PAIRS // len(motifs))
    found = np.empty(len(blocks), np.int64)
    for start in range(0, len(blocks), rows):
        part = blocks[start : start + rows]
        shifted = part - centre
        approximate = norms - 2 * (shifted @ centred.T)
        lengths = np.sqrt((shifted * shifted).sum(axis=1)) + reach
        slack = 8 * (blocks.shape[1] + 8) * _EPSILON * lengths * lengths
        possible = approximate <= (approximate.min(axis=1) + slack)[:, None]
        found[start : start + rows] = _decide(part, motifs, possible)
    return found


def _decide(blocks: Floats, motifs: Floats, possible: NDArray[np.bool_]) -> Indices:
    """The nearest of the possible motifs of each block; each block has at least one."""
    block, motif = np.nonzero(possible)
    if block.size == len(blocks):  # one candidate each
        return motif.astype(np.int64)
    order = np.lexsort((motif, squared_distances(blocks[block], motifs[motif]), block))
    _, first = np.unique(block, return_index=True)
    return motif[order][first].astype(np.int64)
