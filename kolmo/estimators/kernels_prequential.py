"""The compiled loop of the prequential code; `kolmo.estimators.prequential` says what it predicts.

The code length is that of a mixture under Bayes' rule: −log2 of each symbol's probability, added
up. float64; the order of all operations is fixed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kolmo.compiled import Array, compiled

RECENT = 1024  # symbols after which the second predictor has forgotten half
HALF_LIVES = (32, 512, 8192)  # half-lives of the predictors that take symbols for numbers
PREDICTORS = 2 + len(HALF_LIVES)
_SHARE = 2.0**-12  # share of the predictors' weights that is redistributed after each symbol
_LEAST = 2.0**-10  # share of a bell's probability that is spread over the alphabet
_FULL = 1e100  # increment at which the decaying counts are scaled back

_INCREMENT, _MASS, _TOTAL, _LOG2 = range(4)


class State(NamedTuple):
    """The learned state: counts, decaying counts, bells, the predictors' weights.

    ``bells`` has a row for each half-life: mass, mean, mean absolute deviation. ``scalars`` holds
    the increment and the mass of the decaying counts, the number of symbols seen, and log2 of their
    probability.
    """

    counts: Array
    recent: Array
    bells: Array
    weights: Array
    used: Array
    scalars: Array


def new_state(alphabet: int) -> State:
    """The state before the first symbol, which has learned nothing."""
    middle, spread = (alphabet - 1) / 2, max(alphabet / 8, 0.25)
    return State(
        counts=np.zeros(alphabet),
        recent=np.zeros(alphabet),
        bells=np.array([[1.0, middle, spread]] * len(HALF_LIVES)),
        weights=np.full(PREDICTORS, 1 / PREDICTORS),
        used=np.zeros(PREDICTORS),
        scalars=np.array([1.0, 0.0, 0.0, 0.0]),
    )


@compiled(allocates=True)
def predict_symbols(symbols: Array, state: State) -> None:
    """Code the symbols one by one: predict each, reweigh the predictors, learn the symbol.

    ``symbols`` are int64, in the alphabet; ``state`` is changed. ``used`` adds up the weight of
    each predictor after each symbol: how many symbols it accounts for.
    """
    each = np.empty(PREDICTORS)
    for i in range(symbols.size):
        symbol = symbols[i]
        predict(symbol, state, each)
        probability = 0.0
        for k in range(PREDICTORS):
            probability += state.weights[k] * each[k]
        state.scalars[_LOG2] += math.log2(probability)
        for k in range(PREDICTORS):
            posterior = state.weights[k] * each[k] / probability
            state.used[k] += posterior
            # A share of all weight is redistributed, so that no predictor falls too low to rise.
            state.weights[k] = (1 - _SHARE) * posterior + _SHARE / PREDICTORS
        _learn(symbol, state)


@compiled
def predict(symbol: int, state: State, each: Array) -> None:
    """Write the probability that each predictor gives the symbol to ``each``."""
    alphabet = state.counts.size
    scalars = state.scalars
    each[0] = (state.counts[symbol] + 0.5) / (scalars[_TOTAL] + alphabet / 2)
    each[1] = (state.recent[symbol] / scalars[_INCREMENT] + 0.5) / (scalars[_MASS] + alphabet / 2)
    for k in range(len(HALF_LIVES)):
        bell = _bell(symbol, alphabet, state.bells[k, 1], state.bells[k, 2])
        each[2 + k] = (1 - _LEAST) * bell + _LEAST / alphabet


@compiled
def _bell(symbol: int, alphabet: int, mean: float, deviation: float) -> float:
    """The logistic law's probability of [symbol − ½, symbol + ½); the ends take the tails."""
    scale = max(deviation, 0.05) / (2 * math.log(2.0))  # the law's scale with this deviation
    low, high = (symbol - 0.5 - mean) / scale, (symbol + 0.5 - mean) / scale
    # An outermost symbol takes all that lies beyond it, so that the probabilities add up to 1.
    if low > 0:  # mirrored to the negative side, where the difference keeps its digits
        low, high = -high, -low
        below, above = symbol == alphabet - 1, symbol == 0
    else:
        below, above = symbol == 0, symbol == alphabet - 1
    start = 0.0 if below else 1 / (1 + math.exp(min(-low, 700.0)))
    end = 1.0 if above else 1 / (1 + math.exp(min(-high, 700.0)))
    return max(end - start, 0.0)


@compiled(allocates=True)
def _learn(symbol: int, state: State) -> None:
    """Add a symbol to the counts and bells.

    The decaying counts are not scaled down at each symbol, which would touch the whole alphabet:
    instead the increment grows, and only the ratio to it matters.
    """
    scalars = state.scalars
    state.counts[symbol] += 1
    scalars[_TOTAL] += 1
    scalars[_INCREMENT] *= 2.0 ** (1 / RECENT)
    scalars[_MASS] = scalars[_MASS] * 2.0 ** (-1 / RECENT) + 1
    state.recent[symbol] += scalars[_INCREMENT]
    if scalars[_INCREMENT] > _FULL:
        state.recent[:] /= scalars[_INCREMENT]
        scalars[_INCREMENT] = 1.0
    # The recent mean and deviation each move by the newest symbol's share of the mass.
    for k in range(len(HALF_LIVES)):
        bell = state.bells[k]
        bell[0] = bell[0] * 2.0 ** (-1 / HALF_LIVES[k]) + 1
        away = symbol - bell[1]
        bell[1] += away / bell[0]
        bell[2] += (abs(away) - bell[2]) / bell[0]
