"""Two-part codes: the parameters of a density, then the symbols given the density.

The symbols are taken as numbers 0, 1, …, A − 1 on a line, as those of ``symmetric`` and ``affine``
are. A symbol's probability is the density at it, divided by the sum over the alphabet. Parameters
are sent at p bits each: the location as one of 2^p numbers evenly spaced over [0, A − 1], the scale
as one of 2^p numbers in geometric progression from 1/16 to A. The best p of 1..16 is sent in 4 bits
(two-part codes: Rissanen 1978), with the parameters nearest to those of greatest likelihood.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import Chance
from kolmo.codes.lengths import Counts
from kolmo.errors import NotApplicableError
from kolmo.estimators.base import Accumulator, register
from kolmo.estimators.counts import ORDER_0_LIMIT
from kolmo.estimators.mdl import OrderZero
from kolmo.symbols import Alphabet, Shape

Floats = NDArray[np.float64]

LEAST_SCALE = 1 / 16
PRECISIONS = range(1, 17)


@dataclasses.dataclass(frozen=True)
class Parametric(OrderZero):
    """Base of the two-part codes; subclasses say where the density is centred and how it falls."""

    def location(self, counts: Counts) -> float:
        """The location of greatest likelihood of the continuous density."""
        raise NotImplementedError

    def log_density(self, distances: Floats) -> Floats:
        """ln of the density at distances from the location, in units of the scale, up to a
        constant."""
        raise NotImplementedError

    def chance(self, counts: Counts) -> tuple[Chance, dict[str, Any]]:
        location = self.location(counts)
        scale = self._best_scale(counts, location)
        codes = [self._two_part(counts, location, scale, p) for p in PRECISIONS]
        log2, parameters = max(codes, key=lambda code: code[0])
        return Chance(log2), parameters  # of a density, which double precision itself defines

    def _two_part(
        self, counts: Counts, location: float, scale: float, precision: int
    ) -> tuple[float, dict[str, Any]]:
        top = (1 << precision) - 1
        last, octaves = counts.size - 1, math.log2(counts.size / LEAST_SCALE)
        location = round(location / last * top) / top * last if last else 0.0
        scale = LEAST_SCALE * 2 ** (
            round(math.log2(scale / LEAST_SCALE) / octaves * top) / top * octaves
        )
        parameter_bits = 2 * precision + math.log2(len(PRECISIONS))
        parameters = {"precision": precision, "location": location, "scale": scale}
        return self._log2_data(counts, location, scale) - parameter_bits, parameters

    def _log2_data(self, counts: Counts, location: float, scale: float) -> float:
        """log2 of the probability of the symbols given the density."""
        distances = (np.arange(counts.size, dtype=np.float64) - location) / scale
        logs = self.log_density(distances)
        highest = float(logs.max())
        norm = highest + math.log(math.fsum(np.exp(logs[logs > highest - 700] - highest)))
        seen = counts > 0
        return math.fsum(counts[seen] * (logs[seen] - norm)) / math.log(2)

    def _best_scale(self, counts: Counts, location: float) -> float:
        """The scale of greatest likelihood, by ternary search: there is one maximum, because the
        symbols' probabilities are an exponential family of the scale."""
        low, high = math.log2(LEAST_SCALE), math.log2(counts.size)
        while high - low > 1e-4:
            a, b = (2 * low + high) / 3, (low + 2 * high) / 3
            if self._log2_data(counts, location, 2**a) < self._log2_data(counts, location, 2**b):
                low = a
            else:
                high = b
        return float(2**low)

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        if alphabet.size > ORDER_0_LIMIT:
            raise NotApplicableError(
                f"{self}: needs symbols that are numbers on a line, at most {ORDER_0_LIMIT:,} of "
                f"them; quantize first, by symmetric:8 say"
            )
        return super()._start(shapes, alphabet)


@register
@dataclasses.dataclass(frozen=True)
class Gaussian(Parametric):
    """The discretized normal density; a bound.

    ``details``: the precision p, and location and scale (standard deviation) as sent, in symbols.

    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).normal(size=10_000)
    >>> code = estimate(weights, "gaussian", "affine:8")
    >>> code.bits < estimate(weights, "kt", "affine:8").bits
    True
    """

    name = "gaussian"
    summary = "two-part code by a discretized normal density (quantized weights)"

    def location(self, counts: Counts) -> float:
        return float(counts @ np.arange(counts.size)) / max(1, int(counts.sum()))

    def log_density(self, distances: Floats) -> Floats:
        return -(distances**2) / 2


@register
@dataclasses.dataclass(frozen=True)
class Laplace(Parametric):
    """The discretized Laplace density; a bound.

    ``details``: the precision p, and location (median) and scale as sent, in symbols.

    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).laplace(size=10_000)
    >>> code = estimate(weights, "laplace", "affine:8")
    >>> code.bits < estimate(weights, "gaussian", "affine:8").bits
    True
    """

    name = "laplace"
    summary = "two-part code by a discretized Laplace density (quantized weights)"

    def location(self, counts: Counts) -> float:
        return float(np.searchsorted(np.cumsum(counts), int(counts.sum()) / 2))

    def log_density(self, distances: Floats) -> Floats:
        return -np.abs(distances)
