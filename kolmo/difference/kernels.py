"""The compiled loops of the codes of a difference that follow from counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled


@compiled(inline=True)
def _count(number: Any, counts: Array) -> None:
    """Count an unsigned number by its digits, and the two digits after the first.

    0 has no digit. A number of two digits has only one after the first: 0 or 1.
    """
    if number == np.uint64(0):
        counts[0, 0] += 1
        return
    high = number >> np.uint64(32)
    part = np.float64(np.int64(high if high else number))  # exact, so its exponent is that of it
    digits = (part.view(np.int64) >> 52) - (990 if high else 1022)
    after = np.uint64(0)
    if digits > 2:
        after = (number >> np.uint64(digits - 3)) & np.uint64(3)
    elif digits == 2:
        after = number & np.uint64(1)
    counts[digits, np.int64(after)] += 1


@compiled
def count_digits(numbers: Array, contexts: Array, counts: Array) -> None:
    """Count unsigned numbers by context, number of digits, and the two digits after the first.

    ``contexts`` is the context of each number; the counts are added to ``counts``, shape
    (contexts, 65, 4).
    """
    for i in range(numbers.size):
        _count(np.uint64(numbers[i]), counts[contexts[i]])


@compiled(inline=True)
def _zigzag(difference: Any, width: int) -> Any:
    """As `kolmo.floats.zigzag`, of a difference modulo 2^width."""
    shift = np.uint64(64 - width)
    high = np.int64(difference << shift)
    return (np.uint64(high << 1) ^ np.uint64(high >> 63)) >> shift


@compiled(inline=True)
def _ordered(pattern: Any, top: Any, mask: Any) -> Any:
    """As `kolmo.floats.ordered`; ``top`` is the sign's bit, 0 where there is no sign."""
    if top == np.uint64(0):
        return pattern
    return ~pattern & mask if pattern & top else pattern | top


@compiled
def tally(
    base: Array,
    tuned: Array,
    contexts: Array,
    top: Any,
    mask: Any,
    zero: Any,
    counts: Array,
    values: Array,
    difference: Array,
    xor: Array,
) -> int:
    """Count what two arrays of bit patterns (unsigned) are apart, by context; returns how many
    entries differ.

    Parameters
    ----------
    top, mask : the bit of the sign, 0 where patterns are in order as they are, and all bits
    zero : the ordered pattern of the value 0
    counts : (3, contexts, 65, 4), added to: differences, exclusive ors, differences less one of
        the entries that changed
    values : (65, 4), added to: what changed entries are now
    difference, xor : written
    """
    width = 8 * base.itemsize
    changed = 0
    top, mask, zero = np.uint64(top), np.uint64(mask), np.uint64(zero)
    for i in range(base.size):
        before, after = np.uint64(base[i]), np.uint64(tuned[i])
        place = _ordered(after, top, mask)
        step = _zigzag(place - _ordered(before, top, mask), width)
        difference[i], xor[i] = step, before ^ after
        context = contexts[i]
        _count(step, counts[0, context])
        _count(before ^ after, counts[1, context])
        if step:
            changed += 1
            _count(step - np.uint64(1), counts[2, context])
            _count(_zigzag(place - zero, width), values)
    return changed


@compiled(allocates=True)
def digits_log2(counts: Array, most: int, found: Array) -> None:
    """Add log2 of the probability of numbers with these counts, shape (contexts, 65, 4), to
    ``found[0]``, and what was added up for it, whatever the signs, to ``found[1]``.

    Sums are compensated (Neumaier 1974), so that their error is that of the terms.
    """
    lost = 0.0
    classes, pair = np.zeros(65, np.int64), np.zeros(2, np.int64)
    for c in range(counts.shape[0]):
        longest, total = -1, 0
        for d in range(65):
            classes[d] = counts[c, d, 0] + counts[c, d, 1] + counts[c, d, 2] + counts[c, d, 3]
            total += classes[d]
            if classes[d]:
                longest = d
        for d in range(longest + 1):
            total -= classes[d]
            if d < most:
                pair[0], pair[1] = classes[d], total
                lost += _kt(pair, 2, found)
            if d >= 2 and classes[d]:
                lost += _kt(counts[c, d], 2 if d == 2 else 4, found)
            if d > 3:
                found[1] += (d - 3) * classes[d]
                lost += _add(found, -np.float64((d - 3) * classes[d]))
    found[0] += lost


@compiled
def _kt(counts: Array, size: int, found: Array) -> Any:
    """Add the Krichevsky–Trofimov probability of counts; returns what rounding lost."""
    total, each = 0, 0.0
    for i in range(size):
        total += counts[i]
        each += math.lgamma(counts[i] + 0.5)
    if total == 0:
        return 0.0
    norm = math.lgamma(size / 2) - size * math.lgamma(0.5) - math.lgamma(total + size / 2)
    found[1] += 2 * (total + size) * math.log2(total + size + 2)
    return _add(found, min(0.0, (norm + each) / math.log(2)))


@compiled
def _add(found: Array, term: float) -> Any:
    before = found[0]
    found[0] = before + term
    if abs(before) >= abs(term):
        return (before - found[0]) + term
    return (term - found[0]) + before
