"""Quantizers to uniform grids: around zero, or from the least weight to the greatest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kolmo.checkpoints.base import WeightTensor
from kolmo.errors import InputError
from kolmo.quantize.base import (
    ElementwiseCoder,
    FittedTo,
    Quantizer,
    SymbolCoder,
    Weights,
    check_bits,
    register,
    sample,
    value_range,
)
from kolmo.quantize.encoding import on_grid
from kolmo.quantize.grouped import GroupedCoder, Groups, fit_scales
from kolmo.symbols import Alphabet, Symbols


@dataclasses.dataclass(frozen=True, eq=False)
class _GridCoder(ElementwiseCoder):
    """symbol = clamp(round((w − low) / step), 0, size of the alphabet − 1)."""

    low: float
    high: float

    @property
    def step(self) -> float:
        return (self.high - self.low) / (self.alphabet.size - 1)

    def encode_plainly(self, weights: Weights) -> Symbols:
        if self.step == 0:  # a constant tensor has one level
            return np.zeros(weights.shape, self.alphabet.container)
        return on_grid(weights, self.low, self.step, 0, self.alphabet)

    def decode(self, symbols: Symbols) -> Weights:
        return symbols * self.step + self.low

    def parameters(self) -> list[float]:
        return [self.low, self.high]


@dataclasses.dataclass(frozen=True, eq=False)
class _SymmetricCoder(ElementwiseCoder):
    """symbol = round(w / scale) + half, half = 2^(B−1) − 1, alphabet 2 half + 1."""

    largest: float

    @property
    def scale(self) -> float:
        return self.largest / (self.alphabet.size // 2)

    def encode_plainly(self, weights: Weights) -> Symbols:
        half = self.alphabet.size // 2
        if self.scale == 0:
            return np.full(weights.shape, half, self.alphabet.container)
        return on_grid(weights, 0.0, self.scale, half, self.alphabet)

    def decode(self, symbols: Symbols) -> Weights:
        return (symbols.astype(np.float64) - self.alphabet.size // 2) * self.scale

    def parameters(self) -> list[float]:
        return [self.largest]


@register
@dataclasses.dataclass(frozen=True)
class Symmetric(Quantizer):
    """Uniform levels around zero: scale = absmax / (2^(B−1) − 1), symbol = round(w / scale).

    Symbols are shifted by 2^(B−1) − 1 so that they start at 0; the alphabet has 2^B − 1 symbols.
    This is the quantizer of quantization-aware training in Bakhtiarifard et al., arXiv 2602.14896.

    ``axis=row`` has a scale for each row, ``axis=column`` for each column, ``group=128`` for each
    128 weights of a row, the last of which may be fewer; each is the least bfloat16 with which
    nothing is clipped, in 16 bits. A tensor of more than two dimensions is its first dimension ×
    the rest; a vector is a single row, or column. Rows scaled by powers of two keep their symbols
    under ``axis=row``.

    >>> from kolmo.checkpoints import array_tensor
    >>> w = np.float32([-1, -0.4, 0, 0.6, 1])
    >>> Symmetric(3).fit(array_tensor("w", w)).encode(w)
    array([0, 2, 3, 5, 6], dtype=uint8)
    """

    bits: int
    axis: str = "tensor"
    group: int | None = None
    name = "symmetric"
    value_field = "bits"
    summary = "uniform levels around zero, scale from the largest magnitude; axis=row, group=128"

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 2)
        if self.axis not in ("tensor", "row", "column"):
            raise InputError(f"symmetric: axis is tensor, row or column, not {self.axis!r}")
        if self.group is not None and (self.group < 1 or self.axis != "tensor"):
            raise InputError("symmetric: a group is of at least 1 weight of a row, without an axis")

    @property
    def _is_plain(self) -> bool:
        """Whether a tensor has a single scale."""
        return self.axis == "tensor" and self.group is None

    @property
    def nearest(self) -> bool:  # type: ignore[override]
        return self._is_plain

    @property
    def order_free(self) -> bool:
        return self._is_plain

    @property
    def fitted_to(self) -> FittedTo:
        return "values" if self._is_plain else "weights"

    def alphabet(self, dtype: np.dtype[Any]) -> Alphabet:
        return Alphabet((1 << self.bits) - 1)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        if not self._is_plain:
            alphabet = self.alphabet(tensor.dtype)
            groups = Groups.of(tensor.shape, self.axis, self.group)
            scales = fit_scales(self, tensor, groups, alphabet.size // 2)
            return GroupedCoder(alphabet, max(1, groups.columns), groups, scales)
        low, high = value_range(tensor, self)
        return _SymmetricCoder(self.alphabet(tensor.dtype), max(abs(low), abs(high)))

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        if not self._is_plain:
            return GroupedCoder.restored(self.alphabet(dtype), parameters)
        (largest,) = parameters
        return _SymmetricCoder(self.alphabet(dtype), largest)


@register
@dataclasses.dataclass(frozen=True)
class Affine(Quantizer):
    """Uniform levels from the least to the greatest weight (QuBD, arXiv 2605.15551).

    Δ = (max − min) / (2^B − 1), symbol = clamp(round((w − min) / Δ), 0, 2^B − 1). With
    ``clip=99.9``, min and max are the symmetric quantiles that hold 99.9 % of the weights
    (of an evenly spaced sample of a million weights if a tensor has more).

    >>> from kolmo.checkpoints import array_tensor
    >>> w = np.float32([0, 0.5, 1.5])
    >>> Affine(2).fit(array_tensor("w", w)).encode(w)
    array([0, 1, 3], dtype=uint8)
    """

    bits: int
    clip: float = 100.0
    name = "affine"
    value_field = "bits"
    summary = "uniform levels from least to greatest weight; clip=99.9 for quantiles"
    nearest = True

    def __post_init__(self) -> None:
        check_bits(self, self.bits, 1)
        if not 0 < self.clip <= 100:
            raise InputError(f"affine: clip is a percentage in (0, 100], not {self.clip}")

    @property
    def order_free(self) -> bool:
        return self.clip == 100  # quantiles are of a sample

    @property
    def fitted_to(self) -> FittedTo:
        return "values" if self.order_free else "weights"

    def alphabet(self, dtype: np.dtype[Any]) -> Alphabet:
        return Alphabet(1 << self.bits)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        low, high = value_range(tensor, self)
        if self.clip < 100 and tensor.numel:
            tail = (1 - self.clip / 100) / 2
            low, high = (float(q) for q in np.quantile(sample(tensor), [tail, 1 - tail]))
        return _GridCoder(self.alphabet(tensor.dtype), low, high)

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        low, high = parameters
        return _GridCoder(self.alphabet(dtype), low, high)
