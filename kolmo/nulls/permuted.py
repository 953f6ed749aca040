"""The nulls that move weights, and change none of them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from kolmo.checkpoints.base import WeightTensor
from kolmo.errors import NotApplicableError
from kolmo.nulls.base import Null, Source, Weights
from kolmo.nulls.moved import Load, Moved, MovedInColumns, MovedInLine, MovedInRows
from kolmo.nulls.seeds import Seed
from kolmo.quantize import Quantizer, SymbolCoder

MOST_ROWS = (1 << 32) - 1
"""Rows at most of a matrix of several columns that are shuffled."""


@dataclasses.dataclass(frozen=True)
class _MovedWeights(Weights):
    """Symbols of the weights of a tensor at other places."""

    original: WeightTensor

    def fit(self, quantizer: Quantizer) -> SymbolCoder:
        """Fitted to the weights at their own places, where these do not matter, so that nothing is
        drawn for it. Codes are read from where they are."""
        fits_anywhere = quantizer.order_free and self.tensor.codes is None
        return quantizer.fit(self.original if fits_anywhere else self.tensor)


@dataclasses.dataclass(frozen=True)
class Permuted(Null):
    """Base of the nulls that move the weights of a tensor and change none of them.

    The codes of a quantized tensor move as its weights do.
    """

    permutes = True
    version = 2
    stream: ClassVar[int]  # a number of its own, so that no two nulls share random numbers

    def _draw(self, tensor: WeightTensor, seed: Seed) -> Source:
        seed = (*seed, self.stream)
        moved = self._moved(tensor, seed, tensor.load, tensor.dtype)
        codes = tensor.codes
        if codes is not None:
            of_codes = self._moved(tensor, seed, codes.load, codes.alphabet.container)
            codes = dataclasses.replace(codes, load=of_codes.load)
        drawn = dataclasses.replace(tensor, load=moved.load, codes=codes, place=None)
        return _MovedWeights(drawn, tensor)

    def _moved(self, tensor: WeightTensor, seed: Seed, load: Load, dtype: np.dtype[Any]) -> Moved:
        """Numbers of a tensor, its weights or its codes, at other places."""
        raise NotImplementedError

    def working_memory(self, tensor: WeightTensor) -> int:
        weights = self._moved(tensor, (), tensor.load, tensor.dtype).memory
        if tensor.codes is None:
            return weights
        codes = tensor.codes.load, tensor.codes.alphabet.container
        return weights + self._moved(tensor, (), *codes).memory


@dataclasses.dataclass(frozen=True)
class Shuffled(Permuted):
    """The same weights at random places, all orders equally likely.

    It keeps every value and its count, and destroys everything about places.
    """

    name = "shuffled"
    stream = 1

    def _moved(self, tensor: WeightTensor, seed: Seed, load: Load, dtype: np.dtype[Any]) -> Moved:
        return MovedInLine(load, dtype, (tensor.numel,), tensor.dtype.itemsize, seed)


@dataclasses.dataclass(frozen=True)
class RowShuffled(Permuted):
    """The weights of each row at random places within it, each row on its own.

    A row is a slice of the first dimension (all weights of an output unit), flattened. Kept: the
    values of every row, so its mean, scale and sparsity. Gone: order within rows, hence columns.
    A tensor of fewer than two dimensions is one row, and is shuffled whole.
    """

    name = "row-shuffled"
    stream = 4

    def _moved(self, tensor: WeightTensor, seed: Seed, load: Load, dtype: np.dtype[Any]) -> Moved:
        return MovedInRows(load, dtype, _matrix(tensor, 1), tensor.dtype.itemsize, seed)


@dataclasses.dataclass(frozen=True)
class ColumnShuffled(Permuted):
    """The weights of each column at random places within it, each column on its own.

    A tensor of more than two dimensions is a matrix of its first dimension × the rest: a column
    has one weight of every output unit. Kept: the values of every column. Gone: order within
    columns, hence rows. A tensor of fewer than two dimensions is one column, and is shuffled
    whole.
    """

    name = "column-shuffled"
    stream = 5

    def _moved(self, tensor: WeightTensor, seed: Seed, load: Load, dtype: np.dtype[Any]) -> Moved:
        rows, columns = _matrix(tensor, 0)
        if columns == 1:
            return MovedInLine(load, dtype, (rows,), tensor.dtype.itemsize, seed)
        if rows > MOST_ROWS:
            raise NotApplicableError(
                f"column-shuffled takes up to {MOST_ROWS:,} rows, not {rows:,}"
            )
        return MovedInColumns(load, dtype, (rows, columns), tensor.dtype.itemsize, seed)


def _matrix(tensor: WeightTensor, line: int) -> tuple[int, int]:
    """Rows and columns of a tensor; of a vector, one line: a row (1) or a column (0)."""
    if len(tensor.shape) > 1:
        return tensor.shape[0], math.prod(tensor.shape[1:])
    return (1, tensor.numel) if line else (tensor.numel, 1)
