"""A uniform grid over scales of rows and columns: the coder that quantizers of free steps share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.dtypes import bits_of
from kolmo.quantize.octaves import LAST, Codes, octave_scales
from kolmo.quantize.placed import PlacedCoder, split, whole_numbers
from kolmo.quantize.scales import Floats, Rectangle, matrix_shape
from kolmo.symbols import Alphabet, Shape

_FARTHEST = 2.0**53  # place of a weight that a parameter can tell


@dataclasses.dataclass(frozen=True, eq=False)
class GridScales:
    """Relative scales of rows and columns, by their codes; none where there are no codes."""

    rows: Codes
    columns: Codes

    def divide(self, weights: Floats, part: Rectangle) -> Floats:
        """The weights of a rectangle over their scales, in place."""
        matrix = weights.reshape(part.shape)
        if self.rows.size:
            matrix *= self._inverses[0][part.of_rows, None]
        if self.columns.size:
            matrix *= self._inverses[1][part.of_columns]
        return weights

    def multiply(self, weights: Floats, part: Rectangle) -> Floats:
        """Undo `divide`."""
        matrix = weights.reshape(part.shape)
        if self.rows.size:
            matrix *= self._scales[0][part.of_rows, None]
        if self.columns.size:
            matrix *= self._scales[1][part.of_columns]
        return weights

    @cached_property
    def squares(self) -> float:
        """The product of the sums of squares of both; 1 for what has none."""
        sums = [float(np.square(each).sum()) for each in self._scales]
        return math.prod(each or 1.0 for each in sums)

    @cached_property
    def _scales(self) -> tuple[Floats, Floats]:
        return octave_scales(self.rows), octave_scales(self.columns)

    @cached_property
    def _inverses(self) -> tuple[Floats, Floats]:
        return 1 / self._scales[0], 1 / self._scales[1]


@dataclasses.dataclass(frozen=True, eq=False)
class ScaledGrid(PlacedCoder):
    """symbol = round(w / (step r_i c_j)) + half, and the weights themselves at the far places."""

    step: float
    rows: Codes
    scaled: Codes
    places: NDArray[np.int64]
    values: Floats

    def _encode(self, weights: Floats, part: Rectangle) -> Floats:
        half = self.alphabet.size // 2
        if self.step == 0:  # a tensor of zeros
            return np.full(weights.shape, float(half))
        mantissa, unit = self._unit
        weights *= unit
        levels = nearest_levels(weights, part, self._own, mantissa)
        np.clip(levels, -half, half, out=levels)
        levels += half
        return levels

    def _decode(self, symbols: Floats, part: Rectangle) -> Floats:
        symbols -= self.alphabet.size // 2
        scales = self._own.multiply(np.full(symbols.shape, self.step), part)
        symbols *= scales
        first, last = np.searchsorted(self.places, [part.start, part.stop])
        symbols[self.places[first:last] - part.start] = self.values[first:last]
        return symbols

    def fits(self, shape: Shape) -> bool:
        """Whether there is a scale for each row and column, or there are none, and what lies beyond
        the grid lies in the tensor."""
        rows, columns = matrix_shape(shape)
        within = not self.places.size or int(self.places[-1]) < rows * columns
        if not self.rows.size and not self.scaled.size:
            return within and self.columns in (max(1, columns), max(1, rows * columns))
        return within and self.columns == columns and self.rows.size in (0, rows)

    def parameters(self) -> list[float]:
        sizes = [self.columns, self.rows.size, self.scaled.size, self.places.size]
        codes = [*self.rows.tolist(), *self.scaled.tolist()]
        return [self.step, *map(float, [*sizes, *codes, *self.places]), *self.values.tolist()]

    def side_bits(self, dtype: np.dtype[Any]) -> int:
        """The step in 32 bits, or 64 where those do not hold it, as one bit says; 8 a scale; and
        the weights beyond the grid, of which the symbols tell the places."""
        with np.errstate(over="ignore"):
            narrow = float(np.float32(self.step)) == self.step
        scales = 8 * (self.rows.size + self.scaled.size)
        return 1 + (32 if narrow else 64) + scales + self.places.size * bits_of(dtype)

    @cached_property
    def _own(self) -> GridScales:
        return GridScales(self.rows, self.scaled)

    @cached_property
    def _unit(self) -> tuple[float, float]:
        """The step as a number near 1, and what weights are multiplied by."""
        exponent = min(max(math.frexp(self.step)[1], -1000), 1000)
        return math.ldexp(self.step, -exponent), math.ldexp(1.0, -exponent)


def nearest_levels(weights: Floats, part: Rectangle, scales: GridScales, step: float) -> Floats:
    """The numbers of the levels nearest to the weights of a rectangle, in place."""
    scales.divide(weights, part)
    weights *= 1 / step
    return np.rint(weights, out=weights)


def grid_of(alphabet: Alphabet, parameters: Sequence[float]) -> ScaledGrid:
    """The coder with these parameters.

    Raises
    ------
    ValueError
        If they are those of no grid.
    """
    step, *sizes = parameters[:5]
    columns, rows, wide, far = whole_numbers(sizes)
    scales, across, places, values = split(parameters[5:], rows, wide, far, far)
    at = np.array(whole_numbers(places, _FARTHEST), np.int64)
    if columns < 1 or step < 0 or wide not in (0, columns) or (np.diff(at) <= 0).any():
        raise ValueError
    return ScaledGrid(
        alphabet,
        columns,
        step,
        np.array(whole_numbers(scales, LAST), np.uint8),
        np.array(whole_numbers(across, LAST), np.uint8),
        at,
        np.array(values, np.float64),
    )
