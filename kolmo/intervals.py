"""Intervals from few draws: Student's t, and degrees of freedom of what is added up.

Everything that is printed or drawn with ± holds 95 %, by the law that its number of draws gives it:
of 5 draws that is 3.0 standard deviations and not 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
"""What an interval holds."""

FEWEST = 8
"""Draws of a sample, at least: with fewer, the error itself is hardly known."""

_MANY = 1e7  # degrees of freedom from which t is the normal law, to 6 digits


def student_share(t: float, degrees: float) -> float:
    """P(|T| ≤ t) of Student's t law, of any degrees of freedom from 1 up.

    T = √degrees · tan(angle), whose density is proportional to cos(angle)^(degrees − 1).

    >>> round(student_share(1.0, 1), 12)
    0.5
    """
    if degrees >= _MANY:
        return 2 * NormalDist().cdf(t) - 1
    end = min(math.atan(t / math.sqrt(degrees)), 10 / math.sqrt(degrees))  # beyond it: e^-50
    nodes, weights = _quadrature()
    angles = end * (nodes + 1) / 2
    area = end / 2 * float(weights @ np.cos(angles) ** (degrees - 1))
    norm = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return 2 / math.sqrt(math.pi) * math.exp(norm) * area


@cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of Gauss and Legendre, from −1 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return nodes, weights


@cache
def student_quantile(degrees: float, level: float = LEVEL) -> float:
    """The t with P(|T| ≤ t) = level; the normal law's where the degrees of freedom are unknown.

    Parameters
    ----------
    degrees : float
        At least 1, or NaN.
    level : float
        From 0 to 0.999.

    Examples
    --------
    >>> [round(student_quantile(n), 3) for n in (1, 4, 38, math.inf, math.nan)]
    [12.706, 2.776, 2.024, 1.96, 1.96]
    """
    if math.isnan(degrees) or degrees >= _MANY:
        return NormalDist().inv_cdf((1 + level) / 2)
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_share(middle, degrees) < level else (low, middle)
    return high


def half_widths(errors: ArrayLike, degrees: ArrayLike) -> NDArray[np.float64]:
    """What stands after ±: standard errors × the t of their degrees of freedom; 0 without one.

    >>> half_widths([1.0, np.nan], [4, np.nan]).round(3).tolist()
    [2.776, 0.0]
    """
    quantiles = [student_quantile(float(each)) for each in np.asarray(degrees, np.float64)]
    return np.nan_to_num(np.asarray(errors, np.float64) * np.array(quantiles, np.float64))


def draw_widths(deviations: ArrayLike, draws: ArrayLike) -> NDArray[np.float64]:
    """How far from their mean the next draw lies, in 95 %; 0 where a single one tells nothing.

    t · sd · √(1 + 1/N), of N − 1 degrees of freedom.

    >>> draw_widths([1.0, np.nan], [5, 1]).round(3).tolist()
    [3.041, 0.0]
    """
    n = np.asarray(draws, np.float64)
    apart = np.asarray(deviations, np.float64) * np.sqrt(1 + 1 / n)
    return half_widths(apart, np.where(n > 1, n - 1, np.nan))


def sum_degrees(errors: Sequence[float], degrees: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent figures (Welch 1947; Satterthwaite 1946).

    (Σ s²)² / Σ s⁴/ν over the standard errors s; NaN where those of one are unknown, or all are 0.

    >>> sum_degrees([1.0, 1.0], [7, 7]), sum_degrees([2.0, 0.0], [7, 3])
    (14.0, 7.0)
    """
    squares = [error**2 for error in errors]
    parts = math.fsum(s * s / n for s, n in zip(squares, degrees, strict=True) if s)
    return math.fsum(squares) ** 2 / parts if parts else math.nan
