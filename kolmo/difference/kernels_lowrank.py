"""The compiled loop of the low-rank code: predictions, and how far from them the weights are."""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled
from kolmo.difference.kernels import _count, _zigzag

_CONTEXTS, _NEAR, _COARSE = 192, 16, 12
_HALF = 0.7071067811865476


@compiled(inline=True)
def _exponent(number: Any) -> Any:
    """e of a number in [2^e, 2^(e+1)); −1023 of zero and of subnormal numbers."""
    return ((np.float64(number).view(np.int64) >> 52) & 2047) - 1023


@compiled(inline=True)
def _power(exponent: Any) -> Any:
    """2^exponent, of exponents of normal numbers."""
    return np.int64((exponent + 1023) << 52).view(np.float64)


@compiled(inline=True)
def _rounded(number: float, digits: int, least: int, twice: bool) -> Any:
    """A number rounded to ``digits`` binary places after the first, and no finer than 2^least;
    ``twice``: after it was rounded to float32."""
    if digits == 52:
        return number
    if twice:
        number = np.float64(np.float32(number))
    place = max(_exponent(number) - digits, least)
    return np.rint(number * _power(-place)) * _power(place)


@compiled(inline=True)
def _is_low(number: float) -> Any:
    return np.float64(number).view(np.int64) < 0


@compiled(inline=True)
def _place(number: float, digits: int, least: int) -> Any:
    """The place of a number of the dtype in the order of its values; that of +0 is 0."""
    size = abs(number)
    unit = max(_exponent(size) - digits, least)
    place = np.int64(size * _power(-unit)) + (np.int64(unit - least) << digits)
    return -1 - place if _is_low(number) else place


@compiled(inline=True)
def _neighbours(number: float, digits: int, least: int) -> tuple[float, float]:
    """The next lower and the next higher number of the dtype; of a zero, the other zero is one."""
    low = _is_low(number)
    size = abs(number)
    exponent = _exponent(size)
    unit = max(exponent - digits, least)
    if size == 0.0:
        return (-_power(least), 0.0) if low else (0.0, _power(least))
    inner = unit - 1 if unit > least and size == _power(exponent) else unit
    outside, inside = size + _power(unit), size - _power(inner)
    return (-outside, -inside) if low else (inside, outside)


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


@compiled(allocates=True)
def count_away(
    base: Array,
    tuned: Array,
    u: Array,
    v: Array,
    form: Array,
    rounded: bool,
    counts: Array,
    grid: Array,
    flags: Array,
) -> int:
    """Count, by context, how far weights are from base + u·vᵀ rounded to their dtype.

    Parameters
    ----------
    base, tuned : float32 or float64 (rows, columns)
    u, v : float64 (rows, r), (r, columns)
    form : int64 array
        Of the dtype: binary places after the first, exponent of the least number, largest place,
        width, whether conversion goes by float32; then the exponent that contexts are relative to.
    rounded : whether the product is rounded before it is added
    counts, grid : (192, 65, 4), (576, 65, 4), added to: distances, and distances in steps of the
        product where these are coarser (only if ``rounded``)
    flags : (2,), added to: weights whose distance is a whole number of such steps, and others

    Returns
    -------
    int
        Weights that are predicted to the last bit; −1 if something is too large or too small.
    """
    digits, least, largest, width, twice, unit = (
        form[0], form[1], form[2], form[3], form[4] != 0, form[5]
    )  # fmt: skip
    columns = base.shape[1]
    product = np.empty(columns)
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width)
    exact = 0
    for i in range(base.shape[0]):
        _add_products(u[i], v, product)
        for j in range(columns):
            added = _rounded(product[j], digits, least, twice) if rounded else product[j]
            total = np.float64(base[i, j]) + added
            predicted = _rounded(total, digits, least, twice)
            place = _place(predicted, digits, least)
            if not abs(place) < largest or not abs(product[j]) < 1e300:
                return -1
            if rounded and not abs(_place(added, digits, least)) < largest:
                return -1
            below, above = _neighbours(predicted, digits, least)
            down, up = total - (below + predicted) / 2, (above + predicted) / 2 - total
            finer = 0
            if rounded and added != 0.0 and predicted != 0.0:
                finer = _exponent(added) - _exponent(predicted)
                if finer > 0:  # the product's own rounding decides
                    lower, upper = _neighbours(added, digits, least)
                    down, up = product[j] - (lower + added) / 2, (upper + added) / 2 - product[j]
            near, step = abs(min(down, up)), (above - below) / 2
            halves, exponent = _NEAR - 4 - 2 * unit, 0
            if near != 0.0:
                exponent = _exponent(near) + 1
                halves += 2 * exponent
                if exponent > -1020 and near > _HALF * _power(exponent):
                    halves += 1
            coarse = _exponent(step) + 1 - unit + _COARSE - 4
            context = min(max(halves, 0), _NEAR - 1) * _COARSE + min(max(coarse, 0), _COARSE - 1)
            apart = _place(np.float64(tuned[i, j]), digits, least) - place
            away = _zigzag(np.uint64(apart if down < up else -apart) & mask, width)
            if away == 0:
                exact += 1
            _count(away, counts[context])
            if rounded:
                number = away
                if finer > 0:
                    shift = np.uint64(min(finer, width - 2))
                    odd = away & np.uint64(1)
                    magnitude = (away >> np.uint64(1)) + odd
                    fewer = magnitude >> shift
                    whole = (fewer << shift) == magnitude
                    if whole:
                        number = ((fewer << np.uint64(1)) - odd) & mask if fewer else np.uint64(0)
                    flags[0 if whole else 1] += 1
                    context += _CONTEXTS * (1 if whole else 2)
                _count(number, grid[context])
    return exact
