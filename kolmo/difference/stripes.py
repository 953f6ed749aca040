"""Two tensors side by side, stripe by stripe, so that memory does not grow with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.shapes import array_shape
from kolmo.floats import bit_patterns

STRIPE = 1 << 19
"""Weights of a stripe at most."""

HELD = 1 << 27
"""Bytes of both tensors up to which they are read once and kept; larger ones are read again for
each pass."""

Weights = NDArray[Any]
Pair = tuple[WeightTensor, WeightTensor]


@dataclasses.dataclass(frozen=True)
class Stripe:
    """Whole rows of both tensors, or a part of one row; ``row`` is the number of the first."""

    row: int
    base: Weights
    tuned: Weights

    def difference(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Tuned less base weights at these places of the stripe."""
        with np.errstate(invalid="ignore"):
            tuned, base = (w[places].astype(np.float64) for w in (self.tuned, self.base))
            return np.asarray(tuned - base)


class Stripes:
    """Both tensors as matrices of their first dimension × the rest, in stripes of whole rows.

    A row that is longer than a stripe is cut. Every iteration gives the same stripes.

    Parameters
    ----------
    base, tuned : WeightTensor
        Of one shape and dtype.

    Attributes
    ----------
    pair : (WeightTensor, WeightTensor)
        Base and tuned tensor, which load what is kept in memory, if they are.
    """

    def __init__(self, base: WeightTensor, tuned: WeightTensor) -> None:
        self.pair: Pair = base, tuned
        self.shape, self.dtype = array_shape(tuned.shape), tuned.dtype
        self.numel = math.prod(self.shape)
        self.rows = self.shape[0] if self.shape else 1
        self.columns = self.numel // self.rows if self.rows else 0
        if self._are_held:
            self.pair = _held(base), _held(tuned)

    @property
    def sides(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def _are_held(self) -> bool:
        return 2 * self.numel * self.dtype.itemsize <= HELD

    def read(self) -> tuple[Weights, Weights]:
        """Both tensors, in their shape."""
        base, tuned = (tensor.load(0, self.numel) for tensor in self.pair)
        return base.reshape(self.shape), tuned.reshape(self.shape)

    def rows_at(self, numbers: NDArray[np.int64]) -> tuple[Weights, Weights]:
        """Some rows of both."""
        starts = (numbers * self.columns).tolist()
        base, tuned = (
            np.concatenate([tensor.load(a, a + self.columns) for a in starts])
            for tensor in self.pair
        )
        return base.reshape(-1, self.columns), tuned.reshape(-1, self.columns)

    def __iter__(self) -> Iterator[Stripe]:
        for start, stop in self._cuts():
            base, tuned = (tensor.load(start, stop) for tensor in self.pair)
            yield Stripe(start // self.columns, base, tuned)

    def _cuts(self) -> Iterator[tuple[int, int]]:
        """The first and the last place of each stripe."""
        if 0 < self.columns <= STRIPE:
            step = STRIPE // self.columns * self.columns
            yield from ((a, min(a + step, self.numel)) for a in range(0, self.numel, step))
            return
        for row in range(0, self.numel, max(self.columns, 1)):
            end = row + self.columns
            yield from ((a, min(a + STRIPE, end)) for a in range(row, end, STRIPE))


def widened(weights: Weights) -> NDArray[Any]:
    """Floats as float32, those of more than 32 bits as float64."""
    if weights.dtype.name == "bfloat16":  # the upper half of a float32
        wide = np.left_shift(bit_patterns(weights), np.uint32(16), dtype=np.uint32)
        return np.asarray(wide.view(np.float32))
    return np.ascontiguousarray(weights, np.float64 if weights.dtype.itemsize > 4 else np.float32)


def _held(tensor: WeightTensor) -> WeightTensor:
    """The tensor, read once and kept."""
    weights = tensor.load(0, tensor.numel)
    return dataclasses.replace(tensor, load=lambda start, stop: weights[start:stop])
