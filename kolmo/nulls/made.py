"""The nulls that make weights or symbols anew, block by block, each by a generator of its own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import CHUNK, WeightTensor
from kolmo.errors import NotApplicableError
from kolmo.floats import is_float
from kolmo.nulls.base import Coded, Null, Source, Weights
from kolmo.nulls.seeds import Seed, name_seed
from kolmo.quantize import Quantizer, SymbolCoder
from kolmo.symbols import Symbols

BLOCK = 1 << 18
"""Weights, or symbols, that one generator makes."""

_PIECE = 1 << 16  # weights whose mean and deviation are taken at a time, in the cache


@dataclasses.dataclass(frozen=True)
class Values(Weights):
    """Symbols of weights that were made, and have no codes, in place of those of a tensor."""

    original: WeightTensor

    def fit(self, quantizer: Quantizer) -> SymbolCoder:
        self.check(quantizer)
        return super().fit(quantizer)

    def check(self, quantizer: Quantizer) -> None:
        """NotApplicableError if the quantizer reads codes."""
        if quantizer.alphabet_of(self.original) != quantizer.alphabet_of(self.tensor):
            raise NotApplicableError(f"{quantizer} reads codes, which drawn weights do not have")


@dataclasses.dataclass(frozen=True)
class NormalWeights(Null):
    """Normal weights with the tensor's mean and standard deviation, in its dtype.

    Both are fitted to the tensor, which is read once for it, so that p-values are approximate.
    """

    name = "gaussian"
    fitted = True
    version = 2

    def _draw(self, tensor: WeightTensor, seed: Seed) -> Source:
        if not is_float(tensor.dtype):
            raise NotApplicableError(f"gaussian has no {tensor.dtype} weights")
        mean, sd = mean_and_sd(tensor)
        made = _Normal(tensor.numel, tensor.dtype, mean, sd, (*seed, 2))
        drawn = dataclasses.replace(tensor, load=made.load, codes=None, place=None)
        return Values(drawn, tensor)

    def working_memory(self, tensor: WeightTensor) -> int:
        return min(tensor.numel, CHUNK) * 2 * tensor.dtype.itemsize + 3 * 8 * BLOCK


@dataclasses.dataclass(frozen=True)
class _Normal:
    """Independent normal weights; what is drawn does not depend on who asks for what."""

    numel: int
    dtype: np.dtype[Any]
    mean: float
    sd: float
    seed: Seed

    def load(self, start: int, stop: int) -> NDArray[Any]:
        weights = np.empty(stop - start, self.dtype)
        for block in blocks(start, stop, self.numel):
            drawn = np.random.default_rng((*self.seed, block.number)).standard_normal(block.size)
            drawn *= self.sd
            drawn += self.mean
            weights[block.here] = drawn[block.part].astype(self.dtype)
        return weights


@dataclasses.dataclass(frozen=True)
class Uniform(Null):
    """Independent symbols, uniform over the alphabet of each quantizer.

    P-values are exact for symbols that are so. Those of ``symmetric`` never are altogether: the
    largest weight sets the scale, and an end of the range always occurs.
    """

    name = "uniform"
    version = 2

    def _draw(self, tensor: WeightTensor, seed: Seed) -> Source:
        return UniformSymbols(tensor, (*seed, 3))

    def working_memory(self, tensor: WeightTensor) -> int:
        return 8 * (min(tensor.numel, CHUNK) + BLOCK)


@dataclasses.dataclass(frozen=True)
class UniformSymbols:
    """Independent uniform symbols; there are no weights behind them."""

    original: WeightTensor
    seed: Seed

    @property
    def drawn(self) -> None:
        return None

    def coded(self, quantizer: Quantizer) -> Coded:
        return Coded(None, self._chunks(quantizer))

    def symbols(self, quantizer: Quantizer, start: int, stop: int) -> Symbols:
        """The symbols at the places [start, stop), which do not depend on what else is asked."""
        alphabet = quantizer.alphabet_of(self.original)
        symbols = np.empty(stop - start, alphabet.container)
        seed = (*self.seed, name_seed(str(quantizer)))
        for block in blocks(start, stop, self.original.numel):
            random = np.random.default_rng((*seed, block.number))
            drawn = random.integers(alphabet.size, size=block.size, dtype=alphabet.container)
            symbols[block.here] = drawn[block.part]
        return symbols

    def _chunks(self, quantizer: Quantizer) -> Iterator[Symbols]:
        numel = self.original.numel
        for start in range(0, numel, CHUNK):
            yield self.symbols(quantizer, start, min(start + CHUNK, numel))


@dataclasses.dataclass(frozen=True)
class _Block:
    """A block of places, always drawn whole, whatever is wanted of it.

    ``part`` is what is wanted of it, ``here`` where that goes.
    """

    number: int
    size: int
    part: slice
    here: slice


def blocks(start: int, stop: int, numel: int) -> Iterator[_Block]:
    """The blocks of the places [start, stop)."""
    for number in range(start // BLOCK, -(-stop // BLOCK) if stop > start else 0):
        begin = number * BLOCK
        first, last = max(start, begin), min(stop, begin + BLOCK)
        part, here = slice(first - begin, last - begin), slice(first - start, last - start)
        yield _Block(number, min(BLOCK, numel - begin), part, here)


def mean_and_sd(tensor: WeightTensor) -> tuple[float, float]:
    """Mean and standard deviation of the weights, 0 and 0 of an empty tensor.

    Those of pieces are put together (Chan, Golub & LeVeque 1979).

    Raises
    ------
    NotApplicableError
        If a weight is NaN or infinite, or the variance is too large for double precision.
    """
    numel, mean, squares = 0, 0.0, 0.0
    for piece in _pieces(tensor):
        if not np.isfinite(piece).all():
            raise NotApplicableError("gaussian needs finite weights")
        with np.errstate(over="ignore", invalid="ignore"):
            its = float(piece.mean())
            own = float(np.square(piece - its).sum())
        away, numel = its - mean, numel + piece.size
        mean += away * piece.size / numel
        squares += own + away * away * piece.size * (numel - piece.size) / numel
    if not math.isfinite(squares):
        raise NotApplicableError("gaussian needs weights whose variance is finite")
    return mean, math.sqrt(squares / max(1, numel))


def _pieces(tensor: WeightTensor) -> Iterator[NDArray[np.float64]]:
    for chunk in tensor.chunks():
        for start in range(0, chunk.size, _PIECE):
            with np.errstate(invalid="ignore"):  # signalling NaNs
                yield chunk[start : start + _PIECE].astype(np.float64)
