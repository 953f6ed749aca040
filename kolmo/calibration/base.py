"""The interface of objects of known complexity."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
Shape = tuple[int, int]


def bit_entropy(p: float) -> float:
    """h(p) = −p log2 p − (1 − p) log2 (1 − p), in bits.

    >>> bit_entropy(0.5), abs(bit_entropy(1.0))
    (1.0, 0.0)
    """
    return sum(-q * math.log2(q) for q in (p, 1 - p) if q > 0)


@dataclasses.dataclass(frozen=True)
class KnownObject:
    """Base of the objects, which are drawn from a grade, a shape and a seed.

    Attributes
    ----------
    grade : float
        The family's parameter, which the known value follows.
    shape : (int, int)
        Rows and columns.
    seed : int
        Seed of the draw; the same fields give the same weights everywhere.

    Class attributes: ``grades``, from simple to complex; ``typical``, the grade for measuring
    power; ``quantizer``, which loses no symbol; ``null``, which destroys only the structure of the
    family; ``exact``, whether the known value is an entropy or a description's length.
    """

    grade: float
    shape: Shape = (64, 64)
    seed: int = 0

    family: ClassVar[str]
    about: ClassVar[str]
    grades: ClassVar[tuple[float, ...]]
    typical: ClassVar[float]
    quantizer: ClassVar[str]
    null: ClassVar[str]
    exact: ClassVar[bool]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def known_bits(self) -> float:
        """The known value of the symbols under ``quantizer``, in bits."""
        raise NotImplementedError

    @property
    def known_sign_bits(self) -> float:
        """The known value of the signs alone (w > 0); a description of the weights serves too."""
        return self.known_bits

    def weights(self) -> Weights:
        """The object, float32 of this shape."""
        drawn = self._draw(np.random.default_rng((self.seed, *self.family.encode())))
        return np.ascontiguousarray(drawn, np.float32).reshape(self.shape)

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Independent(KnownObject):
    """Base of the objects of independent symbols; known is n H of their law, exact."""

    null = "uniform"
    exact = True

    @property
    def probabilities(self) -> list[float]:
        """Probabilities of the symbols, from the lowest; those of the upper half are positive."""
        raise NotImplementedError

    @property
    def known_bits(self) -> float:
        return self.numel * -math.fsum(p * math.log2(p) for p in self.probabilities if p > 0)

    @property
    def known_sign_bits(self) -> float:
        chances = self.probabilities
        return self.numel * bit_entropy(math.fsum(chances[(len(chances) + 1) // 2 :]))


@dataclasses.dataclass(frozen=True)
class Described(KnownObject):
    """Base of the objects with a description of known length, which chance rarely has."""

    null = "shuffled"
    exact = False


def signs(bits: NDArray[Any]) -> NDArray[Any]:
    """+1 where there is a one, else −1."""
    return np.where(bits, 1, -1)
