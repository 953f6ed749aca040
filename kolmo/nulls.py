"""Null models: weights without structure, with which a figure is compared.

``shuffled``         the tensor's own weights at random places: keeps the values, destroys structure
``row-shuffled``     each row's own weights at random places in it: keeps what every row holds
``column-shuffled``  the same with columns
``gaussian``         independent normal weights of the tensor's mean and standard deviation
``uniform``          independent symbols, uniform over the alphabet
``reference``        the tensor of the same name in another checkpoint, such as the initialization

Which one? What a code gains beyond ``shuffled`` is due to places; what it still gains beyond
``row-shuffled`` (``column-shuffled``) is not due to rows (columns) of different scale or mean.

What a p-value is worth: it is exact where the weights, under the hypothesis, are exchangeable with
the draws. Of a shuffle the hypothesis is that all orders of the weights (of each row's, of each
column's) are alike, whatever their values are; of ``uniform``, that symbols are independent and
uniform. Of ``gaussian`` it is only approximate: mean and deviation are fitted to the weights, which
are therefore nearer to them than a draw is. A ``reference`` is a single draw and has none.

Each draw has a random generator of its own, seeded by the run's seed, the tensor's name, the null
and the number of the draw, so that neither order nor threads matter. A draw holds one tensor, and
a copy of it, in memory.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
import zlib
from collections.abc import Iterator
from typing import ClassVar, Protocol

import numpy as np
from numpy.random import Generator

from kolmo import specs
from kolmo.checkpoints.base import (
    CHUNK,
    Checkpoint,
    WeightTensor,
    array_shape,
    array_tensor,
)
from kolmo.checkpoints.opening import open_source
from kolmo.checkpoints.tensor_names import normalized
from kolmo.errors import InputError, NotApplicableError
from kolmo.quantize import Quantizer, side_bits
from kolmo.registry import Registry
from kolmo.symbols import Shape, Symbols

_NAME = re.compile("[:,@]")  # what ends the name in a spec


@dataclasses.dataclass(frozen=True)
class Coded:
    """A tensor's symbols under one quantizer, chunk by chunk.

    ``side_bits`` are those of the quantizer's parameters; None of symbols that no weights are
    behind, to which the parameters of the tensor itself apply.
    """

    side_bits: int | None
    chunks: Iterator[Symbols]


class Source(Protocol):
    """One tensor, or one draw of its null, under any quantizer."""

    def coded(self, quantizer: Quantizer) -> Coded: ...


@dataclasses.dataclass(frozen=True)
class Weights:
    """Symbols of the weights of a tensor."""

    tensor: WeightTensor

    def coded(self, quantizer: Quantizer) -> Coded:
        coder = quantizer.fit(self.tensor)
        return Coded(side_bits(coder, self.tensor), coder.symbols(self.tensor))


@dataclasses.dataclass(frozen=True)
class Values(Weights):
    """Symbols of weights that were made, and have no codes, in place of those of a tensor."""

    original: WeightTensor

    def coded(self, quantizer: Quantizer) -> Coded:
        if quantizer.alphabet_of(self.original) != quantizer.alphabet_of(self.tensor):
            raise NotApplicableError(f"{quantizer} reads codes, which drawn weights do not have")
        return super().coded(quantizer)


@dataclasses.dataclass(frozen=True)
class UniformSymbols:
    """Independent uniform symbols."""

    tensor: WeightTensor
    seed: tuple[int, ...]

    def coded(self, quantizer: Quantizer) -> Coded:
        return Coded(None, self._chunks(quantizer))

    def _chunks(self, quantizer: Quantizer) -> Iterator[Symbols]:
        alphabet = quantizer.alphabet_of(self.tensor)
        random = np.random.default_rng((*self.seed, zlib.crc32(str(quantizer).encode())))
        for start in range(0, self.tensor.numel, CHUNK):
            size = min(CHUNK, self.tensor.numel - start)
            yield random.integers(alphabet.size, size=size, dtype=alphabet.container)


@dataclasses.dataclass(frozen=True)
class Null(specs.Spec):
    """Base of the null models.

    Attributes
    ----------
    single : bool
        Whether there is just one draw of it, so that it has no spread.
    permutes : bool
        Whether it only moves the weights.
    fitted : bool
        Whether its parameters are fitted to the weights, so that p-values are approximate.
    """

    single: ClassVar[bool] = False
    permutes: ClassVar[bool] = False
    fitted: ClassVar[bool] = False

    @classmethod
    def of(cls, spec: str) -> Null:
        """The null that a spec of this name means."""
        _, value, options = specs.parse(spec)
        made = specs.build(cls, spec, value, options)
        assert isinstance(made, Null)
        return made

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


class Permuted(Null):
    """Base of the nulls that move the weights of a tensor and change none of them."""

    permutes = True
    stream: ClassVar[int]  # a number of its own, so that no two nulls share random numbers

    def _draw(self, tensor: WeightTensor, seed: tuple[int, ...]) -> Source:
        weights = tensor.read().reshape(-1).copy()
        bits = weights.view(f"u{weights.dtype.itemsize}")  # moves extended dtypes too
        self.permute(bits, tensor.shape, np.random.default_rng((*seed, self.stream)))
        moved = array_tensor(tensor.name, weights.reshape(array_shape(tensor.shape)))
        if tensor.codes is None:
            return Weights(moved)
        codes = tensor.codes.load(0, tensor.numel).copy()  # which move as their weights do
        self.permute(codes, tensor.shape, np.random.default_rng((*seed, self.stream)))
        of_codes = dataclasses.replace(tensor.codes, load=lambda start, stop: codes[start:stop])
        return Weights(dataclasses.replace(moved, codes=of_codes))

    def permute(self, bits: Symbols, shape: Shape, random: Generator) -> None:
        """Move flat weights in place."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Shuffled(Permuted):
    """The same weights at random places, all orders equally likely.

    It keeps every value and its count, and destroys everything about places.
    """

    name = "shuffled"
    stream = 1

    def permute(self, bits: Symbols, shape: Shape, random: Generator) -> None:
        random.shuffle(bits)


@dataclasses.dataclass(frozen=True)
class RowShuffled(Permuted):
    """The weights of each row at random places within it, each row on its own.

    A row is a slice of the first dimension (all weights of an output unit), flattened. Kept: the
    values of every row, so its mean, scale and sparsity. Gone: order within rows, hence columns.
    A tensor of fewer than two dimensions is one row, and is shuffled whole.
    """

    name = "row-shuffled"
    stream = 4

    def permute(self, bits: Symbols, shape: Shape, random: Generator) -> None:
        _shuffle_along(bits, shape, 1, random)


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

    def permute(self, bits: Symbols, shape: Shape, random: Generator) -> None:
        _shuffle_along(bits, shape, 0, random)


def _shuffle_along(bits: Symbols, shape: Shape, axis: int, random: Generator) -> None:
    if len(shape) < 2:
        random.shuffle(bits)
    elif bits.size:
        matrix = bits.reshape(shape[0], -1)
        random.permuted(matrix, axis=axis, out=matrix)


@dataclasses.dataclass(frozen=True)
class NormalWeights(Null):
    """Normal weights with the tensor's mean and standard deviation, in its dtype.

    Both are fitted to the tensor, so that p-values are approximate.
    """

    name = "gaussian"
    fitted = True

    def _draw(self, tensor: WeightTensor, seed: tuple[int, ...]) -> Source:
        if tensor.dtype.kind in "iub":
            raise NotApplicableError(f"gaussian has no {tensor.dtype} weights")
        weights = tensor.read().astype(np.float64)
        if not np.isfinite(weights).all():
            raise NotApplicableError("gaussian needs finite weights")
        mean, sd = (weights.mean(), weights.std()) if weights.size else (0.0, 0.0)
        drawn = np.random.default_rng((*seed, 2)).normal(mean, sd, array_shape(tensor.shape))
        return Values(array_tensor(tensor.name, drawn.astype(tensor.dtype)), tensor)


@dataclasses.dataclass(frozen=True)
class Uniform(Null):
    """Independent symbols, uniform over the alphabet of each quantizer.

    P-values are exact for symbols that are so. Those of ``symmetric`` never are altogether: the
    largest weight sets the scale, and an end of the range always occurs.
    """

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

    @classmethod
    def of(cls, spec: str) -> Null:
        """Opens the checkpoint, whose path may hold commas and at signs."""
        path = spec.partition(":")[2]
        if not path:
            raise InputError("null 'reference' needs a checkpoint: reference:PATH")
        return cls(path, open_source(path))

    def __str__(self) -> str:
        return f"reference:{self.source}"

    def _draw(self, tensor: WeightTensor, seed: tuple[int, ...]) -> Source:
        other = self._partner(tensor.name)
        if other is None:
            raise NotApplicableError(f"{self.source} has no tensor {tensor.name!r}")
        if (other.shape, other.form) != (tensor.shape, tensor.form):
            raise NotApplicableError(
                f"{self.source} holds {tensor.name!r} as {other.form} {list(other.shape)}"
            )
        return Weights(other)

    def _partner(self, name: str) -> WeightTensor | None:
        """The tensor of this name, or the one that has it without what wrappers put before it."""
        assert self.checkpoint is not None
        own = name if name in self.checkpoint else self._plain.get(normalized(name), "")
        return self.checkpoint.get(own)

    @functools.cached_property
    def _plain(self) -> dict[str, str]:
        """The tensors' names by the normalized ones, where no two have one."""
        names = list(self.checkpoint or ())
        counts = collections.Counter(map(normalized, names))
        return {normalized(name): name for name in names if counts[normalized(name)] == 1}


NULLS: Registry[type[Null]] = Registry("null", "kolmo.nulls")
"""All nulls; other packages add theirs by entry points ``kolmo.nulls``."""

_OWN = (Shuffled, RowShuffled, ColumnShuffled, NormalWeights, Uniform, Reference)
for _null in _OWN:
    NULLS.register(_null)

PERMUTATIONS = tuple(null.name for null in _OWN if null.permutes)
"""Names of the nulls of this module that only move the weights; verdicts are about these."""

FITTED = tuple(null.name for null in _OWN if null.fitted)
"""Names of those whose p-values are approximate."""


def get_null(spec: str | Null) -> Null:
    """The null model that a spec names; a reference is opened here.

    Raises
    ------
    InputError
        For an unknown name (the close ones are listed), or what does not fit.

    >>> get_null("shuffled")
    Shuffled()
    """
    return spec if isinstance(spec, Null) else NULLS.get(_NAME.split(spec)[0]).of(spec)
