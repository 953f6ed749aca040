"""Student's t distribution of few degrees of freedom, cut to whole levels, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError

TAIL = 0.999
"""The quantile that becomes the outermost level."""


def _two(t: float) -> float:
    return 0.5 + t / (2 * math.sqrt(2 + t * t))


def _three(t: float) -> float:
    u = t / math.sqrt(3)
    return 0.5 + (u / (1 + u * u) + math.atan(u)) / math.pi


def _four(t: float) -> float:
    squared = t * t / (1 + t * t / 4)
    return 0.5 + 3 / 8 * t / math.sqrt(1 + t * t / 4) * (1 - squared / 12)


_CUMULATIVE: dict[int, Callable[[float], float]] = {
    1: lambda t: 0.5 + math.atan(t) / math.pi,
    2: _two,
    3: _three,
    4: _four,
}


def student_cdf(degrees: int, t: float) -> float:
    """P(T ≤ t) of 1 to 4 degrees of freedom.

    >>> student_cdf(1, 1.0)
    0.75
    """
    if degrees not in _CUMULATIVE:
        raise InputError(f"Student's t is here of 1 to 4 degrees of freedom, not {degrees}")
    return _CUMULATIVE[degrees](t)


@cache
def student_quantile(degrees: int, share: float) -> float:
    """The t with P(T ≤ t) = share, of a share from one half up; by bisection.

    >>> round(student_quantile(1, 0.75), 6)
    1.0
    """
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(degrees, middle) < share else (low, middle)
    return high


def level_probabilities(degrees: int, top: int) -> list[float]:
    """Probabilities of the levels −top to top: round(top t / q), cut at ±top.

    >>> chances = level_probabilities(2, 7)
    >>> len(chances), round(sum(chances), 12)
    (15, 1.0)
    """
    step = student_quantile(degrees, TAIL) / top
    borders = [student_cdf(degrees, (level + 0.5) * step) for level in range(-top, top)]
    return [b - a for a, b in zip([0.0, *borders], [*borders, 1.0], strict=True)]


def student_levels(random: np.random.Generator, degrees: int, top: int, size: int) -> NDArray[Any]:
    """``size`` levels, drawn at random."""
    step = student_quantile(degrees, TAIL) / top
    return np.clip(np.rint(random.standard_t(degrees, size) / step), -top, top)
