"""Rows and columns of tensors, and their scales each divided by its size in turns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.symbols import Shape

Floats = NDArray[np.float64]

PIECE = 1 << 15
"""Weights that are worked on together in float64: few enough to stay in a core's cache."""

ROUNDS = 20
"""Rounds of rows and columns at most."""

_READ = 1 << 20  # weights that are read together


@dataclasses.dataclass(frozen=True)
class Rectangle:
    """Some rows of a matrix, or a part of one row.

    Attributes
    ----------
    row, rows, column, columns : int
        Where it begins, and its sides.
    start, stop : int
        Its places in the flat, row-major matrix.
    """

    row: int
    rows: int
    column: int
    columns: int
    start: int
    stop: int

    @property
    def of_rows(self) -> slice:
        return slice(self.row, self.row + self.rows)

    @property
    def of_columns(self) -> slice:
        return slice(self.column, self.column + self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns


def matrix_shape(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a tensor: the first dimension × the rest; a vector is one row.

    >>> matrix_shape((8, 3, 5, 5)), matrix_shape((7,)), matrix_shape(())
    ((8, 75), (1, 7), (1, 1))
    """
    if len(shape) > 1:
        return shape[0], math.prod(shape[1:])
    return 1, math.prod(shape)


def rectangles(start: int, stop: int, columns: int, most: int = PIECE) -> Iterator[Rectangle]:
    """The places [start, stop) of a matrix as rectangles of at most so many weights, in order.

    >>> [found.shape for found in rectangles(3, 17, 5)]
    [(1, 2), (2, 5), (1, 2)]
    """
    while start < stop:
        row, column = divmod(start, columns)
        whole = (stop - start) // columns if column == 0 and columns <= most else 0
        rows = min(whole, most // columns) if whole else 1
        wide = columns if whole else min(columns - column, stop - start, most)
        yield Rectangle(row, rows, column, wide, start, start + rows * wide)
        start += rows * wide


def pieces(
    tensor: WeightTensor, columns: int, exponent: int = 0
) -> Iterator[tuple[Rectangle, Floats]]:
    """A tensor rectangle by rectangle: its weights in units of 2^exponent, flat, in float64, in
    memory of their own."""
    step = max(1, _READ // columns) * columns if columns <= _READ else _READ
    for first in range(0, tensor.numel, step):
        weights = tensor.load(first, min(first + step, tensor.numel))
        for part in rectangles(first, first + weights.size, columns):
            own = weights[part.start - first : part.stop - first].astype(np.float64)
            yield part, in_units(own, exponent)


def in_units(weights: Floats, exponent: int) -> Floats:
    """Weights over 2^exponent, in place.

    >>> in_units(np.array([3.0]), 1), in_units(np.array([2.0**-1070]), -1069)
    (array([1.5]), array([0.5]))
    """
    if exponent and abs(exponent) < 1000:
        weights *= 2.0**-exponent
        return weights
    return np.ldexp(weights, -exponent, out=weights) if exponent else weights


def alternating_scales(
    tensor: WeightTensor, exponent: int = 0, power: int = 2, *, settled: float = 0.0
) -> tuple[Floats, Floats]:
    """Scales r of rows and c of columns, so that every row and column of w / (r cᵀ) has size 1.

    Rows and columns are divided by their size in turns (Sinkhorn's iteration), which settles in a
    few rounds, of at most `ROUNDS`, where most weights are not 0. The first column that is not 0
    has scale 1, so that columns scaled by powers of two have scales that are.

    Parameters
    ----------
    tensor : WeightTensor
        Of finite weights; `matrix_shape` says what its rows and columns are.
    exponent : int
        Of a power of two near the largest weight, in units of which the scales are: no square
        overflows then.
    power : {2, 1}
        What the size of a row is: its root mean square, or its mean magnitude.
    settled : float
        The largest relative change of a row's scale in a round after which no more follow.

    Returns
    -------
    tuple of ndarray
        Of float64; 0 for rows and columns of zeros.

    Examples
    --------
    >>> from kolmo.checkpoints.base import array_tensor
    >>> r, c = alternating_scales(array_tensor("w", np.outer([1.0, 2.0, 0.0], [3.0, 12.0])))
    >>> r.tolist(), c.tolist()
    ([3.0, 6.0, 0.0], [1.0, 4.0])
    """
    rows, columns = matrix_shape(tensor.shape)
    r, c = np.zeros(rows), np.ones(columns)
    for _ in range(ROUNDS):
        before, r = r, row_sizes(tensor, exponent, power, c)
        c = column_sizes(tensor, exponent, power, r)
        if np.all(np.abs(r - before) <= settled * r):
            break
    first = np.flatnonzero(c)[:1]
    gauge = float(c[first[0]]) if first.size else 1.0
    return r * gauge, c / gauge


def row_sizes(
    tensor: WeightTensor, exponent: int = 0, power: int = 2, columns: Floats | None = None
) -> Floats:
    """The size of each row of a tensor, over scales of columns if there are any.

    Columns of scale 0 do not count.
    """
    rows, wide = matrix_shape(tensor.shape)
    scales = np.ones(wide) if columns is None else columns
    sums, inverse = np.zeros(rows), _inverse(scales)
    for part, weights in pieces(tensor, max(1, wide), exponent):
        scaled = weights.reshape(part.shape)
        scaled *= inverse[part.of_columns]
        sums[part.of_rows] += _raised(scaled, power).sum(axis=1)
    return _mean_size(sums, scales, power)


def column_sizes(
    tensor: WeightTensor, exponent: int = 0, power: int = 2, rows: Floats | None = None
) -> Floats:
    """The same of columns, over scales of rows."""
    high, wide = matrix_shape(tensor.shape)
    scales = np.ones(high) if rows is None else rows
    sums, inverse = np.zeros(wide), _inverse(scales)
    for part, weights in pieces(tensor, max(1, wide), exponent):
        scaled = weights.reshape(part.shape)
        scaled *= inverse[part.of_rows, None]
        sums[part.of_columns] += _raised(scaled, power).sum(axis=0)
    return _mean_size(sums, scales, power)


def _raised(weights: Floats, power: int) -> Floats:
    """Squares, or magnitudes, in place."""
    return np.square(weights, out=weights) if power == 2 else np.abs(weights, out=weights)


def _mean_size(sums: Floats, scales: Floats, power: int) -> Floats:
    """Sizes, of sums over all whose scales are not 0."""
    means = sums / max(1.0, float((scales > 0).sum()))
    return np.sqrt(means) if power == 2 else means


def _inverse(scales: Floats) -> Floats:
    """1 / scale, and 0 of 0."""
    return np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0)
