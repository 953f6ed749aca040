"""Null models: what a figure is compared with.

``shuffled``   the tensor's own weights at random places: keeps the values, destroys structure
``gaussian``   independent normal weights of the tensor's mean and standard deviation
``uniform``    independent symbols, uniform over the alphabet
``reference``  the tensor of the same name in another checkpoint, such as the initialization

Each draw has a random generator of its own, seeded by the run's seed, the tensor's name, the null
and the number of the draw, so that neither order nor threads matter.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from kolmo import specs
from kolmo.checkpoints.base import CHUNK, Checkpoint, WeightTensor, array_tensor
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import container
from kolmo.quantize import Quantizer

Symbols = NDArray[Any]


class Source(Protocol):
    """Symbols of one tensor, or of one draw of its null, under any quantizer."""

    def symbols(self, quantizer: Quantizer) -> Iterator[Symbols]: ...


@dataclasses.dataclass(frozen=True)
class Weights:
    """Symbols of the weights of a tensor."""

    tensor: WeightTensor

    def symbols(self, quantizer: Quantizer) -> Iterator[Symbols]:
        coder = quantizer.fit(self.tensor)
        for chunk in self.tensor.chunks():
            yield coder.encode(chunk)


@dataclasses.dataclass(frozen=True)
class UniformSymbols:
    """Independent uniform symbols."""

    tensor: WeightTensor
    seed: tuple[int, ...]

    def symbols(self, quantizer: Quantizer) -> Iterator[Symbols]:
        alphabet = quantizer.alphabet(self.tensor.dtype)
        random = np.random.default_rng((*self.seed, zlib.crc32(str(quantizer).encode())))
        for start in range(0, self.tensor.numel, CHUNK):
            size = min(CHUNK, self.tensor.numel - start)
            yield random.integers(alphabet, size=size, dtype=container(alphabet))


@dataclasses.dataclass(frozen=True)
class Null(specs.Spec):
    """Base of the null models.

    Attributes
    ----------
    single : bool
        Whether there is just one draw of it, so that it has no spread.
    """

    single: ClassVar[bool] = False

    def draw(self, tensor: WeightTensor, number: int, seed: int) -> Source:
        """The tensor's null, draw ``number``.

        Raises
        ------
        NotApplicableError
            If the tensor has no such null; the message says why.
        """
        return self._draw(tensor, (seed, zlib.crc32(tensor.name.encode()), number))

    def _draw(self, tensor: WeightTensor, seed: tuple[int, ...]) -> Source:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Shuffled(Null):
    """The same weights at random places (one tensor in memory)."""

    name = "shuffled"

    def _draw(self, tensor: WeightTensor, seed: tuple[int, ...]) -> Source:
        weights = tensor.read().reshape(-1).copy()
        bits = weights.view(f"u{weights.dtype.itemsize}")  # shuffles extended dtypes too
        np.random.default_rng((*seed, 1)).shuffle(bits)
        return Weights(array_tensor(tensor.name, weights.reshape(tensor.shape)))


@dataclasses.dataclass(frozen=True)
class Gaussian(Null):
    """Normal weights with the tensor's mean and standard deviation, in its dtype."""

    name = "gaussian"

    def _draw(self, tensor: WeightTensor, seed: tuple[int, ...]) -> Source:
        if tensor.dtype.kind in "iub":
            raise NotApplicableError(f"gaussian has no {tensor.dtype} weights")
        weights = tensor.read().astype(np.float64)
        if not np.isfinite(weights).all():
            raise NotApplicableError("gaussian needs finite weights")
        mean, sd = (weights.mean(), weights.std()) if weights.size else (0.0, 0.0)
        drawn = np.random.default_rng((*seed, 2)).normal(mean, sd, tensor.shape)
        return Weights(array_tensor(tensor.name, drawn.astype(tensor.dtype)))


@dataclasses.dataclass(frozen=True)
class Uniform(Null):
    """Independent symbols, uniform over the alphabet of each quantizer."""

    name = "uniform"

    def _draw(self, tensor: WeightTensor, seed: tuple[int, ...]) -> Source:
        return UniformSymbols(tensor, (*seed, 3))


@dataclasses.dataclass(frozen=True)
class Reference(Null):
    """The same tensor in another checkpoint; its spec is ``reference:PATH``."""

    source: str
    checkpoint: Checkpoint | None = dataclasses.field(default=None, repr=False, compare=False)
    name = "reference"
    value_field = "source"
    single = True

    def __str__(self) -> str:
        return f"reference:{self.source}"

    def _draw(self, tensor: WeightTensor, seed: tuple[int, ...]) -> Source:
        assert self.checkpoint is not None
        other = self.checkpoint.get(tensor.name)
        if other is None:
            raise NotApplicableError(f"{self.source} has no tensor {tensor.name!r}")
        if (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            raise NotApplicableError(
                f"{self.source} holds {tensor.name!r} as {other.dtype} {list(other.shape)}"
            )
        return Weights(other)


_NULLS: dict[str, type[Null]] = {cls.name: cls for cls in (Shuffled, Gaussian, Uniform, Reference)}


def get_null(spec: str | Null) -> Null:
    """The null model that a spec names; a reference is opened here.

    >>> get_null("shuffled")
    Shuffled()
    """
    if isinstance(spec, Null):
        return spec
    name, colon, value = spec.partition(":")  # a path may hold commas and at signs
    if name not in _NULLS:
        raise specs.unknown("null", name, _NULLS)
    if name != "reference":
        made = specs.build(_NULLS[name], spec, value if colon else None, {})
        assert isinstance(made, Null)
        return made
    if not value:
        raise InputError("null 'reference' needs a checkpoint: reference:PATH")
    from kolmo.checkpoints import open_checkpoint

    return Reference(value, open_checkpoint(value))
