"""Whether a difference can be of small rank at all, told from a sample of its rows and columns.

A basis of the leading right singular vectors comes from half of the sampled rows. Of other rows,
drawn alike, noise leaves each vector its even share of the energy, and no more; what the vectors
hold above that share is structure which rows have in common. So the test needs no law of the noise
but that its entries are independent. Rows and columns are scaled to one energy first, which changes
no rank, so that a few large ones do not stand for all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.products import orthonormal, symmetric, times
from kolmo.estimators.factors import MOST

Floats = NDArray[np.float64]

SIDE = 4
"""A matrix with a shorter side has no use for factors."""

_SAMPLED = 512  # rows and columns that are sampled, at most
_SIGNIFICANT = 4.0  # standard errors
_FEW, _SPARE, _ITERATIONS = 20, 4, 3  # directions that are sought first, vectors beyond, rounds


@dataclasses.dataclass(frozen=True)
class RankGate:
    """What a sample says of the rank.

    Attributes
    ----------
    rank : int
        Directions that hold more than noise would leave them, 64 at most.
    share : float
        Share of the energy that they hold above that.
    reason : str
        Why no factors are tried; empty if they are.
    """

    rank: int = 0
    share: float = 0.0
    reason: str = ""


class RowSample:
    """Collects the chosen entries of a matrix that comes in stripes of rows."""

    def __init__(self, rows: int, columns: int) -> None:
        random = np.random.default_rng((rows, columns))
        self._shape = rows, columns
        size = min(rows, _SAMPLED)
        self._rows = np.sort(random.choice(rows, size, replace=False)) if size else np.empty(0, int)
        columns_taken = min(columns, _SAMPLED)
        self._columns = np.sort(random.choice(columns, columns_taken, replace=False))
        self._half = random.permutation(size) < size // 2
        self._parts: list[Floats] = []

    def update(self, row: int, size: int, values: Callable[[Any], NDArray[Any]]) -> None:
        """Take as many weights as these, from this row on: ``values`` gives those at places.

        Of a row that comes in parts nothing is taken: no such matrix has any use for factors.
        """
        rows = size // self._shape[1]
        inside = self._rows[(self._rows >= row) & (self._rows < row + rows)] - row
        places = inside[:, None] * self._shape[1] + self._columns
        self._parts.append(values(places.reshape(-1)).astype(np.float64).reshape(places.shape))

    @property
    def matrix(self) -> Floats:
        return np.concatenate(self._parts) if self._parts else np.zeros((0, 0))

    def gate(self, centred: bool = False) -> RankGate:
        """The verdict, once all rows have come; ``centred``: on what is left without the mean."""
        rows, columns = self._shape
        matrix = self.matrix
        if not np.isfinite(matrix).all():
            return RankGate(reason="it is not finite everywhere")
        if centred and matrix.size:
            matrix = matrix - matrix.mean()
        if not matrix.any() or min(matrix.shape) < SIDE:
            return RankGate(reason="no differences in a sample of rows and columns")
        rank, share = explained(_scaled(matrix), self._half)
        gain = -rows * columns / 2 * math.log2(max(1 - share, 1e-300))
        if rank and gain > rank * (rows + columns):
            return RankGate(rank, share)
        return RankGate(rank, share, "rows have no directions in common, by a sample of them")


def _scaled(matrix: Floats) -> Floats:
    """Rows and columns of one energy, but for those of zeros."""
    matrix = matrix / np.abs(matrix).max()
    for axis in (1, 0, 1, 0):
        energy = np.sqrt(np.square(matrix).mean(axis=axis, keepdims=True))
        matrix = matrix / np.where(energy > 0, energy, 1)
    return np.asarray(matrix)


def explained(matrix: Floats, half: NDArray[np.bool_]) -> tuple[int, float]:
    """How many directions of one half of the rows hold more of the other half's energy than noise
    would, and which share of it above that."""
    fitted, tested = matrix[half], matrix[~half]
    most = max(1, min(MOST, len(fitted) - 1, matrix.shape[1] - 1))
    energy = float(np.square(tested).sum())
    if energy == 0:
        return 0, 0.0
    even = 1 / matrix.shape[1]
    for few in (min(_FEW, most), most):  # there are seldom more than a few
        right = _directions(fitted, few)
        shares = np.square(times(tested, right.T)).sum(axis=0) / energy
        above = shares > even * (1 + _SIGNIFICANT * math.sqrt(2 / len(tested)))
        if np.count_nonzero(above) < few:
            break
    return int(np.count_nonzero(above)), float((shares - even)[above].sum())


def _directions(matrix: Floats, number: int) -> Floats:
    """The leading right singular vectors, nearly, of shape (r, columns)."""
    size = min(number + _SPARE, *matrix.shape)
    basis = np.random.default_rng(0).normal(size=(size, matrix.shape[1]))
    for _ in range(_ITERATIONS):
        basis = orthonormal(basis)
        image = times(basis, matrix.T)
        basis = times(image, matrix)
    basis = orthonormal(basis)
    image = times(basis, matrix.T)
    _, mixed = symmetric(times(image, image.T.copy()))
    return np.asarray(times(mixed.T[::-1], basis)[:number])
