"""The compiled loops of the linear code; `kolmo.estimators.linear` says what it predicts.

float64, and the order of all operations is fixed: every inner loop runs over numbers that do not
depend on each other, so that a compiler need not reorder a sum to be quick.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kolmo.compiled import Array, compiled

SHRINKAGES = (0.05, 0.3, 0.8)
EXPERTS = len(SHRINKAGES) + 1  # the last one takes columns as independent
PREDICTORS = EXPERTS + 1  # and then the frequencies of all symbols so far
PANEL = 32  # rows that are solved together

_PRIOR = 1 / 16  # rows of independent columns that count as seen before any
_OWN = 8.0  # columns after which a row's own scale counts as much as that of the rows before
_MEMORY = 1 / 16  # share of the scale of rows that is of the last one
_FLOOR = 2.0**-20  # least share of the first scale that the scale of rows falls to
_TIGHT = 7 / 8  # of the root mean square is the scale of a t law with six degrees of freedom
_NARROW = 2.0**-10  # scales: a shorter interval is a rectangle under the density
_DENSITY = 15 / (16 * math.sqrt(6.0))  # of the t law with six degrees of freedom, at its centre
_SHARE = 2.0**-12  # share of the predictors' weights that is redistributed after each symbol


class Mixture(NamedTuple):
    """What is learned from one tensor for the next.

    ``weights`` are those of the predictors, ``used`` adds up the weight of each after each symbol,
    ``counts`` are those of the classes of symbols, ``totals`` their sum and log2 of the probability
    of all symbols.
    """

    weights: Array
    used: Array
    counts: Array
    totals: Array


class Band(NamedTuple):
    """What is known of a band of columns: second moments of the rows so far, each divided by its
    root mean square; how many rows; for each expert the factor L of the covariance, which is L·Lᵀ,
    the mean square of the rows so far, and the least that it may be."""

    moments: Array
    seen: Array
    factors: Array
    squares: Array
    least: Array


def new_state(classes: int) -> Mixture:
    """The state before the first symbol."""
    return Mixture(
        weights=np.full(PREDICTORS, 1 / PREDICTORS),
        used=np.zeros(PREDICTORS),
        counts=np.zeros(classes),
        totals=np.zeros(2),
    )


def new_band(columns: int, squares: Array, least: float) -> Band:
    """A band of which no row is known, beside the mean squares that were seen elsewhere."""
    factors = np.zeros((EXPERTS, columns, columns))
    factors[:, range(columns), range(columns)] = 1
    moments, seen = np.zeros((columns, columns)), np.zeros(1, np.int64)
    return Band(moments, seen, factors, squares, np.array([least]))


# --- the covariance -------------------------------------------------------------------------


@compiled(allocates=True)
def fit(band: Band) -> None:
    """Factor the covariance of the rows so far, for each expert shrunk towards its diagonal."""
    columns, seen = band.moments.shape[0], band.seen[0] + _PRIOR
    upper = np.empty((columns, columns))
    for i in range(columns):
        diagonal = (band.moments[i, i] + _PRIOR) / seen
        band.factors[len(SHRINKAGES), i, i] = math.sqrt(diagonal)
    for k in range(len(SHRINKAGES)):
        shrinkage = SHRINKAGES[k] * min(1.0, columns / seen)
        for i in range(columns):
            for j in range(columns):
                upper[i, j] = (1 - shrinkage) / seen * band.moments[i, j]
            upper[i, i] = (band.moments[i, i] + _PRIOR) / seen
        _factor(upper)
        _transpose(upper, band.factors[k])


@compiled
def _factor(upper: Array) -> None:
    """Replace the upper half of a positive matrix by its Cholesky factor.

    Rows are subtracted from a later one in their order, a panel of them while it is in the cache.
    """
    size = upper.shape[0]
    for start in range(0, size, PANEL):
        stop = min(start + PANEL, size)
        for k in range(start, stop):
            _subtract(upper, start, k, k)
            row, root = upper[k, k:], math.sqrt(upper[k, k])
            for j in range(row.size):
                row[j] /= root
        for i in range(stop, size):
            _subtract(upper, start, stop, i)


@compiled
def _subtract(upper: Array, start: int, stop: int, row: int) -> None:
    """Subtract rows [start, stop) from a later one, each times its own element above it."""
    for k in range(start, stop):
        _add(-upper[k, row], upper[k, row:], upper[row, row:])


@compiled(inline=True)
def _add(times: float, source: Array, target: Array) -> None:
    for j in range(target.size):
        target[j] += times * source[j]


@compiled
def _transpose(upper: Array, lower: Array) -> None:
    """In squares, for a column of a large matrix has no place in the cache."""
    size = upper.shape[0]
    for top in range(0, size, PANEL):
        for left in range(top, size, PANEL):
            for i in range(top, min(top + PANEL, size)):
                for j in range(max(left, i), min(left + PANEL, size)):
                    lower[j, i] = upper[i, j]


@compiled(allocates=True)
def learn(values: Array, band: Band) -> None:
    """Add rows to the second moments."""
    rows, columns = values.shape
    unit = np.zeros((rows, columns))
    for r in range(rows):
        square = 0.0
        for j in range(columns):
            square += values[r, j] * values[r, j]
        if square > 0:
            each = 1 / math.sqrt(square / columns)
            band.seen[0] += 1
            for j in range(columns):
                unit[r, j] = values[r, j] * each
    for start in range(0, rows, PANEL):  # few rows at a time stay in the cache
        for i in range(columns):
            for r in range(start, min(start + PANEL, rows)):
                _add(unit[r, i], unit[r, i:], band.moments[i, i:])


@compiled(allocates=True)
def _solve(values: Array, factor: Array, diagonal: bool, solved: Array) -> None:
    """z of a panel of rows, L·z = x for each; ``values`` and ``solved`` are (columns, rows)."""
    columns, rows = values.shape
    total = np.empty(rows)
    for j in range(columns):
        total[:] = 0.0
        for i in range(0 if not diagonal else j, j):
            times = factor[j, i]
            for r in range(rows):
                total[r] += times * solved[i, r]
        for r in range(rows):
            solved[j, r] = (values[j, r] - total[r]) / factor[j, j]


# --- the symbols ----------------------------------------------------------------------------


@compiled(allocates=True)
def code_rows(
    values: Array,
    lower: Array,
    upper: Array,
    classes: Array,
    within: float,
    before: int,
    energy: Array,
    band: Band,
    state: Mixture,
) -> None:
    """Code rows of a band with the factors as they are.

    Parameters
    ----------
    values, lower, upper : float64 arrays, (rows, columns)
        What each symbol stands for, and the ends of the interval that is rounded to it. The symbol
        is known already, and only its value is of use, where an end is NaN.
    classes : int64 array, (rows, columns)
    within : float
        Probability of a symbol within its class.
    before : int
        Columns of the bands before.
    energy : float64 array, (experts, rows)
        Σ z² of these rows in the bands before; this band's is added.
    band, state
    """
    rows, columns = values.shape
    solved = np.empty((EXPERTS, columns, PANEL))
    panel = np.zeros((columns, PANEL))
    for start in range(0, rows, PANEL):
        count = min(PANEL, rows - start)
        for r in range(count):
            for j in range(columns):
                panel[j, r] = values[start + r, j]
        for k in range(EXPERTS):
            _solve(panel, band.factors[k], k == len(SHRINKAGES), solved[k])
        for r in range(count):
            row = start + r
            _code_row(values[row], lower[row], upper[row], classes[row], within, before,
                      energy[:, row], solved[:, :, r], band, state)  # fmt: skip


@compiled(allocates=True)
def _code_row(
    values: Array,
    lower: Array,
    upper: Array,
    classes: Array,
    within: float,
    before: int,
    energy: Array,
    solved: Array,
    band: Band,
    state: Mixture,
) -> None:
    columns = values.size
    each, weights = np.empty(PREDICTORS), state.weights
    begun = energy.copy()
    for j in range(columns):
        if not math.isnan(lower[j]):
            for k in range(EXPERTS):
                own = band.factors[k, j, j]
                mean = values[j] - own * solved[k, j]
                square = (_OWN * band.squares[k] + energy[k]) / (_OWN + before + j)
                scale = _TIGHT * own * math.sqrt(square)
                each[k] = interval(lower[j] - mean, upper[j] - mean, upper[j] - lower[j], scale)
            count = state.counts[classes[j]]
            each[EXPERTS] = within * (count + 0.5) / (state.totals[0] + state.counts.size / 2)
            state.counts[classes[j]] += 1
            state.totals[0] += 1
            probability = 0.0
            for k in range(PREDICTORS):
                probability += weights[k] * each[k]
            state.totals[1] += math.log2(probability)
            for k in range(PREDICTORS):
                posterior = weights[k] * each[k] / probability
                state.used[k] += posterior
                weights[k] = (1 - _SHARE) * posterior + _SHARE / PREDICTORS
        for k in range(EXPERTS):
            energy[k] += solved[k, j] * solved[k, j]
    for k in range(EXPERTS):
        newest = (energy[k] - begun[k]) / columns - band.squares[k]
        band.squares[k] = max(band.squares[k] + _MEMORY * newest, _FLOOR * band.least[0])


@compiled
def interval(low: float, high: float, width: float, scale: float) -> float:
    """At most the probability of [low, high) under a t law with six degrees of freedom.

    The density rises and then falls, so that no point of an interval has less than its lower end. A
    narrow interval of this width has at least the rectangle below; of a wide one the distribution
    function tells the difference.
    """
    if width < _NARROW * scale:
        return width / scale * min(_density(low / scale), _density(high / scale))
    if low > 0:  # mirrored to the negative side, where the difference keeps its digits
        low, high = -high, -low
    return max(_below(high / scale) - _below(low / scale), 0.0)


@compiled
def _density(x: float) -> float:
    bend = 1 + x * x / 6
    return _DENSITY / (bend * bend * bend * math.sqrt(bend))


@compiled
def _below(x: float) -> float:
    """The distribution function of the t law with six degrees of freedom."""
    if math.isinf(x):
        return 0.0 if x < 0 else 1.0
    sine = x / math.sqrt(6 + x * x)
    rest = 6 / (6 + x * x)
    return 0.5 + 0.5 * sine * (1 + rest / 2 + 0.375 * rest * rest)
