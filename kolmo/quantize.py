"""Quantizers: weights → symbols, integers in [0, alphabet).

::

    Quantizer ── fit(tensor) ──► SymbolCoder ── encode(weights) ──► symbols ── decode ──► weights

A quantizer is a configuration; fitting it to a tensor fixes what depends on the tensor (a scale,
a range, a codebook). All arithmetic is float64 and rounding is half to even, so that the same
weights give the same symbols everywhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kolmo import specs
from kolmo.checkpoints.base import WeightTensor
from kolmo.errors import InputError, NotExpressibleError
from kolmo.estimators.base import container, symbol_bits

Weights = NDArray[Any]
Symbols = NDArray[Any]

_FIT_SAMPLE = (
    1 << 20
)  # weights that the quantiles and the codebook of a large tensor are taken from


@dataclasses.dataclass(frozen=True, eq=False)
class SymbolCoder:
    """A quantizer fitted to one tensor.

    Attributes
    ----------
    alphabet : int
        Symbols are in [0, alphabet).
    stored_bits : int
        Raw bits a symbol: the dtype's width under ``native``, else ceil(log2 alphabet).
    """

    alphabet: int

    @property
    def stored_bits(self) -> int:
        return symbol_bits(self.alphabet)

    def encode(self, weights: Weights) -> Symbols:
        """Symbols of some of the tensor's weights, same shape, smallest unsigned dtype."""
        raise NotImplementedError

    def decode(self, symbols: Symbols) -> Weights:
        """The weights that the symbols stand for."""
        raise NotImplementedError

    def parameters(self) -> list[float]:
        """What was fitted to the tensor: with it `Quantizer.restore` makes an equal coder."""
        return []


@dataclasses.dataclass(frozen=True)
class Quantizer(specs.Spec):
    """Base of all quantizers."""

    summary: ClassVar[str] = ""

    def alphabet(self, dtype: np.dtype[Any]) -> int:
        """Number of symbols for weights of this dtype; it does not depend on their values."""
        raise NotImplementedError

    def format(self, dtype: np.dtype[Any]) -> str:
        """The floating-point format whose bit patterns the symbols are; empty if they are not."""
        return ""

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        """Fix scale, range or codebook to a tensor.

        Raises
        ------
        NotExpressibleError
            If the tensor holds values that this quantizer cannot express (NaN, infinities).
        """
        raise NotImplementedError

    def restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        """The coder whose parameters these are, for weights of a dtype.

        Raises
        ------
        InputError
            If there are too few or too many of them, or one is not finite.
        """
        if not all(map(math.isfinite, parameters)):
            raise InputError(f"{self}: a parameter is not a finite number")
        try:
            return self._restore(dtype, parameters)
        except ValueError:
            raise InputError(f"{self}: {len(parameters)} parameters are too many or few") from None

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        raise NotImplementedError


_QUANTIZERS: dict[str, type[Quantizer]] = {}


def _register(cls: type[Quantizer]) -> type[Quantizer]:
    _QUANTIZERS[cls.name] = cls
    return cls


def quantizer_names() -> list[str]:
    """The names that ``get_quantizer`` knows."""
    return sorted(_QUANTIZERS)


def quantizer_class(name: str) -> type[Quantizer]:
    """The class behind a name."""
    if name not in _QUANTIZERS:
        raise specs.unknown("quantizer", name, _QUANTIZERS)
    return _QUANTIZERS[name]


def get_quantizer(spec: str | Quantizer) -> Quantizer:
    """The quantizer that a spec names.

    >>> get_quantizer("affine:8,clip=99.9")
    Affine(bits=8, clip=99.9)
    >>> str(get_quantizer("symmetric:4"))
    'symmetric:4'
    """
    if isinstance(spec, Quantizer):
        return spec
    name, value, options = specs.parse(spec)
    made = specs.build(quantizer_class(name), spec, value, options)
    assert isinstance(made, Quantizer)
    return made


# --- native ---------------------------------------------------------------------------------


@_register
@dataclasses.dataclass(frozen=True)
class Native(Quantizer):
    """The stored bit patterns themselves, as unsigned integers of the dtype's width.

    Expresses every value of every dtype, NaN payloads and negative zeros too.

    >>> from kolmo.checkpoints import array_tensor
    >>> Native().fit(array_tensor("w", np.float32([1, -0.0]))).encode(np.float32([1, -0.0]))
    array([1065353216, 2147483648], dtype=uint32)
    """

    name = "native"
    summary = "the stored bit patterns, lossless"

    def alphabet(self, dtype: np.dtype[Any]) -> int:
        return int(2 ** (8 * dtype.itemsize))

    def format(self, dtype: np.dtype[Any]) -> str:
        return dtype.name if _is_float(dtype) else ""

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        return self._restore(tensor.dtype, ())

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        () = parameters
        return _NativeCoder(self.alphabet(dtype), dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class _NativeCoder(SymbolCoder):
    dtype: np.dtype[Any]

    def encode(self, weights: Weights) -> Symbols:
        return np.ascontiguousarray(weights).view(f"u{self.dtype.itemsize}").reshape(weights.shape)

    def decode(self, symbols: Symbols) -> Weights:
        return np.ascontiguousarray(symbols).view(self.dtype).reshape(symbols.shape)


# --- sign -----------------------------------------------------------------------------------


@_register
@dataclasses.dataclass(frozen=True)
class Sign(Quantizer):
    """1 where w > 0, else 0; an exact zero is 0 (Bakhtiarifard et al., arXiv 2602.14896).

    Decodes to ±1.
    """

    name = "sign"
    summary = "one bit: w > 0"

    def alphabet(self, dtype: np.dtype[Any]) -> int:
        return 2

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        return _SignCoder(2, tensor.name)

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        () = parameters
        return _SignCoder(2, "")


@dataclasses.dataclass(frozen=True, eq=False)
class _SignCoder(SymbolCoder):
    tensor: str

    def encode(self, weights: Weights) -> Symbols:
        if np.isnan(weights).any() if _is_float(weights.dtype) else False:
            raise _not_expressible(self.tensor, "NaN", "sign")
        return (weights > 0).view(np.uint8)

    def decode(self, symbols: Symbols) -> Weights:
        return np.where(symbols > 0, np.float32(1), np.float32(-1))


# --- uniform grids --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class _GridCoder(SymbolCoder):
    """symbol = clamp(round((w − low) / step), 0, alphabet − 1)."""

    low: float
    high: float

    @property
    def step(self) -> float:
        return (self.high - self.low) / (self.alphabet - 1)

    def encode(self, weights: Weights) -> Symbols:
        if self.step == 0:  # a constant tensor has one level
            return np.zeros(weights.shape, container(self.alphabet))
        scaled = weights.astype(np.float64)
        scaled -= self.low
        scaled /= self.step
        np.rint(scaled, out=scaled)
        np.clip(scaled, 0, self.alphabet - 1, out=scaled)
        return scaled.astype(container(self.alphabet))

    def decode(self, symbols: Symbols) -> Weights:
        return symbols * self.step + self.low

    def parameters(self) -> list[float]:
        return [self.low, self.high]


@dataclasses.dataclass(frozen=True, eq=False)
class _SymmetricCoder(SymbolCoder):
    """symbol = round(w / scale) + half, half = 2^(B−1) − 1, alphabet 2 half + 1."""

    largest: float

    @property
    def scale(self) -> float:
        return self.largest / (self.alphabet // 2)

    def encode(self, weights: Weights) -> Symbols:
        half = self.alphabet // 2
        if self.scale == 0:
            return np.full(weights.shape, half, container(self.alphabet))
        scaled = weights.astype(np.float64)
        scaled /= self.scale
        np.rint(scaled, out=scaled)
        scaled += half
        return scaled.astype(container(self.alphabet))

    def decode(self, symbols: Symbols) -> Weights:
        return (symbols.astype(np.float64) - self.alphabet // 2) * self.scale

    def parameters(self) -> list[float]:
        return [self.largest]


@_register
@dataclasses.dataclass(frozen=True)
class Symmetric(Quantizer):
    """Uniform levels around zero: scale = absmax / (2^(B−1) − 1), symbol = round(w / scale).

    Symbols are shifted by 2^(B−1) − 1 so that they start at 0; the alphabet has 2^B − 1 symbols.
    The quantizer of quantization-aware training in Bakhtiarifard et al., arXiv 2602.14896.

    >>> from kolmo.checkpoints import array_tensor
    >>> w = np.float32([-1, -0.4, 0, 0.6, 1])
    >>> Symmetric(3).fit(array_tensor("w", w)).encode(w)
    array([0, 2, 3, 5, 6], dtype=uint8)
    """

    bits: int
    name = "symmetric"
    value_field = "bits"
    summary = "uniform levels around zero, scale from the largest magnitude"

    def __post_init__(self) -> None:
        _check_bits(self, self.bits, 2)

    def alphabet(self, dtype: np.dtype[Any]) -> int:
        return (1 << self.bits) - 1

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        low, high = _range(tensor, str(self))
        return _SymmetricCoder(self.alphabet(tensor.dtype), max(abs(low), abs(high)))

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        (largest,) = parameters
        return _SymmetricCoder(self.alphabet(dtype), largest)


@_register
@dataclasses.dataclass(frozen=True)
class Affine(Quantizer):
    """Uniform levels from the least to the greatest weight (QuBD, arXiv 2605.15551).

    Δ = (max − min) / (2^B − 1), symbol = clamp(round((w − min) / Δ), 0, 2^B − 1). With
    ``clip=99.9``, min and max are the symmetric quantiles that hold 99.9 % of the weights
    (of an evenly spaced sample of a million where a tensor has more).

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

    def __post_init__(self) -> None:
        _check_bits(self, self.bits, 1)
        if not 0 < self.clip <= 100:
            raise InputError(f"affine: clip is a percentage in (0, 100], not {self.clip}")

    def alphabet(self, dtype: np.dtype[Any]) -> int:
        return 1 << self.bits

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        low, high = _range(tensor, str(self))
        if self.clip < 100 and tensor.numel:
            tail = (1 - self.clip / 100) / 2
            low, high = (float(q) for q in np.quantile(_sample(tensor), [tail, 1 - tail]))
        return _GridCoder(self.alphabet(tensor.dtype), low, high)

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        low, high = parameters
        return _GridCoder(self.alphabet(dtype), low, high)


# --- codebook -------------------------------------------------------------------------------


@_register
@dataclasses.dataclass(frozen=True)
class Codebook(Quantizer):
    """K values: the tensor's own where it has at most K distinct ones, else 1-D k-means.

    K-means starts at evenly spaced quantiles and runs Lloyd's iteration to its fixed point (at
    most 100 rounds), on an evenly spaced sample of a million weights where a tensor has more.

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

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 65536:
            raise InputError(f"codebook: the size is 1 to 65536, not {self.size}")

    def alphabet(self, dtype: np.dtype[Any]) -> int:
        return self.size

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        _range(tensor, str(self))
        values = _distinct(tensor, self.size)
        if values is None:
            values = _kmeans(np.sort(_sample(tensor)), self.size)
        return _CodebookCoder(self.size, values)

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        if len(parameters) > self.size:
            raise ValueError
        return _CodebookCoder(self.size, np.array(parameters, np.float64))


@dataclasses.dataclass(frozen=True, eq=False)
class _CodebookCoder(SymbolCoder):
    values: NDArray[np.float64]

    def encode(self, weights: Weights) -> Symbols:
        borders = (self.values[1:] + self.values[:-1]) / 2
        nearest = np.searchsorted(borders, weights.astype(np.float64))
        return nearest.astype(container(self.alphabet))

    def decode(self, symbols: Symbols) -> Weights:
        return self.values[symbols]

    def parameters(self) -> list[float]:
        values: list[float] = self.values.tolist()
        return values


def _distinct(tensor: WeightTensor, most: int) -> NDArray[np.float64] | None:
    values = np.empty(0)
    for chunk in tensor.chunks(1 << 18):
        values = np.union1d(values, chunk.astype(np.float64))
        if values.size > most:
            return None
    return values


def _kmeans(ordered: NDArray[np.float64], size: int) -> NDArray[np.float64]:
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
    return np.unique(centres)


# --- shared ---------------------------------------------------------------------------------


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.kind == "V"  # ml_dtypes report kind V


def _range(tensor: WeightTensor, quantizer: str) -> tuple[float, float]:
    """Least and greatest weight; (0, 0) for an empty tensor."""
    extremes = [(float(c.min()), float(c.max())) for c in _finite(tensor, quantizer)]
    if not extremes:
        return 0.0, 0.0
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def _finite(tensor: WeightTensor, quantizer: str) -> Iterator[Weights]:
    for chunk in tensor.chunks():
        if _is_float(chunk.dtype) and not np.isfinite(chunk).all():
            what = "NaN" if np.isnan(chunk).any() else "an infinity"
            raise _not_expressible(tensor.name, what, quantizer)
        yield chunk


def _sample(tensor: WeightTensor) -> NDArray[np.float64]:
    """All weights, or a million evenly spaced ones."""
    stride = math.ceil(tensor.numel / _FIT_SAMPLE)
    taken, offset = [], 0
    for chunk in tensor.chunks():
        taken.append(chunk[-offset % stride :: stride].astype(np.float64))
        offset += chunk.size
    return np.concatenate(taken) if taken else np.empty(0)


def _not_expressible(tensor: str, what: str, quantizer: str) -> NotExpressibleError:
    return NotExpressibleError(
        f"tensor {tensor!r} holds {what}, which {quantizer} cannot express; "
        f"use native, or leave it out with --exclude"
    )


def _check_bits(quantizer: Quantizer, bits: int, least: int) -> None:
    if not least <= bits <= 16:
        raise InputError(f"{quantizer.name}: bits a weight are {least} to 16, not {bits}")


__all__ = [
    "Affine",
    "Codebook",
    "Native",
    "Quantizer",
    "Sign",
    "SymbolCoder",
    "Symmetric",
    "get_quantizer",
    "quantizer_names",
]
