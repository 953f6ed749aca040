"""Draws of the null of a difference: the same differences at random places.

A draw is the base plus a shuffled difference, each stretch of which is made when it is read, in
bounded memory (`kolmo.nulls.moved`). So it is one and the same, whoever reads it, in whatever
stretches.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.difference.stripes import STRIPE
from kolmo.floats import is_float, ordered, unordered
from kolmo.nulls.moved import MovedInLine, Sizes
from kolmo.nulls.seeds import Seed

Weights = NDArray[Any]

SIZES = Sizes(window=1 << 27, step=1 << 20)
"""Of shuffled differences, which are up to four times as wide as the weights."""


def drawn_tensor(base: WeightTensor, tuned: WeightTensor, seed: Seed) -> WeightTensor:
    """The tuned tensor with the same differences at random places.

    Differences of finite floats are those of real numbers, and the sum is rounded to the dtype;
    those of other values are modulo 2^w, those of booleans exclusive ors.

    >>> from kolmo.checkpoints import array_tensor
    >>> base = array_tensor("w", np.zeros(4, np.int8))
    >>> tuned = array_tensor("w", np.int8([0, 0, 0, 9]))
    >>> drawn_tensor(base, tuned, (0,)).load(0, 4).sum()
    np.int64(9)
    """
    steps = _steps_of(base, tuned)
    line = MovedInLine(
        Apart(base, tuned, steps),
        steps.dtype,
        (tuned.numel,),
        steps.dtype.itemsize,
        seed,
        SIZES,
    )
    return dataclasses.replace(tuned, load=Drawn(base, line, steps), codes=None, place=None)


def drawing_memory(tensor: WeightTensor) -> int:
    """Bytes that drawing holds at most, whatever is asked for, about."""
    most = 8 * tensor.numel
    return min(most, SIZES.window) + 6 * min(most, 8 * SIZES.step)


@dataclasses.dataclass(frozen=True)
class Steps:
    """How weights of a dtype are told apart, and put together again."""

    dtype: np.dtype[Any]

    def between(self, base: Weights, tuned: Weights) -> Weights:
        raise NotImplementedError

    def onto(self, base: Weights, steps: Weights) -> Weights:
        raise NotImplementedError


class RealSteps(Steps):
    """Differences of real numbers."""

    def between(self, base: Weights, tuned: Weights) -> Weights:
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(tuned.astype(np.float64) - base.astype(np.float64))

    def onto(self, base: Weights, steps: Weights) -> Weights:
        with np.errstate(over="ignore"):
            return np.asarray((base.astype(np.float64) + steps).astype(base.dtype))


class BitSteps(Steps):
    """Exclusive ors."""

    def between(self, base: Weights, tuned: Weights) -> Weights:
        return np.asarray(base ^ tuned)

    def onto(self, base: Weights, steps: Weights) -> Weights:
        return np.asarray(base ^ steps)


class ModularSteps(Steps):
    """Differences of places in the order of values, modulo 2^w."""

    def between(self, base: Weights, tuned: Weights) -> Weights:
        return np.asarray(np.atleast_1d(ordered(tuned)) - np.atleast_1d(ordered(base)))

    def onto(self, base: Weights, steps: Weights) -> Weights:
        return unordered(np.atleast_1d(ordered(base)) + steps, base.dtype)


@dataclasses.dataclass(frozen=True)
class Apart:
    """Loads what two tensors are apart."""

    base: WeightTensor
    tuned: WeightTensor
    steps: Steps

    def __call__(self, start: int, stop: int) -> Weights:
        return self.steps.between(self.base.load(start, stop), self.tuned.load(start, stop))


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Loads the base with shuffled steps."""

    base: WeightTensor
    line: MovedInLine
    steps: Steps

    def __call__(self, start: int, stop: int) -> Weights:
        drawn = np.empty(stop - start, self.base.dtype)
        for first in range(start, stop, STRIPE):  # float64 of a stripe at a time
            last = min(first + STRIPE, stop)
            moved = self.line.load(first, last)
            drawn[first - start : last - start] = self.steps.onto(
                self.base.load(first, last), moved
            )
        return drawn


def _steps_of(base: WeightTensor, tuned: WeightTensor) -> Steps:
    if tuned.dtype.kind == "b":
        return BitSteps(tuned.dtype)
    if is_float(tuned.dtype) and _are_finite(Apart(base, tuned, _REAL), tuned.numel):
        return _REAL
    return ModularSteps(ordered(np.zeros(1, tuned.dtype)).dtype)


_REAL = RealSteps(np.dtype(np.float64))


def _are_finite(apart: Apart, numel: int) -> bool:
    starts = range(0, numel, STRIPE)
    return all(np.isfinite(apart(s, min(s + STRIPE, numel))).all() for s in starts)
