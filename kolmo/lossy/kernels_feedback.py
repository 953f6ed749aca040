"""The compiled search for the levels of a column whose errors are fed to the rows below.

The levels are those of `kolmo.lossy.kernels_trellis`, but what a value is depends on the errors of
those above it. Each survivor of the Viterbi algorithm therefore has errors of its own for the last
rows; of the rows before these, which nearly all survivors share, the best one's are taken
(per-survivor processing; Raheli, Polydoros & Tzou, IEEE Trans. Commun. 1995).
"""

from __future__ import annotations

import numpy as np

from kolmo.codes.kernels_states import Trellis
from kolmo.compiled import Array, compiled

RECENT = 32
"""Rows of which each survivor has errors of its own."""

_FAR = 1e300


@compiled(allocates=True)
def round_fed(
    column: Array,
    fed: Array,
    factor: Array,
    classes: Array,
    bits: Array,
    price: float,
    trellis: Trellis,
    levels: Array,
    errors: Array,
) -> None:
    """Write the levels of a trellis for a column, each value less what the errors above it add.

    Parameters
    ----------
    column : float64 (n,)
        Values in units of the step.
    fed : float64 (n,)
        What the errors of earlier columns add.
    factor : float64 (n, n)
        Unit lower triangular: what the errors of rows above add.
    classes, bits, price, trellis
        As for `kolmo.lossy.kernels_trellis.round_column`.
    levels : int64 (n,)
        Written.
    errors : float64 (n,)
        Written: levels − values + what was fed from earlier columns.
    """
    count, states = column.shape[0], trellis.quantizers.shape[0]
    costs, later = np.full(states, _FAR), np.empty(states)
    costs[0] = 0.0
    recent, moved = np.zeros((states, RECENT)), np.zeros((states, RECENT))
    origin, chosen = np.empty((count, states), np.int64), np.empty((count, states), np.int32)
    least, best, near = np.empty(2), np.empty(2, np.int64), np.empty(RECENT)
    then_level = np.empty(states, np.int32)
    for i in range(count):
        start = max(0, i - RECENT)
        common = fed[i]
        for k in range(start):
            common += factor[i, k] * errors[k]
        near[:] = 0.0
        for k in range(start, i):
            near[k % RECENT] = factor[i, k]
        later[:] = _FAR
        for state in range(states):
            if costs[state] >= _FAR:
                continue
            value = column[i] - common
            for k in range(RECENT):
                value -= near[k] * recent[state, k]
            odd = trellis.quantizers[state]
            _best_levels(value, odd, bits[classes[i], odd], price, least, best)
            for parity in range(2):
                cost, then = costs[state] + least[parity], trellis.following[state, parity]
                if cost < later[then]:
                    later[then] = cost
                    origin[i, then], then_level[then] = state, best[parity]
        lowest = _survive(i, column[i] - fed[i], origin, chosen, then_level, later, recent, moved)
        recent, moved = moved, recent
        for state in range(states):
            costs[state] = later[state] - later[lowest]
        if i + 1 >= RECENT:
            errors[i + 1 - RECENT] = recent[lowest, (i + 1) % RECENT]
    _trace(costs, origin, chosen, levels)
    for i in range(count):
        errors[i] = levels[i] - column[i] + fed[i]


@compiled(inline=True)
def _survive(
    i: int,
    value: float,
    origin: Array,
    chosen: Array,
    then_level: Array,
    later: Array,
    recent: Array,
    moved: Array,
) -> int:
    """Move the errors along the survivors' paths; the state of the least cost."""
    lowest = 0
    for state in range(later.shape[0]):
        if later[state] >= _FAR:
            continue
        source = origin[i, state]
        for k in range(RECENT):
            moved[state, k] = recent[source, k]
        moved[state, i % RECENT] = then_level[state] - value
        chosen[i, state] = then_level[state]
        if later[state] < later[lowest]:
            lowest = state
    return lowest


@compiled(inline=True)
def _trace(costs: Array, origin: Array, chosen: Array, levels: Array) -> None:
    """The levels on the path of least cost."""
    at = 0
    for state in range(costs.shape[0]):
        if costs[state] < costs[at]:
            at = state
    for i in range(levels.shape[0] - 1, -1, -1):
        levels[i] = chosen[i, at]
        at = origin[i, at]


@compiled(inline=True)
def _best_levels(
    value: float, odd: int, bits: Array, price: float, least: Array, best: Array
) -> None:
    """The cheapest level of an even index and of an odd one: near the value, or nearest 0."""
    least[0] = least[1] = _FAR
    half = bits.shape[0] // 2
    lower = int(np.floor(0.5 * (value + odd if value > 0 else value - odd)))
    for candidate in range(6):
        index = lower - 1 + candidate
        if candidate == 4:
            index = 0
        elif candidate == 5:
            index = 1 if value > 0 else -1
        index = min(max(index, -half), half)
        level = 2 * index - (odd if index > 0 else (-odd if index < 0 else 0))
        cost = (value - level) ** 2 + price * bits[index + half]
        if cost < least[index & 1]:
            least[index & 1] = cost
            best[index & 1] = level
