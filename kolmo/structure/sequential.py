"""A permutation test that draws no more than it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kolmo.pvalues import draws_needed

EXCEEDING = 5
"""Draws as short as the weights, or shorter, after which no more are made."""

MOST = draws_needed()
"""Draws at most: as many as p = .05 takes."""


@dataclasses.dataclass(frozen=True)
class Settled:
    """The outcome of a test.

    Attributes
    ----------
    p : float
        Valid, two-sided: twice the one-sided p-value of being shorter than the draws, at most 1.
    draws : int
        Draws that it rests on.
    """

    p: float
    draws: int


def settled(actual: float, draws: Sequence[float]) -> Settled | None:
    """The outcome of the draws by now, taken in their order; None while more are needed.

    If the h-th draw that is no longer than the actual figure is number l, p = h / l; if there are
    fewer than h among n of them, p = (their number + 1) / (n + 1) (Besag & Clifford, Biometrika
    1991, eq. 1). Where the figure and the draws are exchangeable, P(p ≤ α) ≤ α for every α.

    Examples
    --------
    >>> settled(1.0, [2.0] * 39), settled(1.0, [2.0] * 38)
    (Settled(p=0.05, draws=39), None)
    >>> settled(3.0, [2.0, 4.0, 2.0, 2.0, 2.0, 2.0])
    Settled(p=1.0, draws=6)
    """
    exceeding = 0
    for number, bits in enumerate(draws[:MOST], 1):
        exceeding += bits <= actual
        if exceeding == EXCEEDING:
            return Settled(min(1.0, 2 * exceeding / number), number)
    if len(draws) < MOST:
        return None
    return Settled(min(1.0, 2 * (exceeding + 1) / (MOST + 1)), MOST)
