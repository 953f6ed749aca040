"""Codebooks: tables of values, the tensor's own or those of k-means."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.codes.lengths import integer_bits, subset_bits
from kolmo.errors import InputError
from kolmo.quantize.base import (
    ElementwiseCoder,
    Quantizer,
    SymbolCoder,
    Weights,
    parameter_width,
    register,
    sample,
    value_range,
)
from kolmo.symbols import Alphabet, Symbols


@register
@dataclasses.dataclass(frozen=True)
class Codebook(Quantizer):
    """K values: the tensor's own if it has at most K distinct ones, else those of 1-D k-means.

    K-means starts at evenly spaced quantiles and runs Lloyd's iteration to its fixed point (at
    most 100 rounds), on an evenly spaced sample of a million weights if a tensor has more.

    >>> from kolmo.checkpoints import array_tensor
    >>> w = np.float32([3, -1, 3, 7])
    >>> coder = Codebook(4).fit(array_tensor("w", w))
    >>> coder.encode(w), coder.decode(coder.encode(w))
    (array([1, 0, 1, 2], dtype=uint8), array([ 3., -1.,  3.,  7.]))
    """

    size: int
    name = "codebook"
    value_field = "size"
    summary = "K values, exact where a tensor has no more, else 1-D k-means"
    nearest = True

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 65536:
            raise InputError(f"codebook: the size is 1 to 65536, not {self.size}")

    def alphabet(self, dtype: np.dtype[Any]) -> Alphabet:
        return Alphabet(self.size)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        value_range(tensor, self)
        values = _distinct(tensor, self.size)
        if values is None:
            values = _kmeans(np.sort(sample(tensor)), self.size)
        return _CodebookCoder(self.alphabet(tensor.dtype), values)

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        if len(parameters) > self.size:
            raise ValueError
        return _CodebookCoder(self.alphabet(dtype), np.array(parameters, np.float64))


@dataclasses.dataclass(frozen=True, eq=False)
class _CodebookCoder(ElementwiseCoder):
    values: NDArray[np.float64]

    def encode_plainly(self, weights: Weights) -> Symbols:
        borders = (self.values[1:] + self.values[:-1]) / 2
        nearest = np.searchsorted(borders, weights.astype(np.float64))
        return nearest.astype(self.alphabet.container)

    def decode(self, symbols: Symbols) -> Weights:
        return self.values[symbols]

    def parameters(self) -> list[float]:
        values: list[float] = self.values.tolist()
        return values

    def side_bits(self, dtype: np.dtype[Any]) -> int:
        """Bits of the codebook as a set: how many values, then which of all bit patterns of their
        width (Cover 1973); one bit says whether the width is the dtype's or 64."""
        width = parameter_width(self.parameters(), dtype)
        return 1 + integer_bits(self.values.size) + subset_bits(self.values.size, 1 << width)


def _distinct(tensor: WeightTensor, most: int) -> NDArray[np.float64] | None:
    values = np.empty(0)
    for chunk in tensor.chunks(1 << 18):
        values = np.union1d(values, chunk.astype(np.float64))
        if values.size > most:
            return None
    return values


def _kmeans(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    unit = 2.0**64 if max(-values[0], values[-1]) > 2.0**900 else 1.0  # so that no sum overflows
    ordered = values / unit
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    ranks = (np.arange(size) + 0.5) * ordered.size / size
    centres = np.unique(ordered[ranks.astype(np.int64)])
    for _ in range(100):
        borders = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        edges = np.concatenate([[0], borders, [ordered.size]])
        counts = np.diff(edges)
        moved = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.unique(centres * unit)
