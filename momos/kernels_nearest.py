"""The compiled loops of the nearest-motif search: float32 proposes, float64 decides.

A tile of blocks stands in columns, so that a processor's vector holds the same value of many
blocks; the motifs pass by in groups of four, whose values stay in registers: for that, each
has a name of its own. A motif's cost is |m|² − 2 b·m; sums run in any order, which the bound on
their error allows for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Array = Any

NEVER = np.float32(1e37)  # the cost of a motif that fills up a group of four: nobody's nearest
_NONE = np.float32(3e38)
_EPSILON = np.float32(2.0**-24)  # float32 rounds to nearest
_FAR = 1e12  # times the motifs' reach: from there on float32 has nothing to say
_FLOOR = np.float32(1e-30)  # squares under it may have underflowed
_SLACK = np.float32(1.001)  # for the rounding of a box's distance


@njit(inline="always")
def _lesser(a: Any, b: Any) -> Any:
    return a if a < b else b


@njit(inline="always")
def _larger(a: Any, b: Any) -> Any:
    return b if a < b else a


@njit(nogil=True, cache=True, fastmath=True)
def _scan_four(
    tile: Array, motifs: Array, norms: Array, first: int, last: int,
    best: Array, second: Array, chosen: Array,
) -> None:  # fmt: skip
    """Motifs of four values, first to last, against the best so far."""
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    for j in range(first, last, 4):
        group = np.int32(j)
        n0, n1, n2, n3 = norms[j], norms[j + 1], norms[j + 2], norms[j + 3]
        a0, a1, a2, a3 = motifs[j, 0], motifs[j, 1], motifs[j, 2], motifs[j, 3]
        k = j + 1
        b0, b1, b2, b3 = motifs[k, 0], motifs[k, 1], motifs[k, 2], motifs[k, 3]
        k = j + 2
        c0, c1, c2, c3 = motifs[k, 0], motifs[k, 1], motifs[k, 2], motifs[k, 3]
        k = j + 3
        e0, e1, e2, e3 = motifs[k, 0], motifs[k, 1], motifs[k, 2], motifs[k, 3]
        for i in range(len(best)):
            x0, x1, x2, x3 = t0[i], t1[i], t2[i], t3[i]
            p0 = n0 + x0 * a0 + x1 * a1 + x2 * a2 + x3 * a3
            p1 = n1 + x0 * b0 + x1 * b1 + x2 * b2 + x3 * b3
            p2 = n2 + x0 * c0 + x1 * c1 + x2 * c2 + x3 * c3
            p3 = n3 + x0 * e0 + x1 * e1 + x2 * e2 + x3 * e3
            least = _lesser(_lesser(p0, p1), _lesser(p2, p3))
            old = best[i]
            second[i] = _lesser(second[i], _larger(least, old))
            chosen[i] = group if least < old else chosen[i]
            best[i] = _lesser(least, old)


@njit(nogil=True, cache=True, fastmath=True)
def _scan_eight(
    tile: Array, motifs: Array, norms: Array, first: int, last: int,
    best: Array, second: Array, chosen: Array,
) -> None:  # fmt: skip
    """Motifs of eight values, first to last, against the best so far."""
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    t4, t5, t6, t7 = tile[4], tile[5], tile[6], tile[7]
    for j in range(first, last, 4):
        group = np.int32(j)
        n0, n1, n2, n3 = norms[j], norms[j + 1], norms[j + 2], norms[j + 3]
        a0, a1, a2, a3 = motifs[j, 0], motifs[j, 1], motifs[j, 2], motifs[j, 3]
        a4, a5, a6, a7 = motifs[j, 4], motifs[j, 5], motifs[j, 6], motifs[j, 7]
        k = j + 1
        b0, b1, b2, b3 = motifs[k, 0], motifs[k, 1], motifs[k, 2], motifs[k, 3]
        b4, b5, b6, b7 = motifs[k, 4], motifs[k, 5], motifs[k, 6], motifs[k, 7]
        k = j + 2
        c0, c1, c2, c3 = motifs[k, 0], motifs[k, 1], motifs[k, 2], motifs[k, 3]
        c4, c5, c6, c7 = motifs[k, 4], motifs[k, 5], motifs[k, 6], motifs[k, 7]
        k = j + 3
        e0, e1, e2, e3 = motifs[k, 0], motifs[k, 1], motifs[k, 2], motifs[k, 3]
        e4, e5, e6, e7 = motifs[k, 4], motifs[k, 5], motifs[k, 6], motifs[k, 7]
        for i in range(len(best)):
            x0, x1, x2, x3 = t0[i], t1[i], t2[i], t3[i]
            x4, x5, x6, x7 = t4[i], t5[i], t6[i], t7[i]
            p0 = n0 + x0 * a0 + x1 * a1 + x2 * a2 + x3 * a3 + x4 * a4 + x5 * a5 + x6 * a6 + x7 * a7
            p1 = n1 + x0 * b0 + x1 * b1 + x2 * b2 + x3 * b3 + x4 * b4 + x5 * b5 + x6 * b6 + x7 * b7
            p2 = n2 + x0 * c0 + x1 * c1 + x2 * c2 + x3 * c3 + x4 * c4 + x5 * c5 + x6 * c6 + x7 * c7
            p3 = n3 + x0 * e0 + x1 * e1 + x2 * e2 + x3 * e3 + x4 * e4 + x5 * e5 + x6 * e6 + x7 * e7
            least = _lesser(_lesser(p0, p1), _lesser(p2, p3))
            old = best[i]
            second[i] = _lesser(second[i], _larger(least, old))
            chosen[i] = group if least < old else chosen[i]
            best[i] = _lesser(least, old)


@njit(nogil=True, cache=True, fastmath=True)
def _scan_sixteen(
    tile: Array, motifs: Array, norms: Array, first: int, last: int,
    best: Array, second: Array, chosen: Array,
) -> None:  # fmt: skip
    """Motifs of sixteen values, first to last, against the best so far: two at a time."""
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    t4, t5, t6, t7 = tile[4], tile[5], tile[6], tile[7]
    t8, t9, t10, t11 = tile[8], tile[9], tile[10], tile[11]
    t12, t13, t14, t15 = tile[12], tile[13], tile[14], tile[15]
    for j in range(first, last, 2):
        group = np.int32(j)
        k = j + 1
        n0, n1 = norms[j], norms[k]
        a0, a1, a2, a3 = motifs[j, 0], motifs[j, 1], motifs[j, 2], motifs[j, 3]
        a4, a5, a6, a7 = motifs[j, 4], motifs[j, 5], motifs[j, 6], motifs[j, 7]
        a8, a9, a10, a11 = motifs[j, 8], motifs[j, 9], motifs[j, 10], motifs[j, 11]
        a12, a13, a14, a15 = motifs[j, 12], motifs[j, 13], motifs[j, 14], motifs[j, 15]
        b0, b1, b2, b3 = motifs[k, 0], motifs[k, 1], motifs[k, 2], motifs[k, 3]
        b4, b5, b6, b7 = motifs[k, 4], motifs[k, 5], motifs[k, 6], motifs[k, 7]
        b8, b9, b10, b11 = motifs[k, 8], motifs[k, 9], motifs[k, 10], motifs[k, 11]
        b12, b13, b14, b15 = motifs[k, 12], motifs[k, 13], motifs[k, 14], motifs[k, 15]
        for i in range(len(best)):
            x0, x1, x2, x3 = t0[i], t1[i], t2[i], t3[i]
            x4, x5, x6, x7 = t4[i], t5[i], t6[i], t7[i]
            x8, x9, x10, x11 = t8[i], t9[i], t10[i], t11[i]
            x12, x13, x14, x15 = t12[i], t13[i], t14[i], t15[i]
            p0 = (
                n0
                + x0 * a0
                + x1 * a1
                + x2 * a2
                + x3 * a3
                + x4 * a4
                + x5 * a5
                + x6 * a6
                + x7 * a7
                + x8 * a8
                + x9 * a9
                + x10 * a10
                + x11 * a11
                + x12 * a12
                + x13 * a13
                + x14 * a14
                + x15 * a15
            )
            p1 = (
                n1
                + x0 * b0
                + x1 * b1
                + x2 * b2
                + x3 * b3
                + x4 * b4
                + x5 * b5
                + x6 * b6
                + x7 * b7
                + x8 * b8
                + x9 * b9
                + x10 * b10
                + x11 * b11
                + x12 * b12
                + x13 * b13
                + x14 * b14
                + x15 * b15
            )
            least, old = _lesser(p0, p1), best[i]
            second[i] = _lesser(second[i], _larger(least, old))
            chosen[i] = group if least < old else chosen[i]
            best[i] = _lesser(least, old)


@njit(nogil=True, cache=True, fastmath=True)
def _scan_more(
    tile: Array, motifs: Array, norms: Array, first: int, last: int,
    s0: Array, s1: Array, best: Array, second: Array, chosen: Array,
) -> None:  # fmt: skip
    """Motifs of more values, sixteen at a time, whose sums so far are kept between."""
    for j in range(first, last, 2):
        group = np.int32(j)
        k = j + 1
        s0[:], s1[:] = norms[j], norms[k]
        for d in range(0, len(tile) - 16, 16):
            t0, t1, t2, t3 = tile[d], tile[d + 1], tile[d + 2], tile[d + 3]
            t4, t5, t6, t7 = tile[d + 4], tile[d + 5], tile[d + 6], tile[d + 7]
            t8, t9, t10, t11 = tile[d + 8], tile[d + 9], tile[d + 10], tile[d + 11]
            t12, t13, t14, t15 = tile[d + 12], tile[d + 13], tile[d + 14], tile[d + 15]
            a0, a1, a2, a3 = motifs[j, d], motifs[j, d + 1], motifs[j, d + 2], motifs[j, d + 3]
            a4, a5, a6, a7 = motifs[j, d + 4], motifs[j, d + 5], motifs[j, d + 6], motifs[j, d + 7]
            a8, a9, a10, a11 = (
                motifs[j, d + 8],
                motifs[j, d + 9],
                motifs[j, d + 10],
                motifs[j, d + 11],
            )
            a12, a13, a14, a15 = (
                motifs[j, d + 12],
                motifs[j, d + 13],
                motifs[j, d + 14],
                motifs[j, d + 15],
            )
            b0, b1, b2, b3 = motifs[k, d], motifs[k, d + 1], motifs[k, d + 2], motifs[k, d + 3]
            b4, b5, b6, b7 = motifs[k, d + 4], motifs[k, d + 5], motifs[k, d + 6], motifs[k, d + 7]
            b8, b9, b10, b11 = (
                motifs[k, d + 8],
                motifs[k, d + 9],
                motifs[k, d + 10],
                motifs[k, d + 11],
            )
            b12, b13, b14, b15 = (
                motifs[k, d + 12],
                motifs[k, d + 13],
                motifs[k, d + 14],
                motifs[k, d + 15],
            )
            for i in range(len(best)):
                x0, x1, x2, x3 = t0[i], t1[i], t2[i], t3[i]
                x4, x5, x6, x7 = t4[i], t5[i], t6[i], t7[i]
                x8, x9, x10, x11 = t8[i], t9[i], t10[i], t11[i]
                x12, x13, x14, x15 = t12[i], t13[i], t14[i], t15[i]
                p0, p1 = s0[i], s1[i]
                p0 += x0 * a0 + x1 * a1 + x2 * a2 + x3 * a3
                p0 += x4 * a4 + x5 * a5 + x6 * a6 + x7 * a7
                p0 += x8 * a8 + x9 * a9 + x10 * a10 + x11 * a11
                p0 += x12 * a12 + x13 * a13 + x14 * a14 + x15 * a15
                p1 += x0 * b0 + x1 * b1 + x2 * b2 + x3 * b3
                p1 += x4 * b4 + x5 * b5 + x6 * b6 + x7 * b7
                p1 += x8 * b8 + x9 * b9 + x10 * b10 + x11 * b11
                p1 += x12 * b12 + x13 * b13 + x14 * b14 + x15 * b15
                s0[i], s1[i] = p0, p1
        d = len(tile) - 16
        t0, t1, t2, t3 = tile[d], tile[d + 1], tile[d + 2], tile[d + 3]
        t4, t5, t6, t7 = tile[d + 4], tile[d + 5], tile[d + 6], tile[d + 7]
        t8, t9, t10, t11 = tile[d + 8], tile[d + 9], tile[d + 10], tile[d + 11]
        t12, t13, t14, t15 = tile[d + 12], tile[d + 13], tile[d + 14], tile[d + 15]
        a0, a1, a2, a3 = motifs[j, d], motifs[j, d + 1], motifs[j, d + 2], motifs[j, d + 3]
        a4, a5, a6, a7 = motifs[j, d + 4], motifs[j, d + 5], motifs[j, d + 6], motifs[j, d + 7]
        a8, a9, a10, a11 = motifs[j, d + 8], motifs[j, d + 9], motifs[j, d + 10], motifs[j, d + 11]
        a12, a13, a14, a15 = (
            motifs[j, d + 12],
            motifs[j, d + 13],
            motifs[j, d + 14],
            motifs[j, d + 15],
        )
        b0, b1, b2, b3 = motifs[k, d], motifs[k, d + 1], motifs[k, d + 2], motifs[k, d + 3]
        b4, b5, b6, b7 = motifs[k, d + 4], motifs[k, d + 5], motifs[k, d + 6], motifs[k, d + 7]
        b8, b9, b10, b11 = motifs[k, d + 8], motifs[k, d + 9], motifs[k, d + 10], motifs[k, d + 11]
        b12, b13, b14, b15 = (
            motifs[k, d + 12],
            motifs[k, d + 13],
            motifs[k, d + 14],
            motifs[k, d + 15],
        )
        for i in range(len(best)):
            x0, x1, x2, x3 = t0[i], t1[i], t2[i], t3[i]
            x4, x5, x6, x7 = t4[i], t5[i], t6[i], t7[i]
            x8, x9, x10, x11 = t8[i], t9[i], t10[i], t11[i]
            x12, x13, x14, x15 = t12[i], t13[i], t14[i], t15[i]
            p0, p1 = s0[i], s1[i]
            p0 += x0 * a0 + x1 * a1 + x2 * a2 + x3 * a3
            p0 += x4 * a4 + x5 * a5 + x6 * a6 + x7 * a7
            p0 += x8 * a8 + x9 * a9 + x10 * a10 + x11 * a11
            p0 += x12 * a12 + x13 * a13 + x14 * a14 + x15 * a15
            p1 += x0 * b0 + x1 * b1 + x2 * b2 + x3 * b3
            p1 += x4 * b4 + x5 * b5 + x6 * b6 + x7 * b7
            p1 += x8 * b8 + x9 * b9 + x10 * b10 + x11 * b11
            p1 += x12 * b12 + x13 * b13 + x14 * b14 + x15 * b15
            least, old = _lesser(p0, p1), best[i]
            second[i] = _lesser(second[i], _larger(least, old))
            chosen[i] = group if least < old else chosen[i]
            best[i] = _lesser(least, old)


@njit(nogil=True, cache=True)
def _load(
    blocks: Array, order: Array, start: int, centre: Array, scale: float,
    tile: Array, squared: Array, far: Array, low: Array, high: Array,
) -> int:  # fmt: skip
    """A tile of centred and scaled blocks times −2, their squared lengths, and their box."""
    n = min(len(squared), len(order) - start)
    low[:], high[:] = _NONE, -_NONE
    for i in range(len(squared)):
        b = order[start + min(i, n - 1)]
        squared[i], far[i] = 0, False
        for d in range(blocks.shape[1]):
            exact = (blocks[b, d] - centre[d]) * scale
            far[i] |= abs(exact) > _FAR
            value = np.float32(max(-_FAR, min(_FAR, exact)))
            tile[d, i] = np.float32(-2) * value
            squared[i] += value * value
            low[d], high[d] = min(low[d], value), max(high[d], value)
    return n


@njit(nogil=True, cache=True)
def _box_distances(low: Array, high: Array, lows: Array, highs: Array, bounds: Array) -> None:
    """Squared distance between a box of blocks and each leaf's box of motifs."""
    for leaf in range(len(lows)):
        bounds[leaf] = 0
        for d in range(len(low)):
            gap = max(lows[leaf, d] - high[d], low[d] - highs[leaf, d], np.float32(0))
            bounds[leaf] += gap * gap


@njit(nogil=True, cache=True, inline="always")
def _error(squared: Any, best: Any, size: int) -> Any:
    """What two costs may be off by together, for motifs that might be the nearest.

    Such a motif is no longer than the block's length plus its distance d to the motif found.
    With u the rounding of float32 and s values, a cost |m|² − 2 b·m is off by no more than
    (s + 6) u (2 |b| + d)², the rounding of b and m to float32 included; 8 is for safety, and
    so is the factor of 2 that comes on top of that for two costs.
    """
    length = np.float32(2) * np.sqrt(squared) + np.sqrt(max(squared + best, np.float32(0)))
    return np.float32(4 * (size + 8)) * _EPSILON * length * length + _FLOOR


@njit(nogil=True, cache=True, fastmath=True)
def _reach(squared: Array, best: Array, size: int) -> Any:
    """A motif at a larger squared distance than this is not the nearest of any block."""
    longest, farthest = np.float32(0), np.float32(0)
    for i in range(len(best)):
        longest = _larger(longest, squared[i])
        farthest = _larger(farthest, squared[i] + best[i])
    return (farthest + _error(longest, farthest - longest, size)) * _SLACK


@njit(nogil=True, cache=True)
def _decide(block: Array, motifs: Array, scale: float, labels: Array, first: int, last: int) -> int:
    """The nearest motif from first to last by the definition; ties to the lowest label.

    The scale, a power of two, only keeps squares from underflow and overflow.
    """
    least, found = np.inf, labels[first]
    for j in range(first, min(last, len(motifs))):
        distance = 0.0
        for d in range(len(block)):
            difference = (block[d] - motifs[j, d]) * scale
            distance += difference * difference
        if distance < least or (distance == least and labels[j] < found):
            least, found = distance, labels[j]
    return int(found)


@njit(nogil=True, cache=True)
def nearest(
    blocks: Array, order: Array, centre: Array, scale: float, motifs: Array, labels: Array,
    fast: Array, norms: Array, leaf: int, lows: Array, highs: Array, found: Array,
) -> None:  # fmt: skip
    """Write the label of each block's nearest motif to ``found``.

    ``fast`` holds the motifs centred, scaled and rounded to float32, filled up to rows of four
    or a multiple of eight values and to groups of four rows; ``leaf`` motifs in a row lie in one
    box of ``lows`` and ``highs``; ``order`` says in which order the blocks are taken.
    """
    size, count = fast.shape[1], len(motifs)
    group = 4 if size <= 8 else 2
    # As many blocks as stay in a processor's nearest cache; where boxes are, they want few.
    width = 128 if len(lows) > 1 else max(64, 4096 // size)
    tile, sums = np.zeros((size, width), np.float32), np.empty((2, width), np.float32)
    best, second = np.empty(width, np.float32), np.empty(width, np.float32)
    chosen, squared = np.empty(width, np.int32), np.empty(width, np.float32)
    far, bounds = np.empty(width, np.bool_), np.empty(len(lows), np.float32)
    low, high = np.empty(blocks.shape[1], np.float32), np.empty(blocks.shape[1], np.float32)
    for start in range(0, len(order), width):
        n = _load(blocks, order, start, centre, scale, tile, squared, far, low, high)
        _box_distances(low, high, lows, highs, bounds)
        best[:], second[:], chosen[:] = _NONE, _NONE, 0
        reach = _NONE
        for visited, box in enumerate(np.argsort(bounds)):
            if visited % 4 == 2:  # after two, there is a good motif for most blocks
                reach = _reach(squared, best, size)
            if bounds[box] > reach:
                break
            first, last = box * leaf, min(len(fast), (box + 1) * leaf)
            if size == 4:
                _scan_four(tile, fast, norms, first, last, best, second, chosen)
            elif size == 8:
                _scan_eight(tile, fast, norms, first, last, best, second, chosen)
            elif size == 16:
                _scan_sixteen(tile, fast, norms, first, last, best, second, chosen)
            else:
                _scan_more(tile, fast, norms, first, last, sums[0], sums[1], best, second, chosen)
        for i in range(n):
            clear = second[i] > best[i] + _error(squared[i], best[i], size)
            first, last = (chosen[i], chosen[i] + group) if clear and not far[i] else (0, count)
            b = order[start + i]
            found[b] = _decide(blocks[b], motifs, scale, labels, first, last)


@njit(nogil=True, cache=True)
def cells(rows: Array, thresholds: Array, keys: Array) -> None:
    """The cell of each row on a grid, numbered along a Z-order curve.

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
            for level in range(bits - 1, -1, -1):
                above = rows[r, d] >= thresholds[d, rank + (1 << level) - 1]
                rank += int(above) << level
            for level in range(bits):
                key |= ((rank >> level) & 1) << (level * size + d)
        keys[r] = key
