"""Objects of bits: coins, Markov chains, periods, the output of a generator."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.calibration.base import Described, Independent, KnownObject, bit_entropy, signs
from kolmo.codes.lengths import integer_bits


@dataclasses.dataclass(frozen=True)
class Coin(Independent):
    """Independent bits, ±1, of which a share ``grade`` is +1; fair where it is one half.

    Known: n h(p) bits, exact.

    >>> Coin(0.5, (8, 8)).known_bits
    64.0
    """

    family = "coin"
    about = "bias of independent bits"
    grades = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    typical = 0.2
    quantizer = "sign"

    @property
    def probabilities(self) -> list[float]:
        return [1 - self.grade, self.grade]

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        return signs(random.random(self.numel) < self.grade)


@dataclasses.dataclass(frozen=True)
class Markov(KnownObject):
    """Bits, ±1, each the same as the one before it with probability ``grade``; the first is fair.

    Known: 1 + (n − 1) h(s) bits, exact.

    >>> round(Markov(0.9, (10, 10)).known_bits, 2)
    47.43
    """

    family = "markov"
    about = "runs in a Markov chain"
    grades = (0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
    typical = 0.8
    quantizer = "sign"
    null = "shuffled"
    exact = True

    @property
    def known_bits(self) -> float:
        return 1 + (self.numel - 1) * bit_entropy(self.grade)

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        flips = random.random(self.numel) >= self.grade
        flips[0] = random.random() < 0.5
        return signs(np.cumsum(flips) % 2 == 1)


@dataclasses.dataclass(frozen=True)
class Periodic(Described):
    """``grade`` fair bits, ±1, over and over.

    Known: at most p + δ(p) bits, with the period p by the Elias delta code.

    >>> Periodic(31).known_bits
    41.0
    """

    family = "periodic"
    about = "a repeated string"
    grades = (7, 31, 127, 511, 2047)
    typical = 31
    quantizer = "sign"

    @property
    def known_bits(self) -> float:
        return float(self.grade + integer_bits(int(self.grade)))

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        period = random.random(int(self.grade)) < 0.5
        return signs(np.resize(period, self.numel))


@dataclasses.dataclass(frozen=True)
class PseudoRandom(Described):
    """The highest bits of SplitMix64 (Steele, Lea & Flood 2014) from a state of 64 bits, ±1.

    Known: at most 64 bits, and the constant of a program of a few lines. It passes for fair coins:
    no practical estimator sees how simple it is, nor should it be expected to.

    >>> PseudoRandom(64).known_bits
    64.0
    """

    family = "generator"
    about = "a program's output that passes for chance"
    grades = (64,)
    typical = 64
    quantizer = "sign"
    null = "uniform"

    @property
    def known_bits(self) -> float:
        return float(self.grade)

    def _draw(self, random: np.random.Generator) -> NDArray[Any]:
        state = int(random.integers(1 << 64, dtype=np.uint64, endpoint=False))
        return signs(split_mix(state, self.numel) >> np.uint64(63) == 1)


def split_mix(state: int, size: int) -> NDArray[np.uint64]:
    """The next outputs of SplitMix64.

    >>> split_mix(1234567, 2)
    array([6457827717110365317, 3203168211198807973], dtype=uint64)
    """
    steps = np.arange(1, size + 1, dtype=np.uint64)
    mixed = np.uint64(state) + steps * np.uint64(0x9E3779B97F4A7C15)  # wraps, as it should
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
