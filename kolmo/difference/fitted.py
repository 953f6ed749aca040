"""Factors of a difference found in a few passes over stripes of both matrices.

A shorter search for the code of `kolmo.difference.lowrank`:

1. leading singular vectors by subspace iteration, of as many vectors as the gate has seen
   directions, and a few more, until they explain all but the rounding;
2. if they do, weighted least squares, rows and columns in turn, each error over the bounds of its
   rounding; one pass serves both, the first ones over a part of each stripe;
3. the precision of the factors, and whether the product is rounded before it is added, on a sample
   of the rows; then one pass over all of them (`kolmo.difference.counted`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.counted import FactorCounter
from kolmo.difference.factors import Factors, ranks_of
from kolmo.difference.lowrank import Found
from kolmo.difference.products import balanced, orthonormal, symmetric, times
from kolmo.difference.stripes import STRIPE, Stripes, widened
from kolmo.estimators.factors import MOST
from kolmo.floats import least_exponent, mantissa_bits

Floats = NDArray[Any]
Tell = Callable[[float], None]

_SPARE = 8  # vectors beyond those that are sought
_ITERATIONS = 4  # at most
_COARSE = 4  # passes over so small a part of the rows come first
_LEAST = 512  # rows of such a part, at least
_MOST_PASSES = 8  # over matrices that are too small for that
_GAIN = 0.001  # share of the weights that a pass wins, below which none follows
_MOMENTUM = 0.7
_SAMPLED = 64  # rows whose bounds are looked at
_HEAVY = 0.05  # share of the weights that have the closest bounds, at least
_EQUATIONS = 64, 4  # such weights in a row, and for each vector, at least
_SPARE_BOUND = 3e-3  # of the root of the mean square of bounds: none is so close as to count alone
_REFINED = 32  # factors at most
_ROOM = 1 << 27  # bytes of the normal equations of all columns


def fitted_code(stripes: Stripes, rank: int, tell: Tell) -> Found | None:
    """A low-rank code of the tuned weights; None if no rank is promising, or float64 does not hold
    the squares of the differences.

    Parameters
    ----------
    stripes : Stripes
        Of a floating-point dtype.
    rank : int
        Directions that a sample shows.
    tell : callable
        Takes the share of the work that is done.
    """
    matrix = Difference(stripes)
    if stripes.columns > STRIPE or not matrix.measure():
        return None
    most = min(rank + _SPARE, MOST)
    values, v = _leading(matrix, most)
    ranks = ranks_of(values, matrix.energy, matrix.floors, stripes.sides)
    if most < min(MOST, *stripes.sides) and max(ranks, default=0) > rank + _SPARE // 2:
        values, v = _leading(matrix, MOST)  # there are more than the sample has shown
        ranks = ranks_of(values, matrix.energy, matrix.floors, stripes.sides)
    tell(0.3)
    if not ranks:
        return None
    u, counter = _projected(matrix, v[: max(ranks)]), FactorCounter(stripes, matrix.unit)
    for number, (chosen, explains) in enumerate(ranks.items(), 1):
        root = np.sqrt(values[:chosen])
        first = Factors(u[:, :chosen] / root, v[:chosen].T * root, values[:chosen])
        counter.consider(_refined(matrix, first) if explains else first)
        tell(0.3 + 0.5 * number / len(ranks))
    return counter.finish()


# --- the difference, stripe by stripe ---------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RowBlock:
    """Some rows of both matrices, in numbers that are wide enough for their difference."""

    rows: slice
    base: Floats
    tuned: Floats


class Difference:
    """The difference of both matrices in floating-point numbers wide enough for its dtype.

    Attributes
    ----------
    unit : float
        The power of two in which differences are counted.
    energy : float
        The sum of their squares.
    floors : list of float
        The mean square that rounding leaves, without and with rounding of the product.
    """

    def __init__(self, stripes: Stripes) -> None:
        self._stripes = stripes
        self.shape = stripes.sides
        self.wide = np.dtype(np.float32 if stripes.dtype.itemsize <= 2 else np.float64)
        self.exponents = np.array([np.inf], self.wide).view(f"u{self.wide.itemsize}")
        self.unit, self.energy, self.floors = 1.0, 0.0, [0.0, 0.0]
        self.form, self._bounds = self._form(0.0), np.zeros(0)

    def measure(self) -> bool:
        """Find unit, energy and floors; whether the wide numbers hold them."""
        with np.errstate(all="ignore"):
            tops = (float(np.abs(part.tuned - part.base).max()) for part in self.parts())
            top = next((top for top in tops if top), 0.0)
            if not 1e-120 < top < 1e120:
                return False
            self.unit = 2.0 ** math.frexp(top)[1]
            self.form = self._form(0.0)
            sums, bounds, every = np.zeros(3), [], max(1, self.shape[0] // _SAMPLED)
            for part in self.parts():
                kernels().measure(part.base, part.tuned, self.form, self.exponents, sums)
                some = slice(-part.rows.start % every, None, every)
                bounds.append(self._closest(part.base[some], part.tuned[some]))
        self.energy = float(sums[0])
        mean = sums[1:] / math.prod(self.shape) / 3
        self.floors = [float(mean[0]), float(mean.sum())]
        if not (math.isfinite(sums.sum()) and 0 < self.floors[0] < self.energy):
            return False
        self.form = self._form(math.sqrt(self.floors[0]) * _SPARE_BOUND)
        self._bounds = np.concatenate(bounds)
        return True

    def heavy(self, rank: int) -> Any:
        """The weight of an error's square from which it is among the few that count most."""
        least = max(_EQUATIONS[0], _EQUATIONS[1] * rank) / self.shape[1]
        share = min(1.0, max(_HEAVY, least))
        bound = np.quantile(self._bounds, share) if self._bounds.size else 1.0
        return self.wide.type((bound + self.form[3]) ** -2.0)

    def parts(self, share: int = 1) -> Iterator[RowBlock]:
        """The rows of each stripe, or the first of them: one of so many."""
        columns = self.shape[1]
        for stripe in self._stripes:
            base, tuned = (w.reshape(-1, columns) for w in (stripe.base, stripe.tuned))
            stop = -(-len(base) // share)
            pair = (widened(w[:stop]).astype(self.wide, copy=False) for w in (base, tuned))
            yield RowBlock(slice(stripe.row, stripe.row + stop), *pair)

    def _form(self, spare: float) -> Floats:
        """What kernels take: one over the unit, half a step of 1, the least half step, and what is
        added to all bounds."""
        dtype = self._stripes.dtype
        least = math.ldexp(1 / self.unit, least_exponent(dtype) - 1)
        least = max(least, float(np.finfo(self.wide.type).tiny))
        return np.array([1 / self.unit, 0.5 ** (mantissa_bits(dtype) + 1), least, spare], self.wide)

    def _closest(self, base: Floats, tuned: Floats) -> Floats:
        """The bounds of rounding where differences are not zero."""
        numbers = tuned * self.form[0], tuned * self.form[0] - base * self.form[0]
        bounds = self._half_step(numbers[0]) + self._half_step(numbers[1])
        return np.asarray(bounds[numbers[1] != 0])

    def _half_step(self, numbers: Floats) -> Floats:
        powers = (numbers.view(self.exponents.dtype) & self.exponents).view(self.wide)
        return np.asarray(np.maximum(powers * self.form[1], self.form[2]))


# --- factors ----------------------------------------------------------------------------------


def _leading(matrix: Difference, most: int) -> tuple[Floats, Floats]:
    """Leading singular values and right vectors, of shapes (r) and (r, columns)
    (Halko, Martinsson & Tropp 2011)."""
    most = min(most, *matrix.shape)
    image = np.random.default_rng(0).normal(size=(most, matrix.shape[1]))
    for _ in range(_ITERATIONS):
        basis = orthonormal(image)
        narrow, image = _padded(basis, matrix.wide), np.zeros(basis.shape)
        for part in matrix.parts():
            ours = np.zeros_like(narrow)
            kernels().iterate(part.base, part.tuned, matrix.form, narrow, ours)
            image += ours[: len(basis)]
        squares, mixed = symmetric(times(image, basis.T))
        left = matrix.energy - float(squares.sum())
        if left < 4 * matrix.floors[0] * math.prod(matrix.shape):
            break
    values = np.sqrt(np.maximum(squares[::-1], 0))
    kept = values > values[0] * 1e-7
    return values[kept], times(mixed.T[::-1], basis)[kept]


def _projected(matrix: Difference, v: Floats) -> Floats:
    """The left vectors that belong to right ones."""
    padded = _padded(v, matrix.wide)
    u = np.empty((matrix.shape[0], len(padded)), matrix.wide)
    for part in matrix.parts():
        kernels().project(part.base, part.tuned, matrix.form, padded, u[part.rows])
    return np.asarray(u[:, : len(v)], np.float64)


def _padded(v: Floats, wide: Any) -> Floats:
    """With vectors of zeros, so that their number is a multiple of four."""
    return np.pad(v, ((0, -len(v) % 4), (0, 0))).astype(wide)


def _refined(matrix: Difference, factors: Factors) -> Factors:
    """Factors whose product rounds to more of the tuned weights."""
    v = _padded(factors.v.T, matrix.wide)
    rank, columns = v.shape
    if factors.rank > _REFINED or v.itemsize * columns * rank * (rank + 1) // 2 > _ROOM:
        return factors
    u = np.ascontiguousarray(_padded(factors.u.T, matrix.wide).T)
    found, past, before = (u, v), None, 0.0
    for share in _passes(matrix.shape[0]):
        u = u.copy()
        new, hits = _pass(matrix, u, v, share)
        if not (np.isfinite(u).all() and np.isfinite(new).all()) or hits < before:
            break
        found, gain, before = (u, new), hits - before, hits if share == 1 else 0.0
        if gain < _GAIN:
            break
        v, past = (new if past is None else _ahead(new, past)), new
    u, v = found
    return balanced(u[:, : factors.rank].astype(float), v[: factors.rank].T.astype(float))


def _ahead(new: Floats, old: Floats) -> Floats:
    """A step further: those of rows and columns in turn are too short, but the first."""
    return np.asarray(new + new.dtype.type(_MOMENTUM) * (new - old))


def _passes(rows: int) -> list[int]:
    """Passes over all rows, or one of so many, one after the other."""
    return [_COARSE] * 3 + [1] * 2 if rows >= _COARSE * _LEAST else [1] * _MOST_PASSES


def _pass(matrix: Difference, u: Floats, v: Floats, share: int) -> tuple[Floats, float]:
    """One step of rows of u, which are moved, and one of v, which is given; and the share of the
    weights whose error was within the bound of rounding before."""
    rank, columns = v.shape
    right, rest = np.zeros_like(v), np.zeros(columns, v.dtype)
    normal = np.zeros((columns, rank * (rank + 1) // 2), v.dtype)
    squares, hits, rows, heavy = np.zeros(rank), 0, 0, matrix.heavy(rank)
    for part in matrix.parts(share):
        ours = u[part.rows]
        hits += kernels().fit(part.base, part.tuned, matrix.form, matrix.exponents, heavy, ours, v,
                              right, normal, rest)  # fmt: skip
        squares += np.square(ours, dtype=np.float64).sum(axis=0)
        rows += len(ours)
    new = v.copy()
    kernels().move(right, normal, rest, squares / rows, new)
    return new, hits / (rows * columns)


def kernels() -> Any:
    """The compiled passes, which are loaded when they are needed."""
    from kolmo.difference import kernels_fitted

    return kernels_fitted
