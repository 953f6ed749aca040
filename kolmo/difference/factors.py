"""Factors of the difference of two matrices, as precise as the rounding of the tuned one allows.

1. singular vectors of the difference, at the rank of the least estimated length;
2. alternating Newton steps that minimize the sum of powers of the errors, each error relative to
   its rounding bound, with powers growing from 2 to 32 (only if the factors explain all but the
   rounding): rounding errors are bounded, and the bounds constrain factors more than squares do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from kolmo.estimators.factors import leading
from kolmo.floats import (
    Floats,
    Weights,
    least_exponent,
    mantissa_bits,
    neighbours,
)

_ROUNDS = 8  # alternating steps for one power


# --- the pair of matrices ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Pair:
    """Both matrices, their difference, and half the step of the dtype at each tuned weight."""

    base: Floats
    tuned: Weights
    difference: Floats
    half: Floats

    @classmethod
    def of(cls, base: Weights, tuned: Weights) -> Pair | None:
        with np.errstate(all="ignore"):
            wide = base.astype(np.float64)
            difference, half = tuned.astype(np.float64) - wide, cls.halves(tuned)
        if not (np.isfinite(difference).all() and np.isfinite(half).all() and difference.any()):
            return None
        return cls(wide, tuned, difference, half)

    @staticmethod
    def halves(tuned: Weights) -> Floats:
        """Half the step of the dtype at each weight."""
        with np.errstate(all="ignore"):
            (low, high), middle = neighbours(tuned), tuned.astype(np.float64)
            return np.asarray(np.maximum(high - middle, middle - low) / 2)

    @property
    def turned(self) -> Pair:
        """Rows and columns exchanged."""
        return Pair(self.base.T, self.tuned.T, self.difference.T, self.half.T)

    def half_step(self, numbers: Floats) -> Floats:
        """Half the step of the dtype at numbers of this magnitude."""
        exponent = np.frexp(numbers)[1] - 2 - mantissa_bits(self.tuned.dtype)
        return np.asarray(np.ldexp(1.0, np.maximum(exponent, least_exponent(self.tuned.dtype) - 1)))


@dataclasses.dataclass(frozen=True)
class Factors:
    """u (rows, r) and v (columns, r), balanced: both have the root of the singular values."""

    u: Floats
    v: Floats
    values: Floats

    @property
    def turned(self) -> Factors:
        """The factors of the transposed matrix."""
        return Factors(self.v, self.u, self.values)

    @property
    def rank(self) -> int:
        return int(self.values.size)


# --- proposing factors ------------------------------------------------------------------------


def propose(pair: Pair) -> Iterator[Factors]:
    """Factors of the rank of the least estimated length; nothing for rank 0.

    There are factors of two ranks if rounding the product before the addition changes the estimate.
    """
    with np.errstate(over="ignore", under="ignore"):
        floors = [float(np.square(pair.half).mean()) / 3]
        floors.append(floors[0] + float(np.square(pair.half_step(pair.difference)).mean()) / 3)
        energy = float(np.square(pair.difference).sum())
    if not 1e-250 < floors[0] < energy < 1e250:  # squares that float64 does not hold
        return
    u, values, v = leading(pair.difference)
    values = values[values > values[0] * 1e-14]
    ranks = ranks_of(values, energy, floors, pair.tuned.shape)
    for rank, explains in ranks.items():
        root = np.sqrt(values[:rank])
        factors = Factors(u[:, :rank] * root, v[:, :rank] * root, values[:rank])
        yield _refined(pair, factors) if explains else factors


def ranks_of(
    values: Floats, energy: float, floors: Sequence[float], shape: tuple[int, ...]
) -> dict[int, bool]:
    """Ranks of the least estimated length, but 0, and whether these factors explain all but the
    rounding.

    Parameters
    ----------
    values : float64 array
        The leading singular values.
    energy : float
        The sum of the squares of all entries.
    floors : two floats
        The mean square that rounding leaves, without and with rounding of the product.
    """
    left = np.maximum(energy - np.cumsum(np.square(values)), 0) / math.prod(shape)
    ranks = {_rank(values, left, floor, energy, shape): floor for floor in floors}
    if 2 in ranks:  # the second factor may be the rounding error of the first
        ranks.setdefault(1, floors[1])
    return {rank: bool(left[rank - 1] < 4 * floor) for rank, floor in ranks.items() if rank}


def _rank(values: Floats, left: Floats, floor: float, energy: float, shape: tuple[int, ...]) -> int:
    """The rank of the least estimated length; ``floor`` is the mean square that rounding leaves."""
    numel, sides = math.prod(shape), sum(shape)
    lengths = [numel / 2 * math.log2(1 + energy / numel / floor)]
    for rank in range(1, values.size + 1):
        rest = max(float(left[rank - 1]) - floor, 0)
        step = math.sqrt(12 * max(rest, floor / 100) * max(shape))
        levels = np.log2(1 + 4 * values[:rank] / step).sum()
        lengths.append(numel / 2 * math.log2(1 + rest / floor) + sides * float(levels))
    return int(np.argmin(lengths))


def _refined(pair: Pair, factors: Factors) -> Factors:
    """The best of several attempts at factors whose product rounds to more of the tuned weights.

    There are two kinds of bounds: the product may have been rounded before the addition, or not.
    """
    sums, products = pair.half, pair.half_step(pair.difference)
    squares = _least(pair, factors, sums + products, 2)
    attempts = [factors, squares, _least(pair, squares, sums + products, 4)]
    near = squares
    for power in (4, 8, 16, 32):
        near = _least(pair, near, np.maximum(sums, products), power)
        attempts.append(near)
    best = max(attempts, key=lambda f: exact_share(pair, f))
    return factors if best is factors else balanced(best.u, best.v)


def _least(pair: Pair, factors: Factors, bound: Floats, power: int) -> Factors:
    """Factors with a smaller sum of |error / bound|^power; the given ones if none is smaller."""
    u, v = factors.u, factors.v
    for _ in range(_ROUNDS):
        u = _nearer(pair.difference, bound, u, v, power)
        v = _nearer(pair.difference.T, bound.T, v, u, power)
    if not (np.isfinite(u).all() and np.isfinite(v).all()):
        return factors
    return Factors(u, v, factors.values)


def _nearer(difference: Floats, bound: Floats, u: Floats, v: Floats, power: int) -> Floats:
    """The u of a Newton step that reduces the sum of |error / bound|^power.

    Rounding errors are uniform within their bounds. The higher the power, the more the largest
    error dominates the sum. Its minimum then lies midway between bounds, which determines each
    number to about 1 / n, where least squares reach 1 / √n.
    """
    error = difference - u @ v.T
    share = np.abs(error) / bound
    top = share.max(axis=1, keepdims=True) + 1e-300
    weights = (share / top) ** (power - 2) / np.square(bound)
    rank = v.shape[1]
    pairs = (v[:, :, None] * v[:, None, :]).reshape(len(v), -1)
    normal = (weights @ pairs).reshape(-1, rank, rank)
    normal += np.eye(rank) * (1e-13 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-300)
    step = np.linalg.solve(normal, ((weights * error) @ v)[:, :, None])[:, :, 0]
    return np.asarray(u + step / (power - 1))


def exact_share(pair: Pair, factors: Factors) -> float:
    """The share of the weights that base + product rounds to, the product rounded before or not."""
    product, dtype = factors.u @ factors.v.T, pair.tuned.dtype
    with np.errstate(all="ignore"):
        totals = (pair.base + p for p in (product, product.astype(dtype).astype(np.float64)))
        return max(float((total.astype(dtype) == pair.tuned).mean()) for total in totals)


def balanced(u: Floats, v: Floats) -> Factors:
    """The same product from orthogonal factors, like singular vectors."""
    (qu, ru), (qv, rv) = np.linalg.qr(u), np.linalg.qr(v)
    left, values, right = np.linalg.svd(ru @ rv.T)
    root = np.sqrt(values)
    return Factors(qu @ left * root, qv @ right.T * root, values)
