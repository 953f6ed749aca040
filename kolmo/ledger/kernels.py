"""The compiled loops of the ledger, nothing else: callers allocate, check and interpret."""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled

# --- all weights ------------------------------------------------------------------------------


@compiled
def scan(
    patterns: Array, weights: Array, digits: int, shift: float,
    counts: Array, seen: Array, sums: Array, most: Array,
) -> None:  # fmt: skip
    """Add up floats of 32 or 64 bits, four lanes side by side.

    ``counts[lane, e]`` counts the weights of exponent field e, ``seen[lane, e]`` are the bits of
    ``digits`` mantissa bits that any of them has. ``sums[lane]`` are the sums of w − shift, and of
    its square, over finite weights; ``most`` is the largest finite pattern without its sign, and
    the number of zeros.
    """
    one = patterns.dtype.type(1)
    fields = patterns.dtype.type(counts.shape[1] - 1)
    down = patterns.dtype.type(digits)
    mask = (one << down) - one
    magnitude = (fields << down) | mask
    largest, zeros = patterns.dtype.type(most[0]), 0
    for i in range(patterns.size):
        lane, bits = i & 3, patterns[i] & magnitude
        exponent = np.intp(bits >> down)
        counts[lane, exponent] += 1
        seen[lane, exponent] |= bits & mask
        if exponent < fields:
            largest = max(largest, bits)
            zeros += bits == 0
            moved = np.float64(weights[i]) - shift
            sums[lane, 0] += moved
            sums[lane, 1] += moved * moved
    most[0] = largest
    most[1] += np.uint64(zeros)


@compiled
def count_patterns(patterns: Array, counts: Array) -> None:
    """Count each pattern of 8 or 16 bits."""
    for i in range(patterns.size):
        counts[patterns[i]] += 1


# --- distinct values --------------------------------------------------------------------------


@compiled(inline=True)
def _slot(pattern: int, mask: int) -> int:
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
    patterns: Array, width: int, sign: int, most: int, table: Array, used: Array, first: int
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
        if abs(multiple - np.rint(multiple)) > slack or (weights[i] != 0.0 and abs(multiple) < 0.5):
            return False
    return True


@compiled
def levels_of_groups(weights: Array, width: int, most: int, precision: float, start: int) -> int:
    """The largest multiple, ``most`` at most, that any group needs if its weights are multiples of
    a step of its own; 0 if those of one are not.

    The largest weight of a group is m steps; m is tried from 1 on, first the one that fitted the
    group before (``start`` for the first). Multiples may be off by ``precision`` of the largest.
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
            return 0
        last, largest = fits, max(largest, fits)
    return largest
