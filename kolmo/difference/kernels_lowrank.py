"""The compiled loop of the low-rank code: predictions, and how far from them the weights are.

Each step is a loop over a row without a branch, so that many weights are done at once; only the
counting is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled
from kolmo.difference.kernels import _ROW, _broad, _put_right, _zigzag32

_CONTEXTS, _NEAR, _COARSE = 192, 16, 12
_HALF = 0x6A09E667F3BCD  # the mantissa of the root of one half
_MANTISSA = (1 << 52) - 1
_SIGN = -(1 << 63)
_WHOLE = 3.0 * 2.0**51  # what is added to it has no digits after the point


@compiled(inline=True)
def _pattern(number: Any) -> Any:
    return np.float64(number).view(np.int64)


@compiled(inline=True)
def _exponent(number: Any) -> Any:
    """e of a number in [2^e, 2^(e+1)); −1023 of zero and of subnormal numbers."""
    return ((_pattern(number) >> 52) & 2047) - 1023


@compiled(inline=True)
def _power(exponent: Any) -> Any:
    """2^exponent, of exponents of normal numbers."""
    return np.int64((exponent + 1023) << 52).view(np.float64)


@compiled(inline=True)
def _unit(number: Any, digits: int, least: int) -> Any:
    """The exponent of a number's last place."""
    return max(_exponent(number) - digits, least)


@compiled(inline=True)
def _rounded(number: float, digits: int, least: int) -> Any:
    """A number rounded to ``digits`` binary places after the first, and no finer than 2^least."""
    size = abs(number)
    unit = _unit(size, digits, least)
    whole = ((size * _power(-unit) + _WHOLE) - _WHOLE) * _power(unit)
    return np.int64(_pattern(whole) | (_pattern(number) & _SIGN)).view(np.float64)


@compiled(inline=True)
def _is_low(number: float) -> Any:
    return _pattern(number) < 0


@compiled(inline=True)
def _place(number: float, digits: int, least: int) -> Any:
    """The place of a number of the dtype in the order of its values; that of +0 is 0."""
    size = abs(number)
    unit = _unit(size, digits, least)
    place = np.int32(np.int32(size * _power(-unit)) + np.int32(np.int32(unit - least) << digits))
    return np.int32(~place) if _is_low(number) else place


@compiled(inline=True)
def _outside(number: float, digits: int, least: int) -> Any:
    """The distance of the next number of the dtype that is farther from zero."""
    return _power(_unit(number, digits, least))


@compiled(inline=True)
def _inside(number: float, digits: int, least: int) -> Any:
    """The distance of the next one that is nearer to zero; none of a zero, as the other zero is
    the next."""
    size = abs(number)
    unit = _unit(size, digits, least)
    finer = (unit > least) & ((_pattern(size) & _MANTISSA) == 0)
    return min(_power(unit - np.int64(finer)), size)


@compiled(inline=True)
def _add_products(u: Array, v: Array, product: Array) -> None:
    """product = u · v, of shapes (r), (r, n) and (n): one after the other, each rounded."""
    for j in range(product.size):
        product[j] = u[0] * v[0, j]
    rank, k = u.size, 1
    while k + 4 <= rank:  # four at once are stored once
        a, b, c, d = u[k], u[k + 1], u[k + 2], u[k + 3]
        for j in range(product.size):
            total = product[j] + a * v[k, j]
            total += b * v[k + 1, j]
            total += c * v[k + 2, j]
            product[j] = total + d * v[k + 3, j]
        k += 4
    for last in range(k, rank):
        for j in range(product.size):
            product[j] += u[last] * v[last, j]


@compiled(inline=True)
def _predict(
    product: Array, base: Array, digits: int, least: int, most: float, twice: bool, rounded: bool,
    total: Array, predicted: Array,
) -> int:  # fmt: skip
    """What base + product rounds to; returns how many numbers are too large. ``rounded``: the
    product is rounded in its place first."""
    if rounded:
        if twice:
            for j in range(product.size):
                predicted[j] = np.float64(np.float32(product[j]))
        else:
            for j in range(product.size):
                predicted[j] = product[j]
        for j in range(product.size):
            predicted[j] = _rounded(predicted[j], digits, least)
    else:
        for j in range(product.size):
            predicted[j] = product[j]
    wrong = 0
    for j in range(product.size):
        wrong += not (abs(predicted[j]) < most) or not (abs(product[j]) < most)
        total[j] = np.float64(base[j]) + predicted[j]
    if twice:
        for j in range(product.size):
            predicted[j] = np.float64(np.float32(total[j]))
    else:
        for j in range(product.size):
            predicted[j] = total[j]
    for j in range(product.size):
        predicted[j] = _rounded(predicted[j], digits, least)
        wrong += not abs(predicted[j]) < most
    return wrong


@compiled(inline=True)
def _boundaries(
    numbers: Array, near: Array, digits: int, least: int, down: Array, up: Array
) -> None:
    """How far numbers are from the boundaries of rounding below and above."""
    for j in range(numbers.size):
        middle = near[j]
        outside, inside = _outside(middle, digits, least), _inside(middle, digits, least)
        low = _is_low(middle)
        below, above = (outside, inside) if low else (inside, outside)
        below, above = middle - below, middle + above
        down[j] = numbers[j] - (below + middle) / 2
        up[j] = (above + middle) / 2 - numbers[j]


@compiled(inline=True)
def _contexts(
    down: Array, up: Array, predicted: Array, digits: int, least: int, unit: int, contexts: Array
) -> None:
    """How near the boundary is, in half octaves, and how coarse the dtype, in octaves."""
    for j in range(down.size):
        near = abs(min(down[j], up[j]))
        pattern = _pattern(near)
        exponent = np.int64(0) if pattern == 0 else (pattern >> 52) - 1022
        halves = 2 * (exponent - unit) + (_NEAR - 4) + np.int64((pattern & _MANTISSA) > _HALF)
        middle = predicted[j]
        step = _outside(middle, digits, least) + _inside(middle, digits, least)  # twice the step
        coarse = _exponent(step) - unit + _COARSE - 4
        near_level = min(max(halves, np.int64(0)), np.int64(_NEAR - 1))
        level = min(max(coarse, np.int64(0)), np.int64(_COARSE - 1))
        contexts[j] = np.int32(near_level * _COARSE + level)


@compiled(inline=True)
def _distances(
    predicted: Array, down: Array, up: Array, tuned: Array, digits: int, least: int, gap: Any,
    away: Array,
) -> None:  # fmt: skip
    """How many numbers of the dtype lie between, as zigzag, those towards the boundary odd."""
    magnitude = np.int32(np.int32(0x7FFFFFFF) >> np.int32(gap))
    for j in range(predicted.size):
        after = np.int32(np.int32(np.uint32(tuned[j]) << gap) >> np.int32(gap))
        after = np.int32(after ^ np.int32(np.int32(after >> np.int32(31)) & magnitude))
        apart = np.int32(after - _place(predicted[j], digits, least))
        apart = apart if down[j] < up[j] else np.int32(-apart)
        away[j] = _zigzag32(np.uint32(apart), gap)


@compiled(inline=True)
def _finer(
    product: Array, total: Array, base: Array, predicted: Array, digits: int, least: int,
    twice: bool, down: Array, up: Array, finer: Array, rows: Array,
) -> None:  # fmt: skip
    """By how many octaves the step of the product is coarser; where it is, its own rounding decides
    what boundary is near."""
    added, lower, upper = rows[0], rows[1], rows[2]
    if twice:
        for j in range(product.size):
            added[j] = np.float64(np.float32(product[j]))
    else:
        for j in range(product.size):
            added[j] = product[j]
    for j in range(product.size):
        added[j] = _rounded(added[j], digits, least)
    _boundaries(product, added, digits, least, lower, upper)
    for j in range(product.size):
        octaves = _exponent(added[j]) - _exponent(predicted[j])
        none = (added[j] == 0.0) | (predicted[j] == 0.0) | (octaves < 0)
        octaves = np.int64(0) if none else octaves
        finer[j] = np.int32(octaves)
        down[j] = lower[j] if octaves > 0 else down[j]
        up[j] = upper[j] if octaves > 0 else up[j]


@compiled(inline=True)
def _in_fewer(away: Any, finer: Any, width: int) -> tuple[Any, Any]:
    """A distance in steps of the product, and whether it is a whole number of them."""
    shift = np.uint64(min(finer, width - 2))
    odd = np.uint64(away) & np.uint64(1)
    magnitude = (np.uint64(away) >> np.uint64(1)) + odd
    fewer = magnitude >> shift
    whole = (fewer << shift) == magnitude
    number = (fewer << np.uint64(1)) - odd if fewer else np.uint64(0)
    return np.uint32(number if whole else np.uint64(away)), whole


@compiled(allocates=True)
def count_away(
    base: Array,
    tuned: Array,
    u: Array,
    v: Array,
    form: Array,
    most: float,
    rounded: bool,
    counts: Array,
    grid: Array,
    flags: Array,
) -> int:
    """Count, by context, how far weights are from base + u·vᵀ rounded to their dtype.

    Parameters
    ----------
    base : float32 (rows, columns)
    tuned : unsigned bit patterns (rows, columns), up to 32 bits
    u, v : float64 (rows, r), (r, columns)
    form : int64 array
        Of the dtype: binary places after the first, exponent of the least number, width, whether
        conversion goes by float32; then the exponent that contexts are relative to.
    most : the largest number of the dtype
    rounded : whether the product is rounded before it is added
    counts, grid : (192, 65, 4), (576, 65, 4), added to: distances, and distances in steps of the
        product where these are coarser (only if ``rounded``)
    flags : (2,), added to: weights whose distance is a whole number of such steps, and others

    Returns
    -------
    int
        Weights that are predicted to the last bit; −1 if something is too large or not finite.
    """
    digits, least, width, twice, unit = form[0], form[1], form[2], form[3] != 0, form[4]
    gap, columns = np.uint32(32 - width), base.shape[1]
    rows = np.empty((8, columns))
    product, total, predicted, down, up = rows[0], rows[1], rows[2], rows[3], rows[4]
    contexts, finer = np.empty(columns, np.int32), np.empty(columns, np.int32)
    away, codes = np.empty(columns, np.uint32), np.empty(columns, np.int32)
    near, exact = counts.reshape(-1), 0
    for i in range(base.shape[0]):
        _add_products(u[i], v, product)
        if _predict(product, base[i], digits, least, most, twice, rounded, total, predicted):
            return -1
        _boundaries(total, predicted, digits, least, down, up)
        if rounded:
            _finer(product, total, base[i], predicted, digits, least, twice,
                   down, up, finer, rows[5:])  # fmt: skip
        _contexts(down, up, predicted, digits, least, unit, contexts)
        _distances(predicted, down, up, tuned[i], digits, least, gap, away)
        for j in range(columns):
            codes[j] = contexts[j] * np.int32(_ROW) + _broad(away[j])
            exact += away[j] == 0
        for j in range(columns):
            near[codes[j]] += 1
        if rounded:
            for j in range(columns):
                number, context = away[j], contexts[j]
                if finer[j] > 0:
                    number, whole = _in_fewer(away[j], finer[j], width)
                    flags[0 if whole else 1] += 1
                    context += _CONTEXTS * (1 if whole else 2)
                code = _broad(number)
                grid[context, code >> 2, code & 3] += 1
    _put_right(counts)
    if rounded:
        _put_right(grid)
    return exact
