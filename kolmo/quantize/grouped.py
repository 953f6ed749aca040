"""Symmetric grids with a scale for each row, column, or group of weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.quantize.base import Quantizer, SymbolCoder, not_expressible, value_range
from kolmo.quantize.placed import PlacedCoder, split, whole_numbers
from kolmo.quantize.scales import Floats, Rectangle, matrix_shape, pieces
from kolmo.symbols import Alphabet, Shape

WIDTH = 16
"""Bits of a scale, a bfloat16."""

_LARGEST = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)  # type: ignore[no-untyped-call]

_CLIPS = 1.01  # times the outermost level, which a weight so near still rounds to


@dataclasses.dataclass(frozen=True)
class Groups:
    """Which weights of a matrix share a scale: ``high`` rows × ``wide`` columns of them."""

    rows: int
    columns: int
    high: int
    wide: int

    @classmethod
    def of(cls, shape: Shape, axis: str, group: int | None) -> Groups:
        """Those of a tensor; all of a vector has one scale, unless there are groups."""
        rows, columns = matrix_shape(shape)
        if group is not None:
            return cls(rows, columns, 1, group)
        by_row = axis == "row" or len(shape) < 2
        sides = (1, max(1, columns)) if by_row else (max(1, rows), 1)
        return cls(rows, columns, *sides)

    @property
    def shape(self) -> tuple[int, int]:
        """How many scales there are, in rows and columns of them; one at least."""
        return max(1, -(-self.rows // self.high)), max(1, -(-self.columns // self.wide))

    def place(self, part: Rectangle) -> tuple[slice, slice]:
        """Where the scales of a rectangle are."""
        last = -(-(part.column + part.columns) // self.wide)
        rows = part.of_rows if self.high == 1 else slice(0, 1)  # all rows share them
        return rows, slice(part.column // self.wide, last)

    def widths(self, part: Rectangle) -> NDArray[np.int64]:
        """How many columns of a rectangle each of its scales is for."""
        edges = np.arange(self.place(part)[1].start, self.place(part)[1].stop + 1) * self.wide
        widths: NDArray[np.int64] = np.diff(np.clip(edges, part.column, part.column + part.columns))
        return widths


def fit_scales(quantizer: Quantizer, tensor: WeightTensor, groups: Groups, half: int) -> Floats:
    """The least bfloat16 for each group with which its largest magnitude has the level ``half``.

    Raises
    ------
    NotExpressibleError
        If there is none, or a weight is NaN or infinite.
    """
    low, high = value_range(tensor, quantizer)
    if max(-low, high) > _CLIPS * half * _LARGEST:
        what = f"a magnitude over {half * _LARGEST:.3g}"
        raise not_expressible(tensor.name, what, str(quantizer))
    largest = np.zeros(groups.shape)
    for part, weights in pieces(tensor, max(1, groups.columns)):
        magnitudes = np.abs(weights, out=weights).reshape(part.shape)
        if groups.high > 1:
            magnitudes = magnitudes.max(axis=0, keepdims=True)
        widths, own = groups.widths(part), largest[groups.place(part)]
        found = np.maximum.reduceat(magnitudes, np.cumsum(widths) - widths, axis=1)
        np.maximum(own, found, out=own)
    return _rounded_up(largest / half)


def _rounded_up(scales: Floats) -> Floats:
    """The least bfloat16 values that are no smaller; the largest one in place of infinity.

    >>> _rounded_up(np.array([1.0, 1.001, 0.0])).tolist()
    [1.0, 1.0078125, 0.0]
    """
    near = scales.astype(ml_dtypes.bfloat16)
    above = (near.view(np.uint16) + np.uint16(1)).view(ml_dtypes.bfloat16)
    least = np.where(near.astype(np.float64) < scales, above, near).astype(np.float64)
    return np.minimum(least, _LARGEST)


@dataclasses.dataclass(frozen=True, eq=False)
class GroupedCoder(PlacedCoder):
    """symbol = round(w / scale of its group) + half, alphabet 2 half + 1."""

    groups: Groups
    scales: Floats

    @classmethod
    def restored(cls, alphabet: Alphabet, parameters: Sequence[float]) -> SymbolCoder:
        """The coder with these parameters.

        Raises
        ------
        ValueError
            If they are none of such a coder.
        """
        groups = Groups(*whole_numbers(parameters[:4]))
        (scales,) = split(parameters[4:], math.prod(groups.shape))
        if min(scales) < 0:
            raise ValueError
        return cls(alphabet, max(1, groups.columns), groups, np.array(scales).reshape(groups.shape))

    def _encode(self, weights: Floats, part: Rectangle) -> Floats:
        half = self.alphabet.size // 2
        levels = weights.reshape(part.shape)
        levels /= self._spread(self._divisors, part)
        np.rint(levels, out=levels)
        levels += half
        return np.clip(levels, 0, 2 * half, out=levels)

    def _decode(self, symbols: Floats, part: Rectangle) -> Floats:
        levels = symbols.reshape(part.shape)
        levels -= self.alphabet.size // 2
        levels *= self._spread(self.scales, part)
        return levels

    def _spread(self, scales: Floats, part: Rectangle) -> Floats:
        """The scale of each weight of a rectangle, or that of all of a line of it."""
        own = scales[self.groups.place(part)]
        return own if own.shape[1] == 1 else np.repeat(own, self.groups.widths(part), axis=1)

    @cached_property
    def _divisors(self) -> Floats:
        """The scales, and 1 for groups of zeros."""
        return np.where(self.scales > 0, self.scales, 1.0)

    def fits(self, shape: Shape) -> bool:
        return matrix_shape(shape) == (self.groups.rows, self.groups.columns)

    def parameters(self) -> list[float]:
        return [*map(float, dataclasses.astuple(self.groups)), *self.scales.reshape(-1).tolist()]

    def side_bits(self, dtype: np.dtype[Any]) -> int:
        """16 bits a scale; how many there are follows from the tensor's shape."""
        return WIDTH * self.scales.size
