"""Entropies: what a code cannot beat that knows the symbols' frequencies and nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.estimators.base import (
    Accumulator,
    CodeLength,
    Estimator,
    Shape,
    register,
    symbol_bits,
)
from kolmo.estimators.counts import Histogram


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """n × the plug-in entropy (Shannon 1948) of counts that add up to n, in bits.

    >>> entropy_bits(np.array([2, 2, 4]))
    12.0
    """
    present = counts[counts > 0].astype(np.float64)
    total = float(present.sum())
    return (
        max(0.0, total * math.log2(total) - float((present * np.log2(present)).sum()))
        if total
        else 0.0
    )


@register
@dataclasses.dataclass(frozen=True)
class Entropy(Estimator):
    """n × the plug-in order-0 entropy; an estimate.

    The frequencies themselves are not described, so that it is no code length; ``kt`` is the
    bound that goes with it. Alphabets of more than 65,536 symbols: by byte-plane.

    >>> from kolmo import estimate
    >>> estimate(np.float32([-1, 1, 1, 1]), "entropy", "sign").bits_per_weight.__round__(3)
    0.811
    """

    name = "entropy"
    kind = "estimate"
    summary = "plug-in order-0 entropy (by byte-plane for native floats)"

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        return _EntropyAccumulator(shapes, alphabet)


class _EntropyAccumulator:
    def __init__(self, shapes: Sequence[Shape], alphabet: int) -> None:
        self._numel = sum(math.prod(shape) for shape in shapes)
        self._bits_each = symbol_bits(alphabet)
        self._histogram = Histogram(alphabet)
        self.update = self._histogram.update

    def finish(self) -> CodeLength:
        planes = [entropy_bits(plane) for plane in self._histogram.counts]
        details = {"byte_planes": planes} if self._histogram.by_byte else {}
        return CodeLength(
            sum(planes), self._numel, self._numel * self._bits_each, "estimate", details
        )
