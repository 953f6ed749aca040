"""The bit-plane code: the bits of each bit-plane, and whether it differs from coin flips.

Plane after plane, the most significant first, each bit is coded by a KT code of two symbols
(Krichevsky & Trofimov 1981) in its context: none, or the nearest 1 to 8 bits above it (higher
planes of the same weight), or the last 1 to 8 bits before it (of the same plane, in row-major
order). The best of these 17 contexts is taken, at log2 17 bits a plane.

A code with P(x) = 2^−bits gives an exact test: if the n bits of a plane were fair coin flips, given
all planes before, the code would save s bits with probability at most 2^−s, because the
probabilities of all sequences add up to at most 1 (Markov's inequality; the no-hypercompression
inequality, Grünwald 2007). So every plane has a p-value without a single draw of a null. A plane
*differs from noise* if Holm's correction over the planes leaves p ≤ .05, about 10 bits saved; the
number of such planes is ``effective_bits``. It shows that there is structure, not how much: the
bits that each plane saves show that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import Chance, all_of, kt, one_of, ratio_of
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.pvalues import holm, is_significant
from kolmo.symbols import Alphabet, Shape, Symbols

DEPTH = 8
"""Most bits of a context."""

CONTEXTS = (
    "none",
    *(f"{depth} above" for depth in range(1, DEPTH + 1)),
    *(f"{depth} before" for depth in range(1, DEPTH + 1)),
)


@register
@dataclasses.dataclass(frozen=True)
class Planes(Estimator):
    """Each bit-plane in its best context; a bound.

    Symbols of any quantizer have ceil(log2 alphabet) planes; native floats have those of their
    dtype: sign, exponent, mantissa. ``details``, each list with the most significant plane first:
    ``planes``, the code length of each; ``contexts``, the best context of each; ``effective_bits``,
    the number of planes that differ from fair coin flips at α = .05 after Holm's correction;
    ``numel``, the number of bits in a plane.

    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    >>> code = estimate(weights, "planes")
    >>> code.bits < code.raw_bits, code.details["effective_bits"]  # exponent, top of mantissa
    (True, 10)
    """

    name = "planes"
    kind = "bound"
    summary = "bit-plane by bit-plane, each in its best context; counts planes unlike coin flips"

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        return _PlanesAccumulator(sum(math.prod(shape) for shape in shapes), alphabet)


class _PlanesAccumulator:
    def __init__(self, numel: int, alphabet: Alphabet) -> None:
        self._numel, self._planes = numel, alphabet.bits
        self._dtype = alphabet.container
        self._recent = np.zeros(self._planes, np.uint64)
        self._above, self._before = np.zeros((2, self._planes, 1 << DEPTH, 2), np.int64)

    def update(self, symbols: Symbols) -> None:
        from kolmo.estimators import kernels_planes

        fitting = np.ascontiguousarray(symbols, dtype=self._dtype)
        kernels_planes.count_bits(fitting, self._planes, self._recent, self._above, self._before)

    def finish(self) -> CodeLength:
        raw_bits = self._numel * self._planes
        if not self._numel:
            return CodeLength(0, 0, 0, "bound")
        best = [self._cheapest(plane) for plane in range(self._planes)]
        bits = [cost + math.log2(len(CONTEXTS)) for cost, _, _ in best]
        details: dict[str, Any] = {
            "planes": [round(cost, 3) for cost in bits],
            "contexts": [CONTEXTS[which] for _, which, _ in best],
            "effective_bits": effective_bits(bits, self._numel),
            "numel": self._numel,
        }
        chosen = [one_of(len(CONTEXTS))] * len(best)
        total = all_of([*chosen, *(_chance(cost, counts) for cost, _, counts in best)]).word_bits
        return CodeLength(total, self._numel, raw_bits, "bound", details)

    def _cheapest(self, plane: int) -> tuple[float, int, NDArray[np.int64]]:
        """The code length of a plane in its best context, the context's number and its counts."""
        from kolmo.estimators import kernels_planes

        above, before = self._above[plane], self._before[plane]
        counts = [_merged(above, depth) for depth in range(DEPTH + 1)]
        counts += [_merged(before, depth) for depth in range(1, DEPTH + 1)]
        costs = [float(kernels_planes.kt_bits(each)) for each in counts]
        which = costs.index(min(costs))
        return costs[which], which, counts[which]


def _chance(cost: float, counts: NDArray[np.int64]) -> Chance:
    """The probability of a plane whose contexts saw these counts."""
    seen = counts[counts.any(axis=1)]
    size = 2 * float((seen.sum() + seen.size) * math.log2(seen.sum() + 4))
    return Chance(-cost, size, lambda: ratio_of(kt(each) for each in seen))


def _merged(counts: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    """Counts by the nearest ``depth`` bits of each context, which are its lowest."""
    return np.ascontiguousarray(counts.reshape(-1, 1 << depth, 2).sum(axis=0))


def plane_p_values(bits: Sequence[float], numel: int) -> list[float]:
    """For each plane of ``numel`` bits an upper bound on the chance that coin flips cost no more.

    Examples
    --------
    >>> plane_p_values([90.0, 101.0], 100)
    [0.0009765625, 1.0]
    """
    return [2.0 ** min(0.0, cost - numel) for cost in bits]


def effective_bits(bits: Sequence[float], numel: int) -> int:
    """How many planes differ from fair coin flips at α = .05, after Holm's correction.

    Examples
    --------
    >>> effective_bits([90.0, 97.0, 101.0], 100)
    1
    """
    return sum(map(is_significant, holm(plane_p_values(bits, numel)).tolist()))
