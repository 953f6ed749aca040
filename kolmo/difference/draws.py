"""Draws of the null of a difference: the same differences at random places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.stripes import Draw
from kolmo.floats import is_float, ordered, unordered

Weights = NDArray[Any]

_PIECE = 1 << 20  # weights at a time


def draw_of(seed: Sequence[int]) -> Draw:
    """A draw for `Stripes`: stretches after the first have a random stream of their own."""

    def draw(base: Weights, tuned: Weights, number: int) -> Weights:
        return shuffled_difference(base, tuned, [*seed, number] if number else seed)

    return draw


def shuffled_difference(base: Weights, tuned: Weights, seed: Sequence[int]) -> Weights:
    """The base with the same differences at random places.

    Differences of finite floats are those of real numbers, and the sum is rounded to the dtype;
    those of other values are modulo 2^w, those of booleans exclusive ors.

    >>> shuffled_difference(np.zeros(4, np.int8), np.int8([0, 0, 0, 9]), [0]).sum()
    np.int64(9)
    """
    random = np.random.default_rng(tuple(seed))
    if is_float(tuned.dtype):
        difference = _differences(base.reshape(-1), tuned.reshape(-1))
        if np.isfinite(difference).all():
            random.shuffle(difference)
            return _added(base.reshape(-1), difference).reshape(tuned.shape)
    if tuned.dtype.kind == "b":
        xor = random.permutation((base ^ tuned).reshape(-1)).reshape(tuned.shape)
        return np.asarray(base ^ xor)
    steps = np.atleast_1d(ordered(tuned)) - np.atleast_1d(ordered(base))
    moved = random.permutation(steps.reshape(-1)).reshape(steps.shape)
    return unordered(np.atleast_1d(ordered(base)) + moved, tuned.dtype).reshape(tuned.shape)


def _differences(base: Weights, tuned: Weights) -> NDArray[np.float64]:
    difference = np.empty(tuned.size)
    with np.errstate(invalid="ignore"):
        for start in range(0, tuned.size, _PIECE):
            part = slice(start, start + _PIECE)
            difference[part] = tuned[part].astype(np.float64) - base[part].astype(np.float64)
    return difference


def _added(base: Weights, difference: NDArray[np.float64]) -> Weights:
    total = np.empty_like(base)
    with np.errstate(over="ignore"):
        for start in range(0, base.size, _PIECE):
            part = slice(start, start + _PIECE)
            total[part] = (base[part].astype(np.float64) + difference[part]).astype(base.dtype)
    return total
