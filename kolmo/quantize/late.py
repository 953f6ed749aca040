"""Quantizers that are fitted when all values of a tensor are known, after one reading of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.checkpoints.base import WeightTensor, array_tensor
from kolmo.quantize.base import Quantizer, SymbolCoder, Weights
from kolmo.symbols import Symbols


class LateCoder(SymbolCoder):
    """A quantizer, of a tensor whose values are counted first and made symbols afterwards.

    It is a coder as soon as it is told the values that occur; that tells all of what a quantizer
    needs which is fitted to values (`Quantizer.fitted_to`).

    >>> tensor = array_tensor("w", np.float32([-1, 2, 2, 0.5, 2]))
    >>> from kolmo.quantize import get_quantizer
    >>> coder = LateCoder(get_quantizer("symmetric:8"), tensor)
    >>> coder.settle(np.float32([-1, 0.5, 2]))
    >>> coder.parameters(), coder.encode(np.float32([2]))
    ([2.0], array([254], dtype=uint8))
    """

    elementwise = True

    def __init__(self, quantizer: Quantizer, tensor: WeightTensor) -> None:
        super().__init__(quantizer.alphabet_of(tensor))
        self._quantizer, self._name = quantizer, tensor.name
        self._fitted: SymbolCoder | None = None

    def settle(self, values: Weights) -> None:
        """Fit the quantizer to the values that occur, each once.

        Raises
        ------
        NotExpressibleError
            As `Quantizer.fit` does.
        """
        self._fitted = self._quantizer.fit(array_tensor(self._name, values))

    def encode(self, weights: Weights) -> Symbols:
        return self._coder.encode(weights)

    def decode(self, symbols: Symbols) -> Weights:
        return self._coder.decode(symbols)

    def parameters(self) -> list[float]:
        return self._coder.parameters()

    def side_bits(self, dtype: np.dtype[Any]) -> int:
        return self._coder.side_bits(dtype)

    @property
    def _coder(self) -> SymbolCoder:
        assert self._fitted, "its values are not known yet"
        return self._fitted
