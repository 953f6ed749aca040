"""The quantizer of a given distortion: a uniform grid whose step is solved for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.errors import InputError, NotApplicableError
from kolmo.floats import is_float
from kolmo.quantize.base import (
    Quantizer,
    SymbolCoder,
    not_expressible,
    register,
    value_range,
)
from kolmo.quantize.octaves import octave_codes
from kolmo.quantize.scaled_grid import GridScales, ScaledGrid, grid_of, nearest_levels
from kolmo.quantize.scales import (
    Floats,
    Rectangle,
    alternating_scales,
    column_sizes,
    in_units,
    matrix_shape,
    pieces,
    row_sizes,
)
from kolmo.symbols import Alphabet, Shape

TOLERANCE = 1e-3
"""How far from the distortion that was asked for the one of a step may be, relatively."""

_REACH = 32  # standard deviations of the weights that the alphabet reaches to
_WIDEST = 32_767  # levels on one side of zero, at most
_SETTLED = 2.0**-24  # change of a row's scale in a round from which scales are taken as settled
_LINES = 1 << 25  # rows and columns that have scales, at most
_FARTHEST = 2.0**53  # place of a weight that a parameter can tell
_GUESSES = 6  # passes in which the distortion is taken to go with the square of the step
_PASSES = 40  # over a tensor, to solve for its step
_GRAIN = 2.0**36  # squares are rounded to multiples of 1 / this, so that their sums are exact
_LAST_EXPONENT = 1024  # of a number of float64, as frexp tells it
_MEETS = 1e-6  # a bracket of steps as narrow as this, relatively, holds no better one


@register
@dataclasses.dataclass(frozen=True)
class Nmse(Quantizer):
    """A uniform grid whose step gives the distortion D = Σ(w − ŵ)² / Σw², so that figures compare
    at equal error whatever the scale, the outliers and the number of distinct values.

    symbol = round(w / (Δ r_i c_j)) + half, with scales r of rows and c of columns by root mean
    squares in turns (`alternating_scales`), rounded to eighths of an octave, of 8 bits each.
    D is met to within 0.1 %; where no step does (few distinct values), it is not exceeded by more.
    ``axis`` says which scales there are: ``both``, ``row``, ``column`` or none, ``tensor``. Vectors
    have none, and a tensor of more than two dimensions is its first dimension × the rest.

    The alphabet follows from D alone and reaches to 32 standard deviations. A weight beyond has the
    first or the last symbol and is sent itself, so that it has no error.

    Of independent normal weights, entropy is ½ log2(1/D) + ½ log2(πe/6) = ½ log2(1/D) + .2546 bits
    at small D (Gish & Pierce 1968).

    >>> from kolmo.checkpoints import array_tensor
    >>> w = np.random.default_rng(0).normal(size=(200, 100))
    >>> coder = Nmse(0.01).fit(array_tensor("w", w))
    >>> error = w - coder.decode(coder.encode(w))
    >>> round(float((error**2).sum() / (w**2).sum()), 4), coder.alphabet
    (0.01, Alphabet(size=187, format=''))
    """

    distortion: float
    axis: str = "both"
    name = "nmse"
    value_field = "distortion"
    summary = "a uniform grid of relative squared error D; scales of rows and columns"

    def __post_init__(self) -> None:
        if not 0 < self.distortion < 1:
            raise InputError(
                f"nmse: the relative squared error is in (0, 1), not {self.distortion}"
            )
        if self.axis not in ("both", "row", "column", "tensor"):
            raise InputError(f"nmse: axis is both, row, column or tensor, not {self.axis!r}")

    @property
    def order_free(self) -> bool:
        return self.axis == "tensor"

    @property
    def half(self) -> int:
        """The number of the outermost symbol, counted from that of zero."""
        return min(_WIDEST, math.ceil(_REACH / math.sqrt(12 * self.distortion)))

    def alphabet(self, dtype: np.dtype[Any]) -> Alphabet:
        return Alphabet(2 * self.half + 1)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        low, high = value_range(tensor, self)
        exponent = math.frexp(max(-low, high))[1]
        shape = self._scaled_shape(tensor.shape)
        if self.axis != "tensor" and shape[0] > 1 and sum(shape) > _LINES:
            raise NotApplicableError(f"nmse: {sum(shape):,} rows and columns; use axis=tensor")
        grid = _Grid.of(tensor, shape, exponent, self.axis)
        step = grid.solve(self.distortion, self.half)
        places, values = grid.beyond(step, self.half)
        exponent += grid.octave
        if step and math.frexp(step)[1] + exponent > _LAST_EXPONENT:
            raise not_expressible(tensor.name, "weights near the largest of float64", str(self))
        total = math.ldexp(step, exponent) if step else 0.0
        codes = grid.scales.rows, grid.scales.columns
        return ScaledGrid(self.alphabet(tensor.dtype), grid.wide, total, *codes, places, values)

    def _scaled_shape(self, shape: Shape) -> tuple[int, int]:
        """Rows and columns, as far as they have scales."""
        rows, columns = matrix_shape(shape)
        return (1, rows * columns) if self.axis == "tensor" else (rows, columns)

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        return grid_of(self.alphabet(dtype), parameters)


# --- fitting --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class _Grid:
    """A tensor in units of 2^exponent, over its scales in units of 2^octave.

    Sums of squares are sums of integers below 2^53, exact and so the same in any order.
    """

    tensor: WeightTensor
    wide: int
    exponent: int
    octave: int
    scales: GridScales

    @classmethod
    def of(cls, tensor: WeightTensor, shape: Shape, exponent: int, axis: str) -> _Grid:
        rows, columns = shape
        none = np.empty(0, np.uint8)
        codes, octaves = [none, none], [0, 0]
        if rows > 1 and tensor.numel:
            for number, scales in enumerate(_scales_of(tensor, exponent, axis)):
                if scales.size:
                    codes[number], octaves[number] = octave_codes(scales)
        return cls(tensor, max(1, columns), exponent, sum(octaves), GridScales(*codes))

    def solve(self, distortion: float, half: int) -> float:
        """The step that gives the distortion; 0 of a tensor of zeros."""
        power = self._power()
        if not power:
            return 0.0

        def nmse(step: float) -> float:
            return self._error(step, half) / power

        expected = math.sqrt(12 * distortion * power / self._spread)
        return solve(nmse, distortion, math.ldexp(expected, -self.octave))

    @cached_property
    def _spread(self) -> float:
        """The sum of the squares of all products of a row's and a column's scale."""
        rows, columns = self.scales.rows.size, self.scales.columns.size
        height = self.tensor.numel // self.wide
        return self.scales.squares * (1 if rows else height) * (1 if columns else self.wide)

    def beyond(self, step: float, half: int) -> tuple[NDArray[np.int64], Floats]:
        """Places and values of the weights that the alphabet does not reach, and of those whose
        level is larger than any number of the dtype."""
        places: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        values: list[Floats] = [np.empty(0)]
        for part, weights in self._parts() if step else ():
            own = weights.copy()
            weights = in_units(weights, self.octave)
            levels = nearest_levels(weights, part, self.scales, step)
            is_far = np.abs(levels) >= half
            if self._is_near_largest:
                sizes = self.scales.multiply(levels * math.ldexp(step, self.octave), part)
                is_far |= np.abs(sizes) > self._largest
            far = np.flatnonzero(is_far)
            places.append(part.start + far)
            values.append(in_units(own[far], -self.exponent))
        return np.concatenate(places), np.concatenate(values)

    @cached_property
    def _largest(self) -> float:
        """The largest number of a floating-point dtype, in units of 2^exponent."""
        if not is_float(self.tensor.dtype):
            return math.inf
        finfo: Any = ml_dtypes.finfo
        mantissa, exponent = math.frexp(float(finfo(self.tensor.dtype).max))
        return math.ldexp(mantissa, min(exponent - self.exponent, 1000))

    @property
    def _is_near_largest(self) -> bool:
        """Whether twice the largest weight, which no level exceeds, is too large for the dtype."""
        return self._largest < 2

    def _parts(self) -> Iterator[tuple[Rectangle, Floats]]:
        return pieces(self.tensor, self.wide, self.exponent)

    def _power(self) -> float:
        """Σw²."""
        return sum(_sum_squares(weights) for _, weights in self._parts()) / _GRAIN

    def _error(self, step: float, half: int) -> float:
        """Σ(w − ŵ)² for a step."""
        total = 0
        for part, weights in self._parts():
            scaled = self.scales.divide(weights, part)
            scaled *= math.ldexp(1 / step, -self.octave)
            levels = np.rint(scaled)
            scaled -= levels
            if max(levels.max(), -levels.min()) >= half:
                scaled[np.abs(levels) >= half] = 0
            self.scales.multiply(scaled, part)
            total += _sum_squares(scaled)
        return total / _GRAIN * math.ldexp(step, self.octave) ** 2


def _sum_squares(numbers: Floats) -> int:
    """The sum of the squares of numbers from −1 to 1, which are lost, in grains."""
    np.square(numbers, out=numbers)
    numbers *= _GRAIN
    return int(np.rint(numbers, out=numbers).sum())


def _scales_of(tensor: WeightTensor, exponent: int, axis: str) -> tuple[Floats, Floats]:
    """The scales that an axis asks for, of rows and of columns; empty arrays for none."""
    none = np.empty(0)
    if axis == "tensor":
        return none, none
    if axis == "both":
        return alternating_scales(tensor, exponent, settled=_SETTLED)
    if axis == "row":
        return row_sizes(tensor, exponent), none
    return none, column_sizes(tensor, exponent)


def solve(nmse: Callable[[float], float], distortion: float, step: float) -> float:
    """The step of a grid whose distortion is D to within `TOLERANCE`, or the largest that was
    found among those whose distortion is no greater.

    Parameters
    ----------
    nmse : callable
        The distortion of a step: near its square at small ones, of no known form at others.
    distortion : float
    step : float
        Where to begin.

    Examples
    --------
    >>> round(solve(lambda step: step**2 / 12, 0.01, 1.0), 3)
    0.346
    """
    low, high = 0.0, math.inf
    for number in range(_PASSES):
        step = _rounded(step)
        found = nmse(step) / distortion
        if abs(found - 1) <= TOLERANCE:
            return step
        low, high = (max(low, step), high) if found < 1 else (low, min(high, step))
        if low > high * (1 - _MEETS):
            break
        guess = step * min(4.0, max(0.25, 1 / math.sqrt(found) if found else 4.0))
        step = guess if low < guess < high and number < _GUESSES else _between(low, high)
    return low


def _between(low: float, high: float) -> float:
    """A step between two, of which one may be unknown yet: 0, or infinity."""
    if low and high < math.inf:
        return math.sqrt(low * high)
    return 2 * low or high / 4


def _rounded(step: float) -> float:
    """A step that 32 bits hold."""
    return float(np.float32(step))
