"""Quantizers of the stored bit patterns, and of the sign alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kolmo.checkpoints.base import CHUNK, WeightTensor
from kolmo.floats import bit_patterns
from kolmo.quantize.base import (
    ElementwiseCoder,
    Quantizer,
    SymbolCoder,
    Weights,
    not_expressible,
    register,
)
from kolmo.quantize.encoding import as_signed, has_nan
from kolmo.symbols import Alphabet, Symbols


@register
@dataclasses.dataclass(frozen=True)
class Native(Quantizer):
    """The stored bit patterns themselves, as unsigned integers of the dtype's width.

    It expresses every value of every dtype, NaN payloads and negative zeros included. Of a
    quantized tensor the symbols are its codes, and scales and the like are side information.

    >>> from kolmo.checkpoints import array_tensor
    >>> Native().fit(array_tensor("w", np.float32([1, -0.0]))).encode(np.float32([1, -0.0]))
    array([1065353216, 2147483648], dtype=uint32)
    """

    name = "native"
    summary = "the stored bit patterns, lossless"
    nearest = True
    order_free = True
    fitted_to = "nothing"

    def alphabet(self, dtype: np.dtype[Any]) -> Alphabet:
        return Alphabet.of_dtype(dtype)

    def alphabet_of(self, tensor: WeightTensor) -> Alphabet:
        return tensor.codes.alphabet if tensor.codes else self.alphabet(tensor.dtype)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        if tensor.codes:
            return _CodesReader(tensor.codes.alphabet, tensor.codes.side_bits)
        return self._restore(tensor.dtype, ())

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        () = parameters
        return _NativeCoder(self.alphabet(dtype), dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class _NativeCoder(SymbolCoder):
    elementwise = True
    lossless = True
    dtype: np.dtype[Any]

    def encode(self, weights: Weights) -> Symbols:
        return bit_patterns(weights)

    def decode(self, symbols: Symbols) -> Weights:
        return np.ascontiguousarray(symbols).view(self.dtype).reshape(symbols.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class _CodesReader(SymbolCoder):
    """The codes of a quantized tensor, which are read: its weights alone do not tell them."""

    lossless = True
    side: int

    def load(self, tensor: WeightTensor, start: int, stop: int) -> Symbols:
        assert tensor.codes
        return tensor.codes.load(start, stop)

    def symbols(self, tensor: WeightTensor) -> Iterator[Symbols]:
        for start in range(0, tensor.numel, CHUNK):
            yield self.load(tensor, start, min(start + CHUNK, tensor.numel))

    def side_bits(self, dtype: np.dtype[Any]) -> int:
        return self.side


@register
@dataclasses.dataclass(frozen=True)
class Sign(Quantizer):
    """One bit: 1 if w > 0, else 0, also for an exact zero (Bakhtiarifard et al., arXiv 2602.14896).

    The bits decode to ±1.
    """

    name = "sign"
    summary = "one bit: w > 0"
    order_free = True
    fitted_to = "nothing"

    def alphabet(self, dtype: np.dtype[Any]) -> Alphabet:
        return Alphabet(2)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        return SignCoder(self.alphabet(tensor.dtype), tensor.name)

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        () = parameters
        return SignCoder(self.alphabet(dtype), "")


@dataclasses.dataclass(frozen=True, eq=False)
class SignCoder(ElementwiseCoder):
    """Signs, of a tensor whose name errors tell."""

    restores = False
    tensor: str

    def encode(self, weights: Weights) -> Symbols:
        if has_nan(weights):
            raise not_expressible(self.tensor, "NaN", "sign")
        signed = as_signed(weights)
        return super().encode(weights) if signed is None else _positive(signed)

    def encode_plainly(self, weights: Weights) -> Symbols:
        # In float64, since powers of two (float8_e8m0fnu) have no zero to be compared with.
        return _positive(weights.astype(np.float64))

    def decode(self, symbols: Symbols) -> Weights:
        return np.where(symbols > 0, np.float32(1), np.float32(-1))


def _positive(numbers: Weights) -> Symbols:
    return np.asarray(numbers > 0).view(np.uint8)
