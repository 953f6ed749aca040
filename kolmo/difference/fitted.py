"""Factors of a difference found in a few passes over stripes of both matrices.

A shorter search for the code of `kolmo.difference.lowrank`:

1. leading singular vectors by subspace iteration, of as many vectors as the gate has seen
   directions, and a few more;
2. if they explain all but the rounding, weighted least squares, rows and columns in turn, each
   error over the bounds of its rounding; one pass serves both, and the passes end when few more
   weights are predicted;
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
from kolmo.difference.factors import Factors, balanced, ranks_of
from kolmo.difference.lowrank import Found
from kolmo.difference.stripes import STRIPE, Stripes
from kolmo.estimators.factors import MOST
from kolmo.floats import bit_patterns, least_exponent, mantissa_bits

Floats = NDArray[Any]
Tell = Callable[[float], None]

_SPARE = 8  # vectors beyond those that are sought
_ITERATIONS = 3
_POWERS = (2, 2, 2, 2, 3, 3)  # of the errors, whose sum each pass reduces
_MOMENTUM = 0.5
_GAIN = 0.003  # share of the weights that a further pass has to win
_REFINED = 32  # factors at most
_ROOM = 1 << 27  # bytes of the normal equations of all columns
_BLOCK = 1 << 17  # weights at a time


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
    factors = _leading(matrix, most)
    ranks = ranks_of(factors.values, matrix.energy, matrix.floors, stripes.sides)
    if most < min(MOST, *stripes.sides) and max(ranks, default=0) > rank + _SPARE // 2:
        factors = _leading(matrix, MOST)  # there are more than the sample has shown
        ranks = ranks_of(factors.values, matrix.energy, matrix.floors, stripes.sides)
    tell(0.3)
    counter = FactorCounter(stripes, matrix.unit)
    for number, (chosen, explains) in enumerate(ranks.items(), 1):
        root = np.sqrt(factors.values[:chosen])
        first = Factors(factors.u[:, :chosen] * root, factors.v[:, :chosen] * root, root**2)
        counter.consider(_refined(matrix, first) if explains else first)
        tell(0.3 + 0.5 * number / len(ranks))
    return counter.finish()


# --- the difference, stripe by stripe ---------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RowBlock:
    """Some rows: where they are, their differences in units of the whole, and half the step of the
    dtype at each tuned weight, in the same units."""

    rows: slice
    difference: Floats
    half: Floats


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
        self._exponents = np.array(np.inf, self.wide).view(f"u{self.wide.itemsize}")
        self._tiny = float(np.finfo(self.wide.type).tiny)
        self._digits, self._least = mantissa_bits(stripes.dtype), least_exponent(stripes.dtype)
        self.unit, self.energy, self.floors = 1.0, 0.0, [0.0, 0.0]

    def measure(self) -> bool:
        """Find unit, energy and floors; whether double precision holds them."""
        tops = (float(np.abs(block.difference).max()) for block in self.blocks())
        top = next((top for top in tops if top), 0.0)
        if not 1e-120 < top < 1e120:
            return False
        self.unit = 2.0 ** math.frexp(top)[1]
        sums = np.zeros(3)
        for block in self.blocks():
            squares = (block.difference, block.half, self.half_step(block.difference))
            sums += [float(np.square(part, dtype=np.float64).sum()) for part in squares]
        self.energy = float(sums[0])
        mean = sums[1:] / math.prod(self.shape) / 3
        self.floors = [float(mean[0]), float(mean.sum())]
        return math.isfinite(sums.sum()) and 0 < self.floors[0] < self.energy

    def blocks(self) -> Iterator[RowBlock]:
        columns = self.shape[1]
        step = max(1, _BLOCK // columns)
        with np.errstate(all="ignore"):
            for stripe in self._stripes:
                base, tuned = (w.reshape(-1, columns) for w in (stripe.base, stripe.tuned))
                for start in range(0, len(tuned), step):
                    part = slice(start, start + step)
                    yield self._block(stripe.row + start, base[part], tuned[part])

    def half_step(self, numbers: Floats) -> Floats:
        """Half the step of the dtype at numbers of this magnitude."""
        powers = (numbers.view(self._exponents.dtype) & self._exponents).view(self.wide)
        least = max(math.ldexp(1 / self.unit, self._least - 1), self._tiny)
        halved = powers * self.wide.type(2.0 ** -(self._digits + 1))
        return np.asarray(np.maximum(halved, self.wide.type(least)))

    def _block(self, row: int, base: Floats, tuned: Floats) -> RowBlock:
        scale = self.wide.type(1 / self.unit)
        wide = self._widened(tuned) * scale
        difference = wide - self._widened(base) * scale
        return RowBlock(slice(row, row + len(tuned)), difference, self.half_step(wide))

    def _widened(self, weights: Floats) -> Floats:
        if weights.dtype.name == "bfloat16":  # the upper half of a float32
            return (bit_patterns(weights).astype(np.uint32) << np.uint32(16)).view(np.float32)
        return weights.astype(self.wide)


# --- factors ----------------------------------------------------------------------------------


def _leading(matrix: Difference, most: int) -> Factors:
    """Leading singular vectors and values (Halko, Martinsson & Tropp 2011)."""
    columns = matrix.shape[1]
    most = min(most, *matrix.shape)
    basis = np.random.default_rng(0).normal(size=(columns, most))
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(basis)[0].astype(matrix.wide)
        image = np.zeros((columns, most))
        for block in matrix.blocks():
            image += block.difference.T @ (block.difference @ basis)
        basis = image
    basis = np.linalg.qr(basis)[0]
    narrow = basis.astype(matrix.wide)
    image = np.concatenate([block.difference @ narrow for block in matrix.blocks()])
    u, values, mixed = np.linalg.svd(image.astype(np.float64), full_matrices=False)
    kept = values > values[0] * 1e-14
    return Factors(u[:, kept], (basis @ mixed.T)[:, kept], values[kept])


def _refined(matrix: Difference, factors: Factors) -> Factors:
    """Factors whose product rounds to more of the tuned weights."""
    rank, columns = factors.rank, matrix.shape[1]
    if rank > _REFINED or 8 * columns * rank * (rank + 1) // 2 > _ROOM:
        return factors
    u, v = (side.astype(matrix.wide) for side in (factors.u, factors.v))
    known = first = (u, v)
    before = -1.0
    for power in _POWERS:
        new = _pass(matrix, u, v, power)
        if not (np.isfinite(new.u).all() and np.isfinite(new.v).all()):
            break
        if new.hits < before + _GAIN:  # of the factors that the pass began with
            break
        (u, v), before = (new.u, new.v), new.hits
        if known is not first:  # whose way to the next ones is no guide
            u, v = (_ahead(n, k) for n, k in zip((u, v), known, strict=True))
        known = new.u, new.v
    return balanced(known[0].astype(np.float64), known[1].astype(np.float64))


def _ahead(new: Floats, old: Floats) -> Floats:
    """Half a step further: steps of rows and columns in turn are too short."""
    return np.asarray(new + new.dtype.type(_MOMENTUM) * (new - old))


@dataclasses.dataclass(frozen=True)
class _Moved:
    u: Floats
    v: Floats
    hits: float


def _pass(matrix: Difference, u: Floats, v: Floats, power: int) -> _Moved:
    """One Newton step of u, and one of v, that reduce the sum of |error / bound|^power; and the
    share of the weights whose error was within the bound of rounding before."""
    moved, columns, rank = np.empty_like(u), len(v), v.shape[1]
    upper = np.triu_indices(rank)
    normal, right = np.zeros((columns, upper[0].size)), np.zeros((columns, rank))
    pairs, hits = v[:, upper[0]] * v[:, upper[1]], 0
    for block in matrix.blocks():
        bound = 1 / (block.half + matrix.half_step(block.difference))
        error = block.difference - u[block.rows] @ v.T
        hits += int(np.count_nonzero(np.abs(error) < block.half))
        weights = _weights(error, bound, power)
        step = _solved(weights @ pairs, (weights * error) @ v, upper)
        ours = moved[block.rows] = u[block.rows] + (step / (power - 1)).astype(u.dtype)
        error = block.difference - ours @ v.T
        weights = _weights(error, bound, power)
        normal += weights.T @ (ours[:, upper[0]] * ours[:, upper[1]])
        right += (weights * error).T @ ours
    step = _solved(normal, right, upper)
    return _Moved(moved, v + (step / (power - 1)).astype(v.dtype), hits / math.prod(matrix.shape))


def _weights(error: Floats, bound: Floats, power: int) -> Floats:
    """Those of the squares of errors; ``bound`` is one over it."""
    squares = np.square(bound)
    return squares if power == 2 else squares * (np.abs(error) * bound) ** (power - 2)


def _solved(normal: Floats, right: Floats, upper: Any) -> Floats:
    """The solutions of many small systems, whose matrices come as their upper triangles."""
    rank = right.shape[1]
    whole = np.empty((len(right), rank, rank))
    whole[:, upper[0], upper[1]] = whole[:, upper[1], upper[0]] = normal
    small = 1e-7 * np.trace(whole, axis1=1, axis2=2) / rank
    whole += np.eye(rank) * (small[:, None, None] + 1e-300)
    return np.linalg.solve(whole, right[:, :, None].astype(np.float64))[:, :, 0]
