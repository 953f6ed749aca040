"""The compiled loops of the codes of a difference that follow from counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled

_BLOCK = 1024  # numbers whose places are found before they are counted
_ROW = 65 * 4  # counts of a context


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


@compiled(inline=True)
def _narrow(number: Any) -> Any:
    """The place of an unsigned number of up to 24 bits in rows of counts (65, 4), but that what
    follows the first of two digits is in the place before the last.

    The digits, and the two after the first, are the head of the number as a float.
    """
    head = np.float32(np.int32(number)).view(np.int32) >> np.int32(21)
    return max(head - np.int32(4 * 126), np.int32(0))


@compiled(inline=True)
def _broad(number: Any) -> Any:
    """As `_narrow`, of a number of up to 32 bits."""
    return np.int32(max((np.float64(number).view(np.int64) >> 50) - 4 * 1022, np.int64(0)))


@compiled(inline=True)
def _zigzag32(difference: Any, gap: Any) -> Any:
    """As `_zigzag`, of a difference modulo 2^(32 − gap)."""
    high = np.uint32(np.uint32(difference) << gap)
    folded = np.uint32(high << np.uint32(1)) ^ np.uint32(np.int32(high) >> np.int32(31))
    return np.uint32(np.uint32(folded) >> gap)


@compiled(inline=True)
def _classes(
    base: Array, tuned: Array, contexts: Array, top: Any, mask: Any, zero: Any,
    difference: Array, xor: Array, codes: Array, place_of: Any,
) -> None:  # fmt: skip
    """Places of what `tally` counts, without a branch, so that many are found at once."""
    gap = np.uint32(32 - 8 * base.itemsize)
    first, second, third, fourth = codes[0], codes[1], codes[2], codes[3]
    for i in range(base.size):
        before, after = np.uint32(base[i]), np.uint32(tuned[i])
        xor[i] = before ^ after
        before = np.uint32(before ^ mask) if np.uint32(before & top) else np.uint32(before | top)
        after = np.uint32(after ^ mask) if np.uint32(after & top) else np.uint32(after | top)
        step = _zigzag32(np.uint32(after - before), gap)
        difference[i] = step
        row = np.int32(np.int32(contexts[i]) * np.int32(_ROW))
        first[i] = row + place_of(step)
        second[i] = row + place_of(np.uint32(xor[i]))
        less = place_of(np.uint32(step - np.uint32(1)))
        value = place_of(_zigzag32(np.uint32(after - zero), gap))
        same = step == np.uint32(0)
        third[i] = row + (np.int32(_ROW - 1) if same else less)
        fourth[i] = np.int32(_ROW - 1) if same else value


@compiled(inline=True)
def _put_right(counts: Array) -> int:
    """Move numbers of two digits to their place, and remove those that did not change."""
    same = 0
    for context in range(counts.shape[0]):
        counts[context, 2, 1] += counts[context, 2, 2]
        counts[context, 2, 2] = 0
        same += counts[context, 64, 3]
        counts[context, 64, 3] = 0
    return same


@compiled(inline=True, allocates=True)
def _tally(
    base: Array, tuned: Array, contexts: Array, top: Any, mask: Any, zero: Any,
    counts: Array, values: Array, difference: Array, xor: Array, place_of: Any,
) -> int:  # fmt: skip
    top, mask, zero = np.uint32(top), np.uint32(mask), np.uint32(zero)
    codes = np.empty((4, _BLOCK), np.int32)
    steps, xors, less = counts[0].reshape(-1), counts[1].reshape(-1), counts[2].reshape(-1)
    now = values.reshape(-1)
    for start in range(0, base.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        _classes(base[part], tuned[part], contexts[part], top, mask, zero,
                 difference[part], xor[part], codes, place_of)  # fmt: skip
        for i in range(min(_BLOCK, base.size - start)):
            steps[codes[0, i]] += 1
            xors[codes[1, i]] += 1
            less[codes[2, i]] += 1
            now[codes[3, i]] += 1
    _put_right(counts[0])
    _put_right(counts[1])
    _put_right(values)
    changed: int = base.size - _put_right(counts[2])
    return changed


@compiled(allocates=True)
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
    """Count what two arrays of bit patterns (unsigned, up to 16 bits) are apart, by context;
    returns how many entries differ.

    Parameters
    ----------
    top, mask : the bit of the sign, 0 where patterns are in order as they are, and all bits
    zero : the ordered pattern of the value 0
    counts : (3, contexts, 65, 4), added to: differences, exclusive ors, differences less one of
        the entries that changed
    values : (1, 65, 4), added to: what changed entries are now
    difference, xor : written
    """
    return _tally(base, tuned, contexts, top, mask, zero,
                  counts, values, difference, xor, _narrow)  # fmt: skip


@compiled(allocates=True)
def tally_32(
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
    """As `tally`, of patterns of up to 32 bits."""
    return _tally(base, tuned, contexts, top, mask, zero,
                  counts, values, difference, xor, _broad)  # fmt: skip


@compiled
def tally_64(
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
    """As `tally`, of patterns of any width, one after the other."""
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
            _count(_zigzag(place - zero, width), values[0])
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
