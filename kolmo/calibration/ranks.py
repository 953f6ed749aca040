"""Rank tests against a null's draws, and the binomial band that their errors must lie in.

The test is one-sided: an object is *seen* where it costs fewer bits than all of N draws of its
null. If object and draws are exchangeable, the chance of that is 1 / (N + 1): .05 for 19 draws.
Ties would lower it. They are broken at random, by a seeded number for the object and for each
draw, so that the size is exact for every estimator, even one that gives all of them the same
length. The *strict* outcome, in which a tie does not count as seen, is kept too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

import numpy as np

DRAWS = 19
ALPHA = 1 / (DRAWS + 1)


def is_seen(actual: float, draws: Iterable[float], ties: np.random.Generator) -> tuple[bool, bool]:
    """Whether an object's bits are the fewest: with ties broken at random, and strictly.

    Draws are asked for one by one, only until one of them is lower.

    >>> is_seen(1.0, [2.0, 3.0], np.random.default_rng(0))
    (True, True)
    """
    own, strictly = ties.random(), True
    for bits in draws:
        if bits < actual or (bits == actual and ties.random() < own):
            return False, False
        strictly &= bits > actual
    return True, strictly


@cache
def binomial_band(trials: int, chance: float = ALPHA, level: float = 0.99) -> tuple[int, int]:
    """The equal-tailed range of a binomial count, each tail of (1 − level) / 2 at most.

    >>> binomial_band(1000)
    (33, 69)
    """
    if not trials:
        return 0, 0
    each = [_log_mass(trials, k, chance) for k in range(trials + 1)]
    below = np.cumsum(np.exp(each))
    tail = (1 - level) / 2
    low = int(np.searchsorted(below, tail, side="right"))
    return low, int(np.searchsorted(below, 1 - tail))


def _log_mass(trials: int, k: int, chance: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
    return ways + k * math.log(chance) + (trials - k) * math.log1p(-chance)


def wilson_interval(found: int, trials: int, z: float = 2.576) -> tuple[float, float]:
    """Wilson's score interval (low, high) for a proportion, 99 % by default.

    >>> [round(end, 3) for end in wilson_interval(50, 50)]
    [0.883, 1.0]
    """
    share, weight = found / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / trials / 4)
    return max(0.0, centre - half), min(1.0, centre + half)
