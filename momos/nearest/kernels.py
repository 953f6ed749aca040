"""The compiled loops of the nearest-motif search: float32 proposes, float64 decides.

A tile holds blocks as columns, so that a processor's vector holds the same value of many blocks;
motifs are compared in groups of four (`momos.nearest.vectors`). A motif's cost is |m|² − 2 b·m;
the bound on its error allows sums in any order.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled, intrinsic, types
from momos.nearest import vectors

NEVER = np.float32(1e37)  # cost of the rows that fill up a group of four: never the least
_NONE = np.float32(3e38)
EPSILON = np.float32(2.0**-24)  # float32 rounds to nearest
FAR = 1e12  # times the motifs' reach: blocks beyond are left to float64
FLOOR = np.float32(1e-30)  # smaller squares may have underflowed
_SLACK = np.float32(1.001)  # for the rounding of a box's distance


@intrinsic
def _scan(
    context: Any, tile: Any, motifs: Any, norms: Any, first: Any, last: Any,
    best: Any, second: Any, chosen: Any,
) -> Any:  # fmt: skip
    """Compare motifs first to last, in groups of four, with the best of each block of a tile.

    ``best`` is a block's least cost, ``chosen`` the group that has it, ``second`` the least cost
    of any other group.
    """
    given = (tile, motifs, norms, first, last, best, second, chosen)
    return types.void(*given), partial(vectors.generate_scan, given)


@compiled(inline=True)
def _larger(a: Any, b: Any) -> Any:
    """The larger of two, by a comparison that vectors have too."""
    return b if a < b else a


@compiled
def _load(
    blocks: Array, order: Array, start: int, centre: Array, scale: float,
    tile: Array, squared: Array, far: Array, low: Array, high: Array,
) -> int:  # fmt: skip
    """Fill a tile with centred and scaled blocks times −2; returns how many.

    ``order`` says which blocks, from ``start`` on. Written are ``tile``, shape (s, width), in
    float32, and for each block ``squared``, its squared length, and ``far``, whether float32 cannot
    hold it; for the tile its box, ``low`` and ``high``. Where blocks run out the last one is
    repeated, which widens no box.
    """
    n = min(len(squared), len(order) - start)
    low[:], high[:] = _NONE, -_NONE
    for i in range(len(squared)):
        b = order[start + min(i, n - 1)]
        squared[i], far[i] = 0, False
        for d in range(blocks.shape[1]):
            exact = (blocks[b, d] - centre[d]) * scale
            far[i] |= abs(exact) > FAR
            value = np.float32(max(-FAR, min(FAR, exact)))
            tile[d, i] = np.float32(-2) * value
            squared[i] += value * value
            low[d], high[d] = min(low[d], value), max(high[d], value)
    return n


@compiled
def _box_distances(low: Array, high: Array, lows: Array, highs: Array, bounds: Array) -> None:
    """Write the squared distance between a box of blocks and each leaf's box of motifs.

    ``low`` and ``high`` have shape (s,), ``lows`` and ``highs`` (leaves, s); 0 where boxes meet.
    """
    for leaf in range(len(lows)):
        bounds[leaf] = 0
        for d in range(len(low)):
            gap = max(lows[leaf, d] - high[d], low[d] - highs[leaf, d], np.float32(0))
            bounds[leaf] += gap * gap


@compiled(inline=True)
def _error(squared: Any, best: Any, size: int) -> Any:
    """Bound on the error of two costs together, for motifs that might be the nearest.

    Such a motif is no longer than the block plus the block's distance d to the best motif so far.
    With u the rounding of float32 and s values, a cost |m|² − 2 b·m has an error of at most
    (s + 6) u (2 |b| + d)², the rounding of b and m to float32 included. The 8 leaves a margin, and
    so does the 4, where 2 would do for two costs.
    """
    length = np.float32(2) * np.sqrt(squared) + np.sqrt(max(squared + best, np.float32(0)))
    return np.float32(4 * (size + 8)) * EPSILON * length * length + FLOOR


@compiled(fastmath=True)
def _reach(squared: Array, best: Array, size: int) -> Any:
    """A motif at a larger squared distance than this is not the nearest of any block of a tile.

    ``squared`` and ``best`` are the blocks' squared lengths and least costs so far: their sum is
    a squared distance. The bound is for the longest block and the farthest, whichever they are.
    Sums may run in any order (``fastmath``): the error that is added allows for it.
    """
    longest, farthest = np.float32(0), np.float32(0)
    for i in range(len(best)):
        longest = _larger(longest, squared[i])
        farthest = _larger(farthest, squared[i] + best[i])
    return (farthest + _error(longest, farthest - longest, size)) * _SLACK


@compiled
def _decide(block: Array, motifs: Array, scale: float, labels: Array, first: int, last: int) -> int:
    """The nearest motif from first to last by the definition; ties to the lowest label.

    float64 differences, squared and added in the order of the values. The scale, a power of two,
    only prevents underflow and overflow of squares.
    """
    least, nearest_label = np.inf, labels[first]
    for j in range(first, min(last, len(motifs))):
        distance = 0.0
        for d in range(len(block)):
            difference = (block[d] - motifs[j, d]) * scale
            distance += difference * difference
        if distance < least or (distance == least and labels[j] < nearest_label):
            least, nearest_label = distance, labels[j]
    return int(nearest_label)


@compiled(allocates=True)
def nearest(
    blocks: Array, order: Array, centre: Array, scale: float, motifs: Array, labels: Array,
    fast: Array, norms: Array, leaf: int, lows: Array, highs: Array, nearest_labels: Array,
) -> None:  # fmt: skip
    """Write the label of each block's nearest motif to ``nearest_labels``.

    ``blocks`` has shape (m, s), ``motifs`` (k, s), in float64 as they are; ``labels`` holds their
    indices as callers have them. ``fast`` holds the motifs centred, scaled and rounded to float32,
    filled up to a multiple of four values and of four rows; each ``leaf`` successive motifs lie in
    one box of ``lows`` and ``highs``; the blocks are taken in the given ``order``.
    """
    size, count = fast.shape[1], len(motifs)
    # As many blocks as fit a processor's first cache; few where motifs lie in boxes, for a small
    # tile skips more of them.
    width = 128 if len(lows) > 1 else max(64, 4096 // size // vectors.STRIP * vectors.STRIP)
    tile = np.zeros((size, width), np.float32)
    best, second = np.empty(width, np.float32), np.empty(width, np.float32)
    chosen, squared = np.empty(width, np.int32), np.empty(width, np.float32)
    far, bounds = np.empty(width, np.bool_), np.empty(len(lows), np.float32)
    low, high = np.empty(blocks.shape[1], np.float32), np.empty(blocks.shape[1], np.float32)
    for start in range(0, len(order), width):
        n = _load(blocks, order, start, centre, scale, tile, squared, far, low, high)
        _box_distances(low, high, lows, highs, bounds)
        best[:], second[:], chosen[:] = _NONE, _NONE, 0
        # Boxes from the nearest on: the first that lies out of reach ends the search.
        reach = _NONE
        for visited, box in enumerate(np.argsort(bounds)):
            if visited % 4 == 2:  # after two boxes most blocks have a good motif
                reach = _reach(squared, best, size)
            if bounds[box] > reach:
                break
            first, last = box * leaf, min(len(fast), (box + 1) * leaf)
            _scan(tile, fast, norms, first, last, best, second, chosen)  # type: ignore[call-arg]
        # If the second best group is further off than both costs may err, the nearest motif is one
        # of the best group's four; otherwise, and for blocks beyond float32, all are compared.
        for i in range(n):
            clear = second[i] > best[i] + _error(squared[i], best[i], size)
            first, last = (chosen[i], chosen[i] + 4) if clear and not far[i] else (0, count)
            b = order[start + i]
            nearest_labels[b] = _decide(blocks[b], motifs, scale, labels, first, last)


@compiled
def cells(rows: Array, thresholds: Array, keys: Array) -> None:
    """Write the cell of each row on a grid to ``keys``, numbered along a Z-order curve.

    ``thresholds`` has shape (s, 2^bits − 1): the grid's lines along each value, ascending.
    """
    size, lines = thresholds.shape
    bits = 0
    while 1 << bits <= lines:
        bits += 1
    for r in range(len(rows)):
        key = 0
        for d in range(size):
            rank = 0
            # How many lines lie at or below the value: a search by halves without a branch.
            for level in range(bits - 1, -1, -1):
                above = rows[r, d] >= thresholds[d, rank + (1 << level) - 1]
                rank += int(above) << level
            # The ranks' bits take turns in the key: rows of like keys are alike in all values.
            for level in range(bits):
                key |= ((rank >> level) & 1) << (level * size + d)
        keys[r] = key
