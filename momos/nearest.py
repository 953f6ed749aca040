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

    distances, indices = cKDTree(motifs).query(blocks, k=2, workers=-1)
    found: Indices = indices[:, 0].astype(np.int64)
    unclear = ~(distances[:, 1] > distances[:, 0] * (1 + _CLEAR))
    if unclear.any():
        found[unclear] = _by_products(blocks[unclear], motifs)
    return found


def _by_products(blocks: Floats, motifs: Floats) -> Indices:
    """The nearest of distinct motifs: matrix products propose, the definition decides.

    |m|² − 2 b·m orders the motifs of a block as the distance does, up to a rounding error that is
    bounded. Where the second is nearer to the first than that, both (all such) are compared.
    """
    centre = motifs.mean(axis=0)  # nearer the origin, the products keep more digits
    centred = motifs - centre
    norms = (centred * centred).sum(axis=1)
    factors = np.concatenate([-2 * centred, norms[:, None]], axis=1).T.copy()
    reach = np.sqrt(norms.max())
    rows = max(1, _PAIRS // len(motifs))
    found = np.empty(len(blocks), np.int64)
    for start in range(0, len(blocks), rows):
        part = blocks[start : start + rows]
        shifted = np.ones((len(part), blocks.shape[1] + 1))
        shifted[:, :-1] = part - centre
        order = shifted @ factors
        every, first = np.arange(len(part)), order.argmin(axis=1)
        lengths = np.sqrt((shifted * shifted).sum(axis=1)) + reach
        limit = order[every, first] + 8 * (blocks.shape[1] + 8) * _EPSILON * lengths * lengths
        least = order[every, first]
        order[every, first] = np.inf
        unclear = np.flatnonzero(order.min(axis=1) <= limit)
        order[every, first] = least
        if unclear.size:
            possible = order[unclear] <= limit[unclear, None]
            first[unclear] = _decide(part[unclear], motifs, possible)
        found[start : start + rows] = first
    return found


def _decide(blocks: Floats, motifs: Floats, possible: NDArray[np.bool_]) -> Indices:
    """The nearest of the possible motifs of each block; each block has at least one."""
    block, motif = np.nonzero(possible)
    order = np.lexsort((motif, squared_distances(blocks[block], motifs[motif]), block))
    _, first = np.unique(block, return_index=True)
    return motif[order][first].astype(np.int64)
