"""The compiled loops that find the step of a grid: a scale whose multiples all weights are.

A weight is known up to its rounding, as an interval [low, high]; so is the step. Each weight that
is a multiple of only one integer narrows the interval of the step, until it is that of all scales
which give the very same weights. What is found is checked by whoever uses it.
"""

from __future__ import annotations

import math

from kolmo.compiled import Array, compiled

EDGE = 2.0**-50
"""Relative error of a quotient of two floats, with a margin."""


@compiled
def narrow(low: Array, high: Array, digits: int, most: int, step: Array) -> float:
    """Narrow an interval of the step by all weights of a group.

    Parameters
    ----------
    low, high : float64 ndarray
        Bounds of magnitudes; those of weights that say nothing have ``low`` 0.
    digits : int
        0 for multiples that are integers, p for integers of p binary digits times any power of two.
    most : int
        Largest multiple.
    step : float64 ndarray of two
        An interval of the step; changed.

    Returns
    -------
    float
        Bits that weights need less as multiples of the step; −1 if too many are none, or if there
        is less than half a bit for each weight: then any number is a multiple.
    """
    saved, seen = 0.0, 0
    for _ in range(3):
        saved, unsure, misses, seen = 0.0, 0, 0, 0
        for i in range(low.size):
            if low[i] <= 0:
                continue
            if step[0] <= 0:  # under the least float: every number would be a multiple
                return -1.0
            seen += 1
            first, last = low[i] / step[1], high[i] / step[0]
            factor = 1.0
            if digits:
                factor = math.ldexp(1.0, digits - math.frexp(first)[1])
                first *= factor
                last *= factor
            least = math.ceil(first * (1 - EDGE))
            largest = math.floor(last * (1 + EDGE))
            bottom = max(step[0], low[i] * factor / max(least, 1))
            top = min(step[1], high[i] * factor / max(least, 1))
            if least > largest or least > most or (least == largest and bottom > top * (1 + EDGE)):
                misses += 1
                if misses > 2 + (seen >> 6):
                    return -1.0
            elif least == largest:
                step[0], step[1] = min(bottom, top), max(bottom, top)
                if last - first < 1:
                    saved -= math.log2(max(last - first, EDGE * least))
            else:
                unsure += 1
        if unsure == 0:
            break
    return saved if 2 * saved > seen else -1.0


@compiled
def fit(
    low: Array, high: Array, digits: int, most: int, hints: Array, scan: int, step: Array
) -> float:
    """Find the coarsest step of a group of weights; see `narrow`.

    It is the smallest weight divided by 1 to 8, or one of the ``hints`` (rows of the bounds of a
    step), or the largest weight divided by up to ``scan``.
    """
    smallest, largest = -1, -1
    for i in range(low.size):
        if low[i] > 0:
            if smallest < 0 or low[i] < low[smallest]:
                smallest = i
            if largest < 0 or low[i] > low[largest]:
                largest = i
    if smallest < 0:  # zeros are multiples of anything
        step[0], step[1] = 0.0, math.inf
        return 0.0
    if digits:
        for divisor in range(1 << (digits - 1), 1 << digits):
            step[0], step[1] = low[largest] / divisor, high[largest] / divisor
            saved = narrow(low, high, digits, most, step)
            if saved >= 0:
                return saved
    for divisor in range(1, 9 if digits == 0 else 1):
        step[0], step[1] = low[smallest] / divisor, high[smallest] / divisor
        saved = narrow(low, high, digits, most, step)
        if saved >= 0:
            return saved
    for k in range(len(hints)):
        step[0], step[1] = hints[k, 0], hints[k, 1]
        saved = narrow(low, high, digits, most, step)
        if saved >= 0:
            return saved
    if digits == 0:
        return _scanned(low, high, largest, most, scan, step)
    return -1.0


@compiled(inline=True)
def _scanned(low: Array, high: Array, largest: int, most: int, scan: int, step: Array) -> float:
    """Divide the largest weight by 2 to ``scan``; two other weights say soon where that is vain."""
    first, second = -1, -1
    for i in range(low.size):
        if low[i] > 0 and i != largest and second < 0:
            first, second = (i, -1) if first < 0 else (first, i)
    if second < 0:
        return -1.0
    first_low, first_high = low[first] / high[largest], high[first] / low[largest]
    second_low, second_high = low[second] / high[largest], high[second] / low[largest]
    for divisor in range(2, scan + 1):
        if math.floor(first_high * divisor * (1 + EDGE)) < first_low * divisor * (1 - EDGE):
            continue
        if math.floor(second_high * divisor * (1 + EDGE)) < second_low * divisor * (1 - EDGE):
            continue
        step[0], step[1] = low[largest] / divisor, high[largest] / divisor
        saved = narrow(low, high, 0, most, step)
        if saved >= 0:
            return saved
    return -1.0


@compiled
def fit_groups(
    low: Array,
    high: Array,
    digits: int,
    most: int,
    hints: Array,
    scan: int,
    steps: Array,
    saved: Array,
) -> None:
    """`fit` of each row of ``low`` and ``high``; writes the rows of ``steps``, and ``saved``."""
    for i in range(len(low)):
        saved[i] = fit(low[i], high[i], digits, most, hints, scan, steps[i])
