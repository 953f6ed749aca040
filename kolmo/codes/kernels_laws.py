"""What a weight's value is likely to be: laws of a mean and a scale, in integers only.

::

    values of earlier rows ─► correlation between columns ─► mean and scale given the row so far
    values of neighbours   ─► least squares               ─► mean and scale
                              mean and scale              ─► chance of lying below a border

A value is a signed integer of 30 bits, `VALUE_BITS`, of which the table's largest exponent has the
upper half. A law is Student's t of six degrees of freedom: weights have heavier tails than normal
ones even when their scale is known. Fixed-point numbers are named by their fraction: Q24 has 24
bits after the point.

Two kinds of law are learned. Columns of a row are correlated, because the inputs that they belong
to are: of each column, its mean and scale given all columns before follow from the Cholesky factor
of the correlation matrix of the rows so far, shrunk towards none. And neighbours predict, in smooth
kernels and tables: least squares on a few places around, of which the near past counts most.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kolmo.compiled import Array, compiled

VALUE_BITS = 30
LAWS = 5  # the plain one, two of columns, two of neighbours
PLAIN, COLUMNS_NEAR, COLUMNS_FAR, NEIGHBOURS, RECENT = range(LAWS)
WIDEST = 1024  # most columns of a band

FEATURES = 12  # neighbours that least squares may use
_RECENT = 4  # of which the quick law uses the first ones

BLOCK = 32  # rows between updates of the correlations, weights between fits of neighbours
_CLIP = 1 << 16  # 16 standard deviations in Q12
_RIDGE = 1 << 9  # of Q24, added to the diagonal of neighbours' correlations

# Registers of a band of columns: the sum of its rows' scales, the number of rows, that at which it
# is fitted again, rows waiting for their block, whether there is a fit, whether scale and number of
# rows are only a guess.
SCALE_SUM, ROWS, NEXT_FIT, WAITING, FITTED, GUESSED = range(6)
REGISTERS = 6


class Columns(NamedTuple):
    """What is known of columns and of the correlation between them."""

    registers: Array  # (bands, REGISTERS)
    sums: Array  # (bands, d, d): products of normalized values, Q24, summed over rows
    factors: Array  # (bands, 2, d, d): Cholesky factors of the shrunk correlation matrices, Q24
    scales: Array  # (bands, d): of columns, relative to that of the row, Q12
    waiting: Array  # (bands, BLOCK, d): normalized rows that the sums do not yet have, Q12
    whitened: Array  # (2, d): the row so far, whitened by each factor, Q16
    energy: Array  # (3,): of the whitened row, Q24; the means that both factors foresee, Q40
    shrink: Array  # (2,): λ of both factors, Q24
    roots: Array  # (d,): scratch
    errors: Array  # (2, columns): mean error of both laws, as a share of what they foresaw, Q12


class Neighbours(NamedTuple):
    """What is known of how neighbours predict."""

    lags: Array  # (FEATURES, 2): rows up and columns to the left of each neighbour; 0, 0 for none
    features: Array  # (FEATURES + 1,): their values, and last that of the weight
    sums: Array  # (2, FEATURES + 1, FEATURES + 1): decayed products, of the slow and the quick law
    weights: Array  # (2, FEATURES): Q20
    scratch: Array  # (4, FEATURES + 1, FEATURES + 1)


class Laws(NamedTuple):
    """The laws of the weight that comes next, and the chances of what is known of its magnitude."""

    now: Array  # (LAWS, 3): mean, scale, 2^40 / scale
    edges: Array  # (LAWS, 3): chance that a magnitude is below the lower border, the upper, between
    errors: Array  # (2,): mean error of both laws of neighbours, as a share of the plain scale, Q12
    chances: Array  # the distribution function of the law, by 128ths of its scale


def chances() -> np.ndarray:
    """The distribution function of t with six degrees, from -16 to 16 scales, of 2^28; with a
    slope, so that no interval is impossible.

    Square roots and sums are rounded alike on every machine.
    """
    table = []
    for step in range(-2048, 2049):
        t = step / 128
        x = t / math.sqrt(6 + t * t)
        c = 1 - x * x
        table.append(round((0.5 + 0.5 * x * (1 + c / 2 + 3 * c * c / 8)) * (1 << 28)) + step * 16)
    return np.array(table, np.int64) - table[0] + 1


@compiled(inline=True)
def below(law: Array, table: Array, border: int) -> int:
    """The chance that a value is below a border, under (mean, scale, reciprocal)."""
    scale = law[1]
    away = min(max(border - law[0], -16 * scale), 16 * scale)
    steps = (away * law[2]) >> 28  # Q12 of a scale
    place = min(max((steps >> 5) + 2048, 0), 4095)
    low = table[place]
    return int(low + (((table[place + 1] - low) * (steps & 31)) >> 5))


@compiled(inline=True)
def within(law: Array, table: Array, border: int) -> int:
    """The chance that a magnitude is below a border."""
    return below(law, table, border) - below(law, table, -border)


@compiled(inline=True)
def set_law(now: Array, which: int, mean: int, scale: int) -> None:
    """Set mean and scale of a law."""
    scale = min(max(scale, 4), 1 << 31)
    limit = 1 << 32
    now[which, 0] = min(max(mean, -limit), limit)
    now[which, 1] = scale
    now[which, 2] = (1 << 40) // scale


@compiled(inline=True)
def root(number: int) -> int:
    """The square root of an integer, rounded down."""
    if number <= 0:
        return 0
    bits = 0
    while number >> bits:
        bits += 1
    guess = 1 << ((bits + 1) >> 1)
    better = (guess + number // guess) >> 1
    while better < guess:
        guess = better
        better = (guess + number // guess) >> 1
    return guess


# --- columns --------------------------------------------------------------------------------

# The columns of a row are cut into bands of equal width, whose correlations are learned apart.


@compiled(inline=True)
def predict_columns(column: int, columns: Columns, laws: Laws) -> None:
    """Set the laws that column and row give to the next weight."""
    width = columns.scales.shape[1]
    band = column // width
    at = column - band * width
    registers = columns.registers[band]
    mean_scale = registers[SCALE_SUM] // registers[ROWS]
    scale = max((columns.scales[band, at] * mean_scale) >> 12, 1)
    by_row = root((4 * (1 << 24) + columns.energy[0]) // (4 + column))  # Q12
    plain = max((scale * by_row) >> 12, 1)
    set_law(laws.now, PLAIN, 0, plain)
    for which in range(2):
        mean, own = 0, plain
        if registers[FITTED]:
            total = 0
            factor, whitened = columns.factors[band, which, at], columns.whitened[which]
            for i in range(at):
                total += int(np.int64(factor[i]) * np.int64(whitened[i]))
            columns.energy[1 + which] = total
            limit = 1 << 28
            mean = (min(max(total >> 24, -limit), limit) * scale) >> 16
            own = (plain * np.int64(factor[at])) >> 24
            own = (own * columns.errors[which, column]) >> 12
        set_law(laws.now, COLUMNS_NEAR + which, mean, own)


@compiled(inline=True)
def learn_column(value: int, column: int, columns: Columns) -> None:
    """Whiten a value, for those that follow in its row."""
    width = columns.scales.shape[1]
    band = column // width
    at = column - band * width
    registers = columns.registers[band]
    mean_scale = registers[SCALE_SUM] // registers[ROWS]
    scale = max((columns.scales[band, at] * mean_scale) >> 12, 1)
    limit = 1 << 24
    normal = min(max((value << 16) // scale, -limit), limit)
    if not registers[FITTED]:
        z = min(max(normal >> 4, -_CLIP), _CLIP)
        columns.energy[0] += z * z
        return
    for which in range(2):
        own = np.int64(columns.factors[band, which, at, at])
        z = ((normal << 24) - columns.energy[1 + which]) // own
        z = min(max(z, -(1 << 29)), 1 << 29)
        columns.whitened[which, at] = z
        if which == 1:
            z = min(max(z >> 4, -_CLIP), _CLIP)
            columns.energy[0] += z * z


@compiled
def end_row(values: Array, first: int, count: int, columns: Columns) -> None:
    """Learn from a row: ``count`` values from ``first`` on."""
    width = columns.scales.shape[1]
    columns.energy[0] = 0
    for band in range(columns.scales.shape[0]):
        begin = band * width
        _end_band(values, first + begin, min(width, count - begin), band, columns)


@compiled
def _end_band(values: Array, first: int, count: int, band: int, columns: Columns) -> None:
    registers, waiting = columns.registers[band], columns.waiting[band]
    energy = 0
    for i in range(count):
        energy += (values[first + i] >> 4) ** 2 // count
    scale = root(energy) << 4
    if scale == 0:
        return
    row = waiting[registers[WAITING]]
    for i in range(count):
        row[i] = min(max((values[first + i] << 12) // scale, -_CLIP), _CLIP)
    if registers[GUESSED]:
        registers[GUESSED] = registers[ROWS] = registers[SCALE_SUM] = 0
    registers[WAITING] += 1
    registers[ROWS] += 1
    registers[SCALE_SUM] += scale
    if registers[WAITING] == BLOCK or registers[ROWS] in (4, 8, 16):
        _take_block(count, band, columns)
    if registers[ROWS] >= registers[NEXT_FIT] and registers[WAITING] == 0:
        registers[NEXT_FIT] = registers[ROWS] + max(2 * BLOCK, registers[ROWS] // 4)
        for which in range(2):
            _factorize(count, band, columns, which)
        registers[FITTED] = 1


@compiled
def _take_block(count: int, band: int, columns: Columns) -> None:
    registers, sums, waiting = columns.registers[band], columns.sums[band], columns.waiting[band]
    rows = registers[WAITING]
    for r in range(rows):
        row = waiting[r]
        for i in range(count):
            own, into = np.int64(row[i]), sums[i]
            for j in range(i + 1):
                into[j] += own * np.int64(row[j])
    registers[WAITING] = 0
    # A column's scale, as if it had had four more rows of scale 1.
    for i in range(count):
        columns.scales[band, i] = max(root((sums[i, i] + (4 << 24)) // (registers[ROWS] + 4)), 16)


@compiled
def _factorize(count: int, band: int, columns: Columns, which: int) -> None:
    """The Cholesky factor of (1 − λ) × the correlation matrix + λ, where λ is larger while there
    are fewer rows than columns."""
    rows = columns.registers[band, ROWS]
    shrink = columns.shrink[which] * min(count, rows) // rows  # Q24
    keep = (1 << 24) - shrink
    sums, factor = columns.sums[band], columns.factors[band, which]
    own = columns.roots
    for i in range(count):
        own[i] = max(root(sums[i, i]), 1)
    for i in range(count):
        line = factor[i]
        for j in range(i):
            correlation = (((sums[i, j] << 12) // own[i]) << 12) // own[j]
            total = 0
            before = factor[j]
            for k in range(j):
                total += int(np.int64(line[k]) * np.int64(before[k]))
            line[j] = _share((correlation * keep - total) // np.int64(before[j]))
        total = 0
        for k in range(i):
            total += int(np.int64(line[k]) * np.int64(line[k]))
        line[i] = max(root((1 << 48) - total), 1 << 8)


@compiled(inline=True)
def _share(number: int) -> int:
    """An entry of the factor of a correlation matrix, Q24: never beyond 1, were it not for the
    rounding of small sums, which must not make products overflow."""
    return min(max(number, -(1 << 24)), 1 << 24)


# --- neighbours -----------------------------------------------------------------------------


@compiled(inline=True)
def predict_neighbours(
    values: Array, place: int, row: int, column: int, width: int, near: Neighbours, laws: Laws
) -> None:
    """Set the laws that neighbours give to the next weight; their scale is that of the plain law
    times the error that each has made of late."""
    features, lags = near.features, near.lags
    for i in range(FEATURES):
        up, left = lags[i, 0], lags[i, 1]
        there = row >= up and 0 <= column - left < width and (up > 0 or left > 0)
        features[i] = values[place - up * width - left] if there else 0
    plain = laws.now[PLAIN, 1]
    for which in range(2):
        total = 0
        for i in range(FEATURES if which == 0 else _RECENT):
            total += near.weights[which, i] * features[i]
        error = laws.errors[which]
        set_law(laws.now, NEIGHBOURS + which, total >> 20, (plain * error) >> 12)


@compiled
def learn_neighbours(value: int, near: Neighbours) -> None:
    """Learn from a weight that was predicted."""
    features = near.features
    features[FEATURES] = value
    for i in range(FEATURES + 1):
        own = features[i] >> 8
        for j in range(i + 1):
            product = own * (features[j] >> 8)
            near.sums[0, i, j] += product
            near.sums[1, i, j] += product


@compiled
def fit_neighbours(place: int, near: Neighbours) -> None:
    """Fit anew each 32 weights, the quick law each eight; sums decay even where none is learned."""
    if place & 31 == 31:
        _fit(near.sums[0], near.weights[0], FEATURES, near.scratch)
        for i in range(FEATURES + 1):
            for j in range(i + 1):
                near.sums[0, i, j] -= near.sums[0, i, j] >> 5
    if place & 7 == 7:
        _fit(near.sums[1], near.weights[1], _RECENT, near.scratch)
        for i in range(FEATURES + 1):
            for j in range(i + 1):
                near.sums[1, i, j] -= near.sums[1, i, j] >> 2


@compiled
def _fit(sums: Array, weights: Array, count: int, scratch: Array) -> None:
    """Least squares: the weights of features that best give the last one; Q20."""
    factor, forward, back, scale = scratch[0], scratch[1, 0], scratch[2, 0], scratch[3, 0]
    target = max(root(sums[FEATURES, FEATURES]), 1)
    for i in range(count):
        scale[i] = max(root(sums[i, i]), 1)
    for i in range(count):
        for j in range(i):
            total = ((sums[i, j] // scale[i]) << 24) // scale[j] << 24
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = _share(total // factor[j, j])
        total = ((1 << 24) + _RIDGE) << 24
        for k in range(i):
            total -= factor[i, k] * factor[i, k]
        factor[i, i] = max(root(total), 1 << 12)
        total = ((sums[FEATURES, i] // scale[i]) << 24) // target << 24
        for k in range(i):
            total -= factor[i, k] * forward[k]
        forward[i] = _share(total // factor[i, i])
    for i in range(count - 1, -1, -1):
        total = forward[i] << 24
        for k in range(i + 1, count):
            total -= factor[k, i] * back[k]
        limit = 1 << 31
        back[i] = min(max(total // factor[i, i], -limit), limit)
        whole = ((back[i] * target) // scale[i]) >> 4
        weights[i] = min(max(whole, -(1 << 25)), 1 << 25)


@compiled(inline=True)
def learn_errors(value: int, laws: Laws) -> None:
    """How far off the laws of neighbours were of late, as a share of the plain scale."""
    plain, errors = laws.now[PLAIN, 1], laws.errors
    for which in range(2):
        off = abs(value - laws.now[NEIGHBOURS + which, 0])
        share = min((off << 12) // plain, 1 << 18)
        errors[which] = max(errors[which] + ((share - errors[which]) >> 4), 1)


@compiled(inline=True)
def learn_column_errors(value: int, column: int, columns: Columns, laws: Laws) -> None:
    """How far off the laws of columns are, by column, in units of what they foresaw.

    The mean distance of a t law of six degrees is .918 of its scale."""
    if columns.registers[column // columns.scales.shape[1], FITTED] == 0:
        return
    for which in range(2):
        now = laws.now[COLUMNS_NEAR + which]
        off = abs(value - now[0])
        share = min((off << 12) // now[1], 1 << 14)
        error = columns.errors[which, column]
        error += ((share - 3760) * error) >> 17
        columns.errors[which, column] = min(max(error, 1 << 7), 1 << 14)
