"""The nulls that are initializations: checkpoints of them, or made from seeds."""

from __future__ import annotations

import dataclasses
import glob
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kolmo.checkpoints.base import CHUNK, Checkpoint, WeightTensor
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError, NotApplicableError
from kolmo.floats import has_sign
from kolmo.nulls.base import Null, Source, Weights
from kolmo.nulls.made import BLOCK, Values, blocks
from kolmo.nulls.reference import Reference
from kolmo.nulls.seeds import Seed

RECIPES = ("kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal", "normal")

_STREAM = 8
_SEEDED = 39  # draws, unless their number is given


@dataclasses.dataclass(frozen=True)
class Inits(Null):
    """An ensemble of initializations: ``inits:GLOB``, or ``inits:RECIPE,N``.

    Its number of draws is its own. The hypothesis of its p-value is that the weights are one more
    of the ensemble: exact where all come from one law.
    """

    name = "inits"
    kept = False

    @classmethod
    def of(cls, spec: str) -> Null:
        """A recipe and how many draws, or the checkpoints that a pattern names, which are opened.

        >>> Inits.of("inits:normal:0.02,20")
        SeededInits(recipe='normal', number=20, deviation=0.02)
        """
        told = spec.partition(":")[2]
        if not told:
            raise InputError(
                f"null 'inits' needs checkpoints or a recipe: inits:GLOB, inits:{RECIPES[0]},20"
            )
        recipe = told.partition(",")[0].partition(":")[0]
        return SeededInits.of_text(told) if recipe in RECIPES else InitFiles.matching(told)


@dataclasses.dataclass(frozen=True)
class InitFiles(Inits):
    """The same tensor in each of several checkpoints, one draw each, in the order of names."""

    source: str
    references: tuple[Reference, ...] = dataclasses.field(repr=False)

    @classmethod
    def matching(cls, pattern: str) -> InitFiles:
        paths = sorted(glob.glob(pattern, recursive=True))
        if len(paths) < 2:
            found = f"only {paths[0]}" if paths else "nothing"
            raise InputError(f"null 'inits': {pattern} names {found}; a spread needs two at least")
        return cls(pattern, tuple(Reference(path, open_source(path)) for path in paths))

    def __str__(self) -> str:
        return f"{self.name}:{self.source}"

    def count(self, draws: int) -> int:
        return len(self.references)

    def draw(self, tensor: WeightTensor, number: int, seed: int) -> Source:
        return self.references[number].draw(tensor, 0, seed)

    def working_memory(self, tensor: WeightTensor) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class SeededInits(Inits):
    """Initializations of the tensor's shape, in its dtype, by a recipe of PyTorch's.

    ``kaiming_uniform`` is the default of Linear and Conv: uniform up to 1 / √fan_in, fan_in the
    product of all sides but the first; a bias is so too, by the fan_in of the weight beside it.
    ``kaiming_normal`` has the deviation √(2 / fan_in), ``xavier_uniform`` the bound and
    ``xavier_normal`` the deviation of Glorot & Bengio 2010, ``normal:SD`` the one that is given
    (`trunc_normal_` of PyTorch cuts at ±2, so that it is the same at small ones).

    Uniform weights of at most 32 bits lie on PyTorch's grid: 24 random bits, then two roundings in
    float32. Vectors, but for such biases, are those of the checkpoint itself, and weigh on neither
    side.
    """

    recipe: str
    number: int = _SEEDED
    deviation: float | None = None
    fans: Mapping[str, int] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_text(cls, told: str) -> SeededInits:
        """From ``recipe[:deviation][,number]``."""
        head, comma, number = told.partition(",")
        recipe, colon, deviation = head.partition(":")
        try:
            made = cls(
                recipe, int(number) if comma else _SEEDED, float(deviation) if colon else None
            )
        except ValueError:
            raise InputError(f"null 'inits:{told}' is not inits:RECIPE,NUMBER") from None
        if (recipe == "normal") != bool(colon) or made.number < 2 or (made.deviation or 1) <= 0:
            raise InputError(
                f"null 'inits:{told}': normal has a deviation (normal:0.02), other recipes have "
                f"none, and a spread needs two draws at least"
            )
        return made

    def __str__(self) -> str:
        deviation = "" if self.deviation is None else f":{self.deviation}"
        return f"{self.name}:{self.recipe}{deviation},{self.number}"

    def count(self, draws: int) -> int:
        return self.number

    def bound(self, checkpoint: Checkpoint) -> Null:
        weights = {name: t.shape for name, t in checkpoint.items() if len(t.shape) > 1}
        fans = {
            name: math.prod(weights[beside][1:])
            for name in checkpoint
            if (beside := name.removesuffix("bias") + "weight") in weights and name != beside
        }
        return dataclasses.replace(self, fans=fans)

    def _draw(self, tensor: WeightTensor, seed: Seed) -> Source:
        if not has_sign(tensor.dtype):
            raise NotApplicableError(f"inits has no {tensor.dtype} weights")
        law = self._law(tensor)
        if law is None:
            return Weights(tensor)
        made = _Made(tensor.numel, tensor.dtype, law, (*seed, _STREAM))
        return Values(dataclasses.replace(tensor, load=made.load, codes=None, place=None), tensor)

    def _law(self, tensor: WeightTensor) -> _Law | None:
        """The law of its weights; None of a vector that no recipe makes."""
        if len(tensor.shape) > 1:
            fan_in = max(1, math.prod(tensor.shape[1:]))
            fan_out = tensor.shape[0] * math.prod(tensor.shape[2:])
            return _Law(self.recipe, fan_in, fan_out, self.deviation)
        fan = self.fans.get(tensor.name)
        return _Law(self.recipe, fan, 0, None) if fan and self.recipe == "kaiming_uniform" else None

    def working_memory(self, tensor: WeightTensor) -> int:
        return min(tensor.numel, CHUNK) * 2 * tensor.dtype.itemsize + 3 * 8 * BLOCK


@dataclasses.dataclass(frozen=True)
class _Law:
    recipe: str
    fan_in: int
    fan_out: int
    deviation: float | None

    def draw(self, random: Generator, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        if self.recipe.endswith("uniform"):
            return uniform(random, size, self._bound, dtype)
        return (random.standard_normal(size) * self._deviation).astype(dtype)

    @property
    def _bound(self) -> float:
        if self.recipe == "kaiming_uniform":
            return 1 / math.sqrt(self.fan_in)
        return math.sqrt(6 / (self.fan_in + self.fan_out))

    @property
    def _deviation(self) -> float:
        if self.recipe == "kaiming_normal":
            return math.sqrt(2 / self.fan_in)
        return self.deviation or math.sqrt(2 / (self.fan_in + self.fan_out))


def uniform(random: Generator, size: int, bound: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Uniform numbers from −bound to bound, with the random bits and roundings of PyTorch.

    >>> found = uniform(np.random.default_rng(0), 1000, 0.5, np.dtype(np.float32))
    >>> found.dtype, bool((found * 2**24 % 1 == 0).all())
    (dtype('float32'), True)
    """
    if dtype == np.float64:
        return random.random(size) * (2 * bound) - bound
    bits = random.integers(0, 1 << 24, size, np.uint32).astype(np.float32)
    low, wide = np.float32(-bound), np.float32(bound) - np.float32(-bound)
    return (bits * np.float32(2.0**-24) * wide + low).astype(dtype)


@dataclasses.dataclass(frozen=True)
class _Made:
    """Independent weights of a law; what is drawn does not depend on who asks for what."""

    numel: int
    dtype: np.dtype[Any]
    law: _Law
    seed: Seed

    def load(self, start: int, stop: int) -> NDArray[Any]:
        weights = np.empty(stop - start, self.dtype)
        for block in blocks(start, stop, self.numel):
            random = np.random.default_rng((*self.seed, block.number))
            weights[block.here] = self.law.draw(random, block.size, self.dtype)[block.part]
        return weights
