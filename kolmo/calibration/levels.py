"""Objects of 15 levels: mosaics, matrices of low rank, smooth, sparse and heavy-tailed ones."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.calibration.base import Described, Independent, signs
from kolmo.calibration.student import level_probabilities, student_levels

LEVELS = 15
"""Symbols of ``symmetric:4``: the whole numbers from −7 to 7."""
BLOCK = 4
"""Weights of a motif."""


def _levels(random: np.random.Generator, size: Any) -> NDArray[Any]:
    drawn: NDArray[Any] = random.integers(-(LEVELS // 2), LEVELS // 2 + 1, size)
    return drawn


@dataclasses.dataclass(frozen=True)
class Repeated(Described):
    """Blocks of four weights in a row, each one of ``grade`` motifs of uniform levels −7 to 7.

    Known: at most 4 k log2 15 + (n / 4) log2 k bits: the motifs, then which is which.

    >>> Repeated(16, (8, 8)).known_bits.__round__(1)
    314.0
    """

    family = "mosaic"
    about = "blocks that repeat"
    grades = (2, 4, 16, 64, 256)
    typical = 16
    quantizer = "symmetric:4"

    @property
    def known_bits(self) -> float:
        motifs = BLOCK * self.grade * math.log2(LEVELS)
        return motifs + self.numel / BLOCK * math.log2(self.grade)

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        motifs = _levels(random, (int(self.grade), BLOCK))
        blocks: NDArray[Any] = motifs[random.integers(len(motifs), size=self.numel // BLOCK)]
        return blocks


@dataclasses.dataclass(frozen=True)
class LowRankLevels(Described):
    """The product of ``grade`` columns by as many rows of 16 levels, quantized to 4 bits.

    Known: at most 4 r (rows + columns) bits, the factors at 4 bits each.

    >>> LowRankLevels(2, (64, 64)).known_bits
    1024.0
    """

    family = "lowrank"
    about = "a matrix of low rank"
    grades = (1, 2, 4, 8, 16)
    typical = 2
    quantizer = "symmetric:4"

    @property
    def known_bits(self) -> float:
        return 4.0 * self.grade * sum(self.shape)

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        left, right = (
            random.integers(16, size=(side, int(self.grade))) - 7.5 for side in self.shape
        )
        product: NDArray[Any] = left @ right.T
        return product


@dataclasses.dataclass(frozen=True)
class Smooth(Described):
    """A sum of ``grade``² cosines, low frequencies of rows and columns, quantized to 4 bits.

    w[i, j] = Σ c[u, v] cos(π u (i + ½) / rows) cos(π v (j + ½) / columns) with u, v < k, the
    coefficients of 256 levels. Known: at most 8 k² bits.

    >>> Smooth(4).known_bits
    128.0
    """

    family = "smooth"
    about = "a smooth kernel"
    grades = (2, 3, 4, 8, 16)
    typical = 4
    quantizer = "symmetric:4"

    @property
    def known_bits(self) -> float:
        return 8.0 * self.grade**2

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        waves = np.arange(int(self.grade))
        coefficients = random.integers(256, size=(waves.size, waves.size)) - 127.5
        rows, columns = (
            np.cos(np.pi * np.outer(np.arange(side) + 0.5, waves) / side) for side in self.shape
        )
        waved: NDArray[Any] = rows @ coefficients @ columns.T
        return waved


@dataclasses.dataclass(frozen=True)
class Sparse(Independent):
    """A share ``grade`` of the weights is one of −7 to −1, 1 to 7, uniformly; the rest is zero.

    Known: n (h(p) + p log2 14) bits, exact.

    >>> round(Sparse(0.1, (10, 10)).known_bits, 2)
    84.97
    """

    family = "sparse"
    about = "zeros at random places"
    grades = (0.02, 0.05, 0.1, 0.25, 0.5, 0.9)
    typical = 0.25
    quantizer = "symmetric:4"

    @property
    def probabilities(self) -> list[float]:
        each = [self.grade / (LEVELS - 1)] * (LEVELS // 2)
        return [*each, 1 - self.grade, *each]

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        values = random.integers(1, LEVELS // 2 + 1, self.numel) * signs(
            random.random(self.numel) < 0.5
        )
        return np.where(random.random(self.numel) < self.grade, values, 0)


@dataclasses.dataclass(frozen=True)
class HeavyTails(Independent):
    """Independent Student-t weights of ``grade`` degrees of freedom (1 to 4), on levels −7 to 7.

    The level is round(7 t / q), cut at ±7, with q the 99.9 % quantile: one outlier in a thousand
    sets the scale, as it does in a trained network. Known: n H bits with H the entropy of the
    levels, which the distribution function gives in closed form; exact.

    >>> round(HeavyTails(2, (10, 10)).known_bits, 2)
    129.67
    """

    family = "heavy"
    about = "heavy tails"
    grades = (1, 2, 3, 4)
    typical = 2
    quantizer = "symmetric:4"

    @property
    def probabilities(self) -> list[float]:
        return level_probabilities(int(self.grade), LEVELS // 2)

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        return student_levels(random, int(self.grade), LEVELS // 2, self.numel)
