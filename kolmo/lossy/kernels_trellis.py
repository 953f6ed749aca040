"""The compiled search for the levels of a column: least squared error + price × code length.

Nearest levels cost an eighth of a bit more than the best sequence of a trellis
(`kolmo.codes.trellis`): the Viterbi algorithm (Forney, "The Viterbi algorithm", Proc. IEEE 1973)
finds the sequence of states whose levels cost least.
"""

from __future__ import annotations

import numpy as np

from kolmo.codes.kernels_states import Trellis
from kolmo.compiled import Array, compiled

_FAR = 1e300


@compiled(allocates=True)
def round_column(
    column: Array, classes: Array, bits: Array, price: float, trellis: Trellis, levels: Array
) -> None:
    """Write the cheapest levels of a trellis for the values of a column.

    Parameters
    ----------
    column : float64 (n,)
        Values in units of the step.
    classes : int64 (n,)
        Which code lengths each value's are.
    bits : float64 (classes, 2, 2h + 1)
        Code lengths of the indices −h to h of both quantizers.
    price : float
        Of a bit, in squared steps.
    trellis : Trellis
        Of at most 128 states.
    levels : int64 (n,)
        Written.
    """
    count, states = column.shape[0], trellis.quantizers.shape[0]
    half = bits.shape[2] // 2
    costs, later = np.full(states, _FAR), np.empty(states)
    costs[0] = 0.0
    origin = np.empty((count, states), np.uint8)  # twice the state before, and the parity
    chosen = np.empty((count, 2, 2), np.int32)  # the best index by quantizer and parity
    least = np.empty((2, 2))
    for i in range(count):
        for odd in range(2):
            own = bits[classes[i], odd]
            _best_indices(column[i], odd, own, half, price, least[odd], chosen[i, odd])
        for state in range(states):
            later[state] = _FAR
        lowest = _FAR
        for state in range(states):
            odd = trellis.quantizers[state]
            for parity in range(2):
                cost = costs[state] + least[odd, parity]
                then = trellis.following[state, parity]
                if cost < later[then]:
                    later[then] = cost
                    origin[i, then] = 2 * state + parity
                    lowest = min(lowest, cost)
        for state in range(states):
            costs[state] = later[state] - lowest
    at = 0
    for state in range(states):
        if costs[state] < costs[at]:
            at = state
    for i in range(count - 1, -1, -1):
        last = int(np.int64(origin[i, at]))
        parity, at = last & 1, last >> 1
        odd = trellis.quantizers[at]
        levels[i] = _level(chosen[i, odd, parity], odd)


@compiled(inline=True)
def _level(index: int, odd: int) -> int:
    return 2 * index - (odd if index > 0 else (-odd if index < 0 else 0))


@compiled(inline=True)
def _best_indices(
    value: float, odd: int, bits: Array, half: int, price: float, least: Array, chosen: Array
) -> None:
    """The cheapest even and the cheapest odd index of a quantizer: near the value, or nearest 0."""
    least[0] = least[1] = _FAR
    far = 4.0 * (half + 1)  # what is beyond costs more by as much whatever the index
    value = min(max(value, -far), far)
    shifted = value + odd if value > 0 else value - odd
    lower = int(np.floor(0.5 * shifted))
    for index in range(lower - 1, lower + 3):
        _offer(index, value, odd, bits, half, price, least, chosen)
    _offer(0, value, odd, bits, half, price, least, chosen)
    _offer(1 if value > 0 else -1, value, odd, bits, half, price, least, chosen)


@compiled(inline=True)
def _offer(
    index: int,
    value: float,
    odd: int,
    bits: Array,
    half: int,
    price: float,
    least: Array,
    chosen: Array,
) -> None:
    index = min(max(index, -half), half)
    cost = (value - _level(index, odd)) ** 2 + price * bits[index + half]
    parity = index & 1
    if cost < least[parity]:
        least[parity] = cost
        chosen[parity] = index


@compiled
def count_indices(levels: Array, classes: Array, trellis: Trellis, counts: Array) -> None:
    """Add the indices of a column to their counts, by class and quantizer."""
    half, state = counts.shape[2] // 2, 0
    for i in range(levels.shape[0]):
        odd, level = trellis.quantizers[state], levels[i]
        index = level >> 1
        if odd and level != 0:
            index = (level + 1) >> 1 if level > 0 else -((1 - level) >> 1)
        counts[classes[i], odd, index + half] += 1
        state = trellis.following[state, index & 1]
