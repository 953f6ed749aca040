"""The compiled loops of the ledger, nothing else: callers allocate, check and interpret."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled

_NONE = 1 << 20  # larger than any exponent

# --- all weights ------------------------------------------------------------------------------


@compiled(inline=True)
def _extremes(patterns: Array, magnitude: int, most: Array) -> None:
    """The largest pattern without its sign, all bits of any, and how many are zeros."""
    largest, bits, zeros = patterns.dtype.type(0), patterns.dtype.type(0), 0
    for i in range(patterns.size):
        pattern = patterns[i] & magnitude
        largest = max(largest, pattern)
        bits |= pattern
        zeros += pattern == 0
    most[0] = max(most[0], np.uint64(largest))
    most[1] |= np.uint64(bits)
    most[2] += np.uint64(zeros)


@compiled(inline=True)
def _add(weights: Array, shift: float, sums: Array) -> None:
    """Sums of w − shift and of its square: four of each, so that none waits for the one before."""
    a = b = c = d = e = f = g = h = 0.0
    whole = weights.size & ~3
    for i in range(0, whole, 4):
        p, q = np.float64(weights[i]) - shift, np.float64(weights[i + 1]) - shift
        r, s = np.float64(weights[i + 2]) - shift, np.float64(weights[i + 3]) - shift
        a, b, c, d = a + p, b + q, c + r, d + s
        e, f, g, h = e + p * p, f + q * q, g + r * r, h + s * s
    for i in range(whole, weights.size):
        p = np.float64(weights[i]) - shift
        a, e = a + p, e + p * p
    sums[0] += (a + b) + (c + d)
    sums[1] += (e + f) + (g + h)


@compiled(inline=True)
def _count_exponents(patterns: Array, down: int, fields: int, counts: Array) -> None:
    """Count exponent fields, in four tables in turn."""
    whole = patterns.size & ~3
    for i in range(0, whole, 4):
        counts[0, np.intp((patterns[i] >> down) & fields)] += 1
        counts[1, np.intp((patterns[i + 1] >> down) & fields)] += 1
        counts[2, np.intp((patterns[i + 2] >> down) & fields)] += 1
        counts[3, np.intp((patterns[i + 3] >> down) & fields)] += 1
    for i in range(whole, patterns.size):
        counts[0, np.intp((patterns[i] >> down) & fields)] += 1


@compiled(inline=True)
def _are_whole(weights: Array, scale: float) -> bool:
    """Whether all weights times a power of two are whole numbers."""
    broken = 0
    for i in range(weights.size):
        scaled = np.float64(weights[i]) * scale
        broken += scaled != np.rint(scaled)
    return broken == 0


@compiled(inline=True)
def _see(patterns: Array, down: int, mask: int, fields: int, seen: Array) -> None:
    """Join the mantissas of each exponent, with the one before them."""
    for i in range(patterns.size):
        bits = (patterns[i] & mask) | (mask + patterns.dtype.type(1))
        seen[np.intp((patterns[i] >> down) & fields)] |= bits


@compiled(inline=True)
def _scale(seen: Array, digits: int) -> float:
    """The inverse of the largest power of two of which all that was seen are multiples: 2^1000 at
    most, whose inverse is a float64 as well; no number if nothing was seen."""
    least = _NONE
    for field in range(seen.size):
        bits = np.int64(seen[field])
        if field == 0:  # zero and the subnormal numbers, which have no one before the mantissa
            bits &= (np.int64(1) << digits) - 1
        if bits:
            zeros = 0
            while not (bits >> zeros) & 1:
                zeros += 1
            least = min(least, max(field, 1) - (seen.size >> 1) + 1 - digits + zeros)
    return math.nan if least == _NONE else math.ldexp(1.0, min(1000, -least))


@compiled
def scan(
    patterns: Array, weights: Array, digits: int, shift: float,
    seen: Array, counts: Array, most: Array, sums: Array,
) -> None:  # fmt: skip
    """Add up floats of 32 or 64 bits, all finite.

    ``seen[e]`` are the mantissas of exponent field e, joined, with the one before them, of weights
    enough to tell the largest power of two of which all are multiples; ``counts[lane, e]`` counts
    the field; ``most`` is the largest pattern without its sign, the bits that any weight has, and
    the number of zeros; ``sums`` are those of w − shift, and of its square.
    """
    one = patterns.dtype.type(1)
    fields = patterns.dtype.type(counts.shape[1] - 1)
    down = patterns.dtype.type(digits)
    mask = (one << down) - one
    magnitude = (fields << down) | mask
    scale = _scale(seen, digits)
    for start in range(0, patterns.size, 8192):  # which stay in the cache
        stop = min(start + 8192, patterns.size)
        _extremes(patterns[start:stop], magnitude, most)
        _add(weights[start:stop], shift, sums)
        _count_exponents(patterns[start:stop], down, fields, counts)
        if not _are_whole(weights[start:stop], scale):
            _see(patterns[start:stop], down, mask, fields, seen)
            scale = _scale(seen, digits)


@compiled
def count_patterns(patterns: Array, counts: Array) -> None:
    """Count each pattern of 8 or 16 bits."""
    for i in range(patterns.size):
        counts[patterns[i]] += 1


# --- distinct values --------------------------------------------------------------------------


@compiled(inline=True)
def _slot(pattern: int, mask: int) -> Any:
    """Where a pattern is looked for first in a table of mask + 1 entries."""
    hashed = np.uint64(pattern) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((hashed ^ (hashed >> np.uint64(32))) & np.uint64(mask))


@compiled
def gather_distinct(patterns: Array, table: Array, used: Array, found: int, most: int) -> int:
    """Put patterns into a hash table, as long as there are no more than ``most``; gives how many
    there are, most + 1 if there are more."""
    mask = table.size - 1
    for i in range(patterns.size):
        pattern = patterns[i]
        slot = _slot(pattern, mask)
        while used[slot] and table[slot] != pattern:
            slot = (slot + 1) & mask
        if not used[slot]:
            if found == most:
                return most + 1
            used[slot], table[slot] = 1, pattern
            found += 1
    return found


@compiled
def distinct_of_groups(
    patterns: Array, width: int, sign: Any, most: int, table: Array, used: Array, first: int
) -> int:
    """The most distinct values other than zero of any group of ``width`` weights; −1 if a group
    has more than ``most``, or more than half as many as it has weights other than zero.

    ``used`` holds the number of the group that an entry of the table was made for; groups are
    numbered from ``first``, above 0, on. ``sign`` is the bit that zero may have. A group of fewer
    than 8 weights other than zero says nothing.
    """
    mask, largest = table.size - 1, 0
    for start in range(0, patterns.size, width):
        group, found, filled = first + start // width, 0, 0
        for i in range(start, min(start + width, patterns.size)):
            pattern = patterns[i]
            if pattern == 0 or pattern == sign:
                continue
            filled += 1
            slot = _slot(pattern, mask)
            while used[slot] == group and table[slot] != pattern:
                slot = (slot + 1) & mask
            if used[slot] != group:
                if found == most:
                    return -1
                used[slot], table[slot] = group, pattern
                found += 1
        if filled >= 8 and 2 * found > filled:
            return -1
        largest = max(largest, found)
    return largest


# --- multiples of a step ----------------------------------------------------------------------


@compiled(inline=True)
def _are_multiples(weights: Array, start: int, stop: int, scale: float, slack: float) -> bool:
    for i in range(start, stop):
        multiple = np.float64(weights[i]) * scale
        near = abs(multiple - np.rint(multiple)) <= slack  # which what is no number never is
        if not near or (weights[i] != 0.0 and abs(multiple) < 0.5):
            return False
    return True


@compiled
def levels_of_groups(weights: Array, width: int, most: int, precision: float, start: int) -> int:
    """The largest multiple, ``most`` at most, that any group needs if its weights are multiples of
    a step of its own; −1 if those of one are not.

    A group of zeros needs none, 0. The largest weight of a group is m steps; m is tried from 1 on,
    first the one that fitted the group before (``start`` for the first). Multiples may be off by
    ``precision`` of the largest.
    """
    largest, last = start, start
    for first in range(0, weights.size, width):
        stop, peak = min(first + width, weights.size), 0.0
        for i in range(first, stop):
            peak = max(peak, abs(np.float64(weights[i])))
        if peak == 0.0:
            continue
        fits = 0
        if last and _are_multiples(weights, first, stop, last / peak, last * precision):
            fits = last
        multiple = 1
        while not fits and multiple <= most:
            if _are_multiples(weights, first, stop, multiple / peak, multiple * precision):
                fits = multiple
            multiple += 1
        if not fits:
            return -1
        last, largest = fits, max(largest, fits)
    return largest
