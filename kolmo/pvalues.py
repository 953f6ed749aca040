"""Significance: permutation p-values, and their correction for many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kolmo.intervals import student_share

ALPHA = 0.05
"""The level of every verdict."""


def permutation_p(actual: float, draws: ArrayLike) -> float:
    """The two-sided p-value of a figure among N draws of its null.

    p = min(1, 2 · min(#{x ≤ actual}, #{x ≥ actual}) / (N + 1)), the actual figure counted among
    the x. Where the N + 1 figures are exchangeable, as those of weights whose places mean nothing
    are with those of their shuffles, P(p ≤ α) ≤ α for every α, ties or not: each of the two counts
    is at most k for at most k of the N + 1 figures (Phipson & Smyth 2010). Draws of a law that was
    fitted to the weights (`kolmo.nulls.FITTED`) are exchangeable with them only nearly, and p is
    approximate.

    Examples
    --------
    >>> permutation_p(1.0, [2, 3, 4]), permutation_p(3.0, [2, 3, 4]), permutation_p(2.0, [2, 2, 2])
    (0.5, 1.0, 1.0)
    """
    drawn = np.asarray(draws, dtype=np.float64)
    below, above = 1 + int((drawn <= actual).sum()), 1 + int((drawn >= actual).sum())
    return min(1.0, 2 * min(below, above) / (drawn.size + 1))


def student_p(z: float, draws: int) -> float:
    """The two-sided p-value of a figure z standard deviations from the mean of N draws.

    t = z / √(1 + 1/N) has N − 1 degrees of freedom where the N + 1 figures are independent and
    normal; nothing is known of other laws. NaN where there is no z, or a single draw.

    Examples
    --------
    >>> round(student_p(3.04136, 5), 4), student_p(math.nan, 5)
    (0.05, nan)
    """
    if draws < 2 or math.isnan(z):
        return math.nan
    return max(0.0, 1 - student_share(abs(z) / math.sqrt(1 + 1 / draws), draws - 1))


def draws_needed(tests: int = 1, alpha: float = ALPHA) -> int:
    """Fewest draws with which Holm's correction over this many tests can reach ``alpha``.

    The least p-value of N draws is 2 / (N + 1), and the least of m must be at most alpha / m.

    Examples
    --------
    >>> draws_needed(), draws_needed(tests=40), draws_needed(alpha=0.01)
    (39, 1599, 199)
    """
    return math.ceil(2 * tests / alpha * (1 - 1e-12)) - 1


def holm(p: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values adjusted so that rejecting those ≤ α makes any false rejection at most α likely.

    The k-th smallest of m is multiplied by m − k + 1 and is at least its forerunner (Holm 1979);
    valid however the tests depend on each other.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(given.size, 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def is_significant(adjusted: float, alpha: float = ALPHA) -> bool:
    """Whether p ≤ alpha, as in exact arithmetic: 3 · (2 / 120) is .05.

    Examples
    --------
    >>> is_significant(3 * (2 / 120)), is_significant(0.051), is_significant(math.nan)
    (True, False, False)
    """
    return adjusted <= alpha * (1 + 1e-12)
