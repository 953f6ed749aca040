"""Quantizers and fitted quantizers: their interfaces, and how a spec names one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kolmo import specs
from kolmo.checkpoints.base import WeightTensor
from kolmo.dtypes import bits_of
from kolmo.errors import InputError, NotExpressibleError
from kolmo.quantize.encoding import by_table, finite_range, has_nan
from kolmo.registry import Registry
from kolmo.symbols import Alphabet, Shape, Symbols

Weights = NDArray[Any]
FittedTo = Literal["nothing", "values", "weights"]

_HUGE = float(np.finfo(np.float64).max) / 2
_PIECE = 1 << 20  # weights that are looked at together: few enough to stay in a core's cache
_SAMPLED = 1 << 20  # weights in the sample for quantiles and codebooks of a large tensor


@dataclasses.dataclass(frozen=True, eq=False)
class SymbolCoder:
    """A quantizer fitted to one tensor.

    Attributes
    ----------
    alphabet : Alphabet
        The alphabet of its symbols.
    elementwise : bool
        Class attribute: whether a weight's symbol depends on that weight alone, so that the counts
        of the weights tell those of the symbols.
    lossless : bool
        Class attribute: whether symbols stand for the very weights.
    restores : bool
        Class attribute: whether they stand for weights of the tensor's scale, so that an error
        means something; those of signs do not.
    """

    alphabet: Alphabet
    elementwise: ClassVar[bool] = False
    lossless: ClassVar[bool] = False
    restores: ClassVar[bool] = True

    def encode(self, weights: Weights) -> Symbols:
        """The symbols of weights of the tensor: same shape, smallest unsigned dtype."""
        raise NotImplementedError

    def decode(self, symbols: Symbols) -> Weights:
        """The weights that the symbols stand for."""
        raise NotImplementedError

    def parameters(self) -> list[float]:
        """The fitted numbers, from which `Quantizer.restore` makes an equal coder."""
        return []

    def encode_at(self, weights: Weights, start: int) -> Symbols:
        """The symbols of weights that lie together in the flat tensor, from a place on."""
        return self.encode(weights)

    def decode_at(self, symbols: Symbols, start: int) -> Weights:
        """The weights that such symbols stand for."""
        return self.decode(symbols)

    def fits(self, shape: Shape) -> bool:
        """Whether it can be the coder of a tensor of this shape."""
        return True

    def load(self, tensor: WeightTensor, start: int, stop: int) -> Symbols:
        """The symbols of the weights [start, stop) of the tensor, flat."""
        return self.encode_at(tensor.load(start, stop), start)

    def symbols(self, tensor: WeightTensor) -> Iterator[Symbols]:
        """The symbols of the whole tensor, chunk by chunk: flat, in row-major order."""
        start = 0
        for chunk in tensor.chunks():
            yield self.encode_at(chunk, start)
            start += chunk.size

    def side_bits(self, dtype: np.dtype[Any]) -> int:
        """Bits of a code of the parameters, for weights of a dtype.

        Each parameter is written in the tensor's own dtype if that holds all of them exactly, else
        in 64 bits; one bit says which. Their number is fixed by the quantizer.
        """
        parameters = self.parameters()
        return 1 + len(parameters) * parameter_width(parameters, dtype) if parameters else 0


@dataclasses.dataclass(frozen=True, eq=False)
class ElementwiseCoder(SymbolCoder):
    """A coder whose symbols depend on single weights: a table serves those of few bits."""

    elementwise = True

    def encode(self, weights: Weights) -> Symbols:
        found = by_table(self, weights)
        return self.encode_plainly(weights) if found is None else found

    def encode_plainly(self, weights: Weights) -> Symbols:
        """The symbols of weights, without a table."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Quantizer(specs.Spec):
    """Base of all quantizers.

    Class attributes: ``summary``, one line for the list of quantizers; ``nearest``, whether a
    weight's symbol stands for the nearest of all levels, so that the error is at most half their
    distance; ``order_free`` and ``fitted_to``, below.
    """

    summary: ClassVar[str] = ""
    nearest: ClassVar[bool] = False

    @property
    def order_free(self) -> bool:
        """Whether a weight's symbol, and every parameter, are the same wherever the weights lie.

        It is False of what is fitted to a sample by places, as quantiles and codebooks of a tensor
        of more than a million weights are, whatever the tensor.
        """
        return False

    @property
    def fitted_to(self) -> FittedTo:
        """What `fit` looks at: nothing but the tensor's form; which values occur; or the weights,
        that is also how often and where they do."""
        return "weights"

    def alphabet(self, dtype: np.dtype[Any]) -> Alphabet:
        """The alphabet for weights of this dtype; it does not depend on their values."""
        raise NotImplementedError

    def alphabet_of(self, tensor: WeightTensor) -> Alphabet:
        """The alphabet for a tensor, which of a quantized one may be that of its codes."""
        return self.alphabet(tensor.dtype)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        """Fit scale, range or codebook to a tensor.

        Raises
        ------
        NotExpressibleError
            If the tensor holds values that this quantizer cannot express (NaN, infinities).
        """
        raise NotImplementedError

    def restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        """The coder with these parameters, for weights of a dtype.

        Raises
        ------
        InputError
            If there are too few or too many parameters, or one is not finite.
        """
        if not all(map(math.isfinite, parameters)):
            raise InputError(f"{self}: a parameter is not a finite number")
        try:
            return self._restore(dtype, parameters)
        except ValueError:
            raise InputError(f"{self}: {len(parameters)} parameters are too many or few") from None

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        raise NotImplementedError


QUANTIZERS: Registry[type[Quantizer]] = Registry("quantizer", "kolmo.quantizers")
"""All quantizers; other packages add theirs by entry points ``kolmo.quantizers``."""


def register(cls: type[Quantizer]) -> type[Quantizer]:
    """Class decorator: register a quantizer under its ``name``, which must be unique.

    Raises
    ------
    InputError
        If another class has the name.
    """
    return QUANTIZERS.register(cls)


def quantizer_names() -> list[str]:
    """The names that ``get_quantizer`` knows, plugins too."""
    return QUANTIZERS.names()


def quantizer_class(name: str) -> type[Quantizer]:
    """The quantizer class registered under a name."""
    return QUANTIZERS.get(name)


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


# --- what quantizers share -----------------------------------------------------------------


def side_bits(coder: SymbolCoder, tensor: WeightTensor) -> int:
    """Bits of the parameters of a quantizer that was fitted to a tensor; 0 for an empty tensor."""
    return coder.side_bits(tensor.dtype) if tensor.numel else 0


def parameter_width(parameters: Sequence[float], dtype: np.dtype[Any]) -> int:
    """Bits of each parameter: the dtype's if it holds all of them exactly, else 64.

    >>> parameter_width([0.5], np.dtype("float16")), parameter_width([0.1], np.dtype("float16"))
    (16, 64)
    """
    wide = np.array(parameters, np.float64)
    with np.errstate(all="ignore"):
        exact = np.array_equal(wide.astype(dtype).astype(np.float64), wide)
    return bits_of(dtype) if exact else 64


def value_range(tensor: WeightTensor, quantizer: Quantizer) -> tuple[float, float]:
    """Least and greatest weight; (0, 0) for an empty tensor.

    Raises
    ------
    NotExpressibleError
        If a weight is NaN, infinite, or over half the largest float64.
    """
    low, high = math.inf, -math.inf
    for chunk in tensor.chunks(_PIECE, reuse=True):
        extremes = finite_range(chunk)
        if extremes is None:
            what = "NaN" if has_nan(chunk) else "an infinity"
            raise not_expressible(tensor.name, what, str(quantizer))
        low, high = min(low, extremes[0]), max(high, extremes[1])
    if low > high:
        return 0.0, 0.0
    if max(-low, high) > _HUGE:  # a range, or the sum of two values, would be infinite
        raise not_expressible(tensor.name, f"a magnitude over {_HUGE:.3g}", str(quantizer))
    return low, high


def sample(tensor: WeightTensor) -> NDArray[np.float64]:
    """All weights, or a million evenly spaced ones."""
    stride = math.ceil(tensor.numel / _SAMPLED)
    taken, offset = [], 0
    for chunk in tensor.chunks():
        taken.append(chunk[-offset % stride :: stride].astype(np.float64))
        offset += chunk.size
    return np.concatenate(taken) if taken else np.empty(0)


def not_expressible(tensor: str, what: str, quantizer: str) -> NotExpressibleError:
    return NotExpressibleError(
        f"tensor {tensor!r} holds {what}, which {quantizer} cannot express; "
        f"use native, or leave it out (exclude)"
    )


def check_bits(quantizer: Quantizer, bits: int, least: int) -> None:
    if not least <= bits <= 16:
        raise InputError(f"{quantizer.name}: bits a weight are {least} to 16, not {bits}")
