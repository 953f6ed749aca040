"""Rounding a matrix to levels that cost little: squared error + price × code length, in all.

::

    weights / (step · r_i · c_j) ─► code lengths of a sample's levels ─► cheapest levels, by column

Long columns are rounded to the levels of a trellis, short ones each weight for itself. What a level
costs follows from how spread the weights around it are: `CodeLengths` has classes of weights by
the spread of their row and column.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.kernels_states import Trellis
from kolmo.codes.trellis import machine
from kolmo.lossy import kernels_trellis as kernels
from kolmo.quantize.scales import Floats

Levels = NDArray[np.int64]

MEMORY = 6
"""Of 2^6 states: a Gaussian source is then met within .09 bit, as against .26 by nearest levels."""

LONG = 32
"""Rows from which on a column has a trellis."""

PRICE = 0.3
"""Of a bit, in squared steps of a trellis: where a step more or less gains nothing."""

PLAIN_STEP = 1.55
"""The step of levels without a trellis, beside one with a step of 1: both then pay the same squared
error for a bit."""

_ALONE = Trellis(np.zeros(1, np.int64), np.zeros((1, 2), np.int64))
"""A trellis of one state: no column depends on what was before."""

_COARSE = 4 / PLAIN_STEP**2  # what a price is in squared half steps of levels without a trellis
_ROUNDS = 3  # of counting a sample's levels
_SAMPLED = 48  # columns of it
_CLASSES = 24  # of spreads, two to an octave
_MIDDLE = 12  # the class of spread 1
_PRIOR = 64.0  # weights that the guess of a class counts for
_WIDEST = 1 << 14  # the largest index


class Rounder(Protocol):
    """Rounds a column of values, in units of the step, to integer levels."""

    def __call__(self, column: Floats, number: int) -> Levels: ...


@dataclasses.dataclass(frozen=True, eq=False)
class CodeLengths:
    """How many bits an index costs, by class of spread and quantizer.

    Attributes
    ----------
    trellis : Trellis
        Of a single state, whose levels are even, where there is none.
    price : float
        Of a bit, in squared steps of the trellis.
    of_rows, of_columns : int64 arrays
        Twice the logarithm to base 2 of the spread that row and column give, in steps; added up.
    bits : float64 (classes, 2, 2h + 1)
    """

    trellis: Trellis
    price: float
    of_rows: NDArray[np.int64]
    of_columns: NDArray[np.int64]
    bits: Floats

    def __call__(self, column: Floats, number: int) -> Levels:
        """The cheapest levels of the column of that number."""
        if self.has_trellis:
            return self.fine(column, number)
        return self.fine(2 * column, number) >> 1

    def fine(self, column: Floats, number: int) -> Levels:
        """The same in the units of the trellis."""
        levels = np.empty(column.shape, np.int64)
        kernels.round_column(
            *(np.ascontiguousarray(column), self.classes(number), self.bits),
            *(self.price, self.trellis, levels),
        )
        return levels

    @property
    def has_trellis(self) -> bool:
        """Whether levels depend on those before; else all are even, and are halved."""
        return self.trellis is not _ALONE

    def classes(self, number: int) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = np.clip(
            self.of_rows + self.of_columns[number], 0, _CLASSES - 1
        )
        return classes


def code_lengths(weights: Floats, price: float = PRICE) -> CodeLengths:
    """Code lengths learned from a sample of the columns of a matrix.

    Parameters
    ----------
    weights : float64 (n, d)
        In units of the step.
    price : float
        Of a bit, in squared steps of a trellis.
    """
    has_trellis = len(weights) >= LONG
    weights = weights if has_trellis else 2 * weights
    spread = math.sqrt(float(np.square(weights).mean())) or 1.0
    rows = _halves(np.sqrt(np.square(weights).mean(axis=1)))
    columns = _halves(np.sqrt(np.square(weights).mean(axis=0)) / spread)
    largest = float(np.abs(weights).max(initial=0.0))
    half = min(_WIDEST, int(largest / 2) + 2)
    trellis = machine(MEMORY) if has_trellis else _ALONE
    price *= 1.0 if has_trellis else _COARSE
    prior = _guess(half)
    lengths = CodeLengths(trellis, price, _MIDDLE + rows, columns, -np.log2(prior))
    sample = np.unique(np.linspace(0, weights.shape[1] - 1, _SAMPLED).astype(np.int64))
    for _ in range(_ROUNDS):
        counts = _PRIOR * prior
        for number in sample:
            levels = lengths.fine(weights[:, number], number)
            kernels.count_indices(levels, lengths.classes(number), trellis, counts)
        shares = counts / counts.sum(axis=2, keepdims=True)
        lengths = dataclasses.replace(lengths, bits=-np.log2(shares))
    return lengths


def round_matrix(weights: Floats, price: float = PRICE) -> NDArray[np.int64]:
    """The cheapest levels of a matrix in units of its step.

    Parameters
    ----------
    weights : float64 (n, d)
        Divided by step, and by scales of rows and columns.
    price : float
        Of a bit, in squared steps of a trellis.

    Returns
    -------
    int64 (n, d)
        Levels; of `LONG` rows and more each column's obey the trellis of `MEMORY`.

    Examples
    --------
    >>> weights = np.random.default_rng(0).normal(size=(256, 64))
    >>> levels = round_matrix(weights / 0.3)
    >>> float(np.square(weights - 0.3 * levels).mean().round(2))
    0.02
    """
    if not weights.size:
        return np.zeros(weights.shape, np.int64)
    lengths = code_lengths(weights, price)
    columns = [lengths(weights[:, number], number) for number in range(weights.shape[1])]
    levels: NDArray[np.int64] = np.stack(columns, axis=1)
    return levels


def _halves(spreads: Floats) -> NDArray[np.int64]:
    """Half octaves of spreads."""
    with np.errstate(divide="ignore"):
        halves: Floats = np.clip(2 * np.log2(spreads), -_MIDDLE, _MIDDLE)
    return np.rint(halves).astype(np.int64)


def _guess(half: int) -> Floats:
    """Shares of indices of Laplace's law, by class of spread and quantizer."""
    spreads = 2.0 ** ((np.arange(_CLASSES) - _MIDDLE) / 2)
    indices = np.abs(np.arange(-half, half + 1))
    shares = np.empty((_CLASSES, 2, 2 * half + 1))
    for odd in range(2):
        distance = np.maximum(2.0 * indices - odd, 0.0)
        shares[:, odd] = np.exp(-distance / (0.7 * spreads[:, None] + 0.3)) + 1e-6
    shares /= shares.sum(axis=2, keepdims=True)
    return shares
