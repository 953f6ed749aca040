"""The null that keeps the scale of every row and every column."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import CHUNK, WeightTensor
from kolmo.errors import NotApplicableError
from kolmo.floats import bit_patterns, has_sign, mantissa_bits
from kolmo.nulls.base import Null, Source
from kolmo.nulls.made import Values
from kolmo.nulls.moved import Moved, MovedInLine, Sizes
from kolmo.nulls.seeds import Seed
from kolmo.quantize import Quantizer, SymbolCoder
from kolmo.quantize.encoding import finite_range
from kolmo.quantize.scales import (
    Floats,
    alternating_scales,
    in_units,
    matrix_shape,
    rectangles,
)

_SETTLED = 1e-4  # change of a row's scale in a round from which scales are taken as settled
_STREAM = 6
_SIZES = Sizes(window=3 << 26)  # of 8 bytes a weight, beside scales

MOST_LINES = 1 << 20
"""Rows, and columns, at most of a matrix whose scales are kept."""


@dataclasses.dataclass(frozen=True)
class Scaled(Null):
    """Weights that have the scales of the tensor's rows and columns, and nothing else of places.

    w' = r cᵀ ∘ π(z) with z = w / (r cᵀ), whose rows and columns have a mean magnitude of 1, and a
    random permutation π of all of z. The scales are those of at most 20 rounds of rows and columns
    in turns (`alternating_scales`); rows and columns of zeros stay as they are. Kept: the scale of
    each row and column, the law of values apart from it, the share of exact zeros, and how many
    binary digits of the mantissa are 0 in all weights, so that float32 that holds bfloat16 stays
    so. Gone: all else. A tensor of more than two dimensions is its first dimension × the rest; a
    vector, or a single row, is shuffled.

    Scales of short rows and columns are partly noise, and a draw has noise of its own. They are
    therefore drawn together, on a logarithmic scale, until their variance is that of all scales
    less that of the noise (as James & Stein 1961 do): (s/m)² / C for a row of C weights, m and s
    the mean and deviation of |z|. Magnitudes rather than squares, which a single large weight of a
    row decides.

    The scales are fitted to the weights, so that p-values are approximate: of weights that are
    r_i c_j × exchangeable ones, false alarms were counted (docs/nulls.md). A quantizer keeps the
    parameters that it has for the tensor, so that both have one grid and one error: what lies
    beyond the grid is clipped.
    """

    name = "scaled"
    fitted = True

    def _draw(self, tensor: WeightTensor, seed: Seed) -> Source:
        if not has_sign(tensor.dtype):
            raise NotApplicableError(f"scaled has no {tensor.dtype} weights")
        if max(matrix_shape(tensor.shape)) > MOST_LINES and not _is_line(tensor):
            raise NotApplicableError(f"scaled takes up to {MOST_LINES:,} rows and columns")
        exponent = _exponent(tensor)
        load = self._moved(tensor, (*seed, _STREAM), exponent)
        drawn = dataclasses.replace(tensor, load=load, codes=None, place=None)
        return OnSameGrid(drawn, tensor)

    def _moved(self, tensor: WeightTensor, seed: Seed, exponent: int) -> Any:
        if _is_line(tensor):
            return MovedInLine(
                tensor.load, tensor.dtype, (tensor.numel,), tensor.dtype.itemsize, seed
            ).load
        return _Scaled.of(tensor, seed, exponent).load

    def working_memory(self, tensor: WeightTensor) -> int:
        line = MovedInLine(tensor.load, np.dtype(np.float64), (tensor.numel,), 8, (), _SIZES)
        scales = 3 * 8 * sum(min(each, MOST_LINES) for each in matrix_shape(tensor.shape))
        return line.memory + scales + 2 * 8 * min(tensor.numel, CHUNK)


def _is_line(tensor: WeightTensor) -> bool:
    """Whether it has no rows, or no columns, that could differ in scale."""
    return min(matrix_shape(tensor.shape)) < 2


@dataclasses.dataclass(frozen=True)
class OnSameGrid(Values):
    """Symbols of weights that were made, on the grid of those of a tensor."""

    own_fit = False

    def fit(self, quantizer: Quantizer) -> SymbolCoder:
        self.check(quantizer)
        return quantizer.fit(self.original)


def _exponent(tensor: WeightTensor) -> int:
    """That of a power of two above all weights.

    Raises
    ------
    NotApplicableError
        If a weight is NaN or infinite.
    """
    largest = 0.0
    for chunk in tensor.chunks(reuse=True):
        extremes = finite_range(chunk)
        if extremes is None:
            raise NotApplicableError("scaled needs finite weights")
        largest = max(largest, *map(abs, extremes))
    return math.frexp(largest)[1]


@dataclasses.dataclass(frozen=True, eq=False)
class _Scaled:
    """Weights with the scales of a matrix; what is drawn does not depend on who asks for what.

    ``rows`` and ``columns`` are the numbers of those that hold more than zeros; z has no others.
    """

    shape: tuple[int, int]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    scales: tuple[Floats, Floats]
    exponent: int
    rounding: _Rounding
    moved: Moved

    @classmethod
    def of(cls, tensor: WeightTensor, seed: Seed, exponent: int) -> _Scaled:
        r, c = alternating_scales(tensor, exponent, power=1, settled=_SETTLED)
        rows, columns = np.flatnonzero(r), np.flatnonzero(c)
        z = _Normalized(tensor, rows, columns, (r[rows], c[columns]), exponent)
        noise = z.variation()
        scales = (
            drawn_together(r[rows], noise / max(1, columns.size)),
            drawn_together(c[columns], noise / max(1, rows.size)),
        )
        line = MovedInLine(
            z.load, np.dtype(np.float64), (rows.size * columns.size,), 8, seed, _SIZES
        )
        shape = matrix_shape(tensor.shape)
        return cls(shape, rows, columns, scales, exponent, _Rounding.of(tensor), line)

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """The weights [start, stop) of the flat tensor."""
        found = np.zeros(stop - start)
        for part in rectangles(start, stop, self.shape[1]):
            rows = np.searchsorted(self.rows, [part.row, part.row + part.rows])
            columns = np.searchsorted(self.columns, [part.column, part.column + part.columns])
            place = np.ix_(
                self.rows[slice(*rows)] - part.row, self.columns[slice(*columns)] - part.column
            )
            wide = self.columns.size
            size = (rows[1] - rows[0] - 1) * wide + columns[1] - columns[0]
            if rows[1] == rows[0] or columns[1] == columns[0]:
                continue
            first = int(rows[0] * wide + columns[0])
            z = self.moved.load(first, first + int(size)).reshape(place[0].size, place[1].size)
            scaled = z * self.scales[0][slice(*rows), None] * self.scales[1][slice(*columns)]
            found[part.start - start : part.stop - start].reshape(part.shape)[place] = scaled
        return self.rounding.apply(in_units(found, -self.exponent))


def drawn_together(scales: Floats, noise: float) -> Floats:
    """Scales nearer to their geometric mean, of which so much variance of the logarithms is gone.

    >>> drawn_together(np.exp([-0.5, 0.5]), noise=0.16).round(3).tolist()
    [0.741, 1.35]
    """
    logs = np.log(scales)
    variance = float(logs.var()) if logs.size else 0.0
    if variance <= noise:
        return np.full(scales.shape, math.exp(logs.mean()) if logs.size else 1.0)
    centre = float(logs.mean())
    nearer: Floats = np.exp(centre + math.sqrt(1 - noise / variance) * (logs - centre))
    return nearer


@dataclasses.dataclass(frozen=True, eq=False)
class _Normalized:
    """z = w / (r cᵀ), of rows and columns that hold more than zeros."""

    tensor: WeightTensor
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    scales: tuple[Floats, Floats]
    exponent: int

    def load(self, start: int, stop: int) -> Floats:
        found = np.empty(stop - start)
        for part in rectangles(start, stop, self.columns.size):
            rows, columns = self.rows[part.of_rows], self.columns[part.of_columns]
            weights = in_units(self._weights(rows, columns), self.exponent)
            weights /= self.scales[0][part.of_rows, None]
            weights /= self.scales[1][part.of_columns]
            found[part.start - start : part.stop - start] = weights.reshape(-1)
        return found

    def variation(self) -> float:
        """The square of the deviation of magnitudes over their mean."""
        size, total, squares = self.rows.size * self.columns.size, 0.0, 0.0
        for part in rectangles(0, size, self.columns.size):
            z = np.abs(self.load(part.start, part.stop))
            total += float(z.sum())
            squares += float(np.square(z).sum())
        return squares * size / total**2 - 1 if total else 0.0

    def _weights(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
        """Those of some rows and columns, from the first of them to the last."""
        wide = matrix_shape(self.tensor.shape)[1]
        top, left = int(rows[0]), int(columns[0])
        begin, end = top * wide + left, int(rows[-1]) * wide + int(columns[-1]) + 1
        flat = np.zeros((int(rows[-1]) - top + 1) * wide)
        flat[: end - begin] = self.tensor.load(begin, end)
        return flat.reshape(-1, wide)[np.ix_(rows - top, columns - left)]


@dataclasses.dataclass(frozen=True)
class _Rounding:
    """To a dtype, and to mantissas whose last so many digits are 0."""

    dtype: np.dtype[Any]
    zeros: int

    @classmethod
    def of(cls, tensor: WeightTensor) -> _Rounding:
        """As all weights of a tensor are."""
        used = 1 << mantissa_bits(tensor.dtype)
        for chunk in tensor.chunks(reuse=True):
            used |= int(np.bitwise_or.reduce(bit_patterns(chunk), initial=0))
        return cls(tensor.dtype, (used & -used).bit_length() - 1)

    def apply(self, weights: Floats) -> NDArray[Any]:
        limit = float(ml_dtypes.finfo(self.dtype).max)  # type: ignore[no-untyped-call]
        narrow = np.clip(weights, -limit, limit).astype(self.dtype)
        if not self.zeros:
            return narrow
        patterns = bit_patterns(narrow).copy()
        kind, last = patterns.dtype.type, (1 << self.zeros) - 1
        half_up = kind(last >> 1) + (patterns >> kind(self.zeros) & kind(1))  # half to even
        rounded = (patterns + half_up) & ~kind(last)
        fits = np.isfinite(rounded.view(self.dtype).astype(np.float64))
        cut = patterns & ~kind(last)
        found: NDArray[Any] = np.where(fits, rounded, cut).view(self.dtype)
        return found
