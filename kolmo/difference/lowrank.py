"""The low-rank code of a difference: factors, and what they leave of the tuned bit patterns.

A low-rank update, tuned = base + U·Vᵀ rounded to the weights' dtype, is hidden in two ways: the
rounding, which is far coarser than the update's own digits, and that nobody sends U and V. The code
finds factors that explain the tuned weights to the last bit nearly everywhere:

1. singular vectors of the difference, at the rank of the least estimated length;
2. alternating Newton steps towards the least sum of powers of the errors, each relative to what
   rounding can be at most, the power growing from 2 to 32 (only where the factors explain all but
   the rounding): errors of rounding have bounds, and these say more than the errors' squares;
3. factors rounded to multiples of powers of two, at the precision of the least length;
4. the prediction base + product, rounded to the dtype; then, by the digits code, how many numbers
   of the dtype the tuned weight is away from it, towards the nearer boundary of rounding first. Its
   contexts are how near that boundary is, and how coarse the dtype is there.

What it reaches, in bits over 32 bits for each number of the factors, on normal float32 weights of
standard deviation .05: an update that is rounded once, when it is added, costs .9 to 1.13 where its
own deviation is .01 or less and its rank 2 or more (up to 1.25 at .1), and 1.0 to 1.23 at rank 1
(up to 1.35). A product that was rounded before, and at each of its r additions, as a matrix product
in float32 is, costs as little only where it is much smaller than the weights: .8 to 1.2 at .003,
1.0 to 1.5 at .01, 1.1 to 2.5 at .1. Those roundings depend on the factors that were used, and from
the product these are known but for an invertible matrix; in the last bits they cannot be had.

Exact arithmetic: the factors are float64 numbers that are sent exactly; their products are added
factor by factor, in order, each operation rounded to float64 as IEEE 754 says, so that a decoder on
any machine makes the same prediction. Singular vectors and least squares only propose factors.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.arithmetic import (
    Floats,
    Unsigned,
    Weights,
    is_float,
    mantissa_bits,
    neighbours,
    ordered,
    zigzag,
)
from kolmo.difference.digits import digits_log2
from kolmo.estimators.factors import leading, vector_bits
from kolmo.estimators.mdl import integer_bits, kt_log2, word_bits

LIMIT = 1 << 24
"""Weights of a matrix at most: some twelve numbers of eight bytes are kept for each."""

_SIDE = 4  # a matrix with a shorter side has no use for factors
_ROUNDS = 8  # of alternating steps towards the least sum of one power
_HEADER = 12 + 2  # the scale of the contexts, and which form the prediction has
_EXPONENT = 12  # bits of a factor's power of two
_NEAR, _COARSE = 16, 12  # levels of the contexts


@dataclasses.dataclass(frozen=True)
class Found:
    """The shortest low-rank code that was found.

    Attributes
    ----------
    bits : int
    rank : int
    factor_bits : int
        What of the bits is the factors'.
    exact : float
        Share of the weights that the factors alone predict to the last bit.
    """

    bits: int
    rank: int
    factor_bits: int
    exact: float


def lowrank_code(base: Weights, tuned: Weights) -> Found | None:
    """The low-rank code of the tuned weights; None where there is none, or no rank is promising.

    Parameters
    ----------
    base, tuned : ndarrays of one shape and one floating-point dtype
        Tensors of more than two dimensions are matrices of their first × the rest.
    """
    if not is_float(tuned.dtype) or tuned.ndim < 2 or tuned.size > LIMIT:
        return None
    rows = tuned.shape[0]
    pair = _Pair.of(base.reshape(rows, -1), tuned.reshape(rows, -1))
    if pair is None or min(tuned.shape[0], pair.tuned.shape[1]) < _SIDE:
        return None
    found = [_finest(pair, factors) for factors in _propose(pair)]
    return min(found, key=lambda code: code.bits, default=None)


# --- the pair of matrices ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Both matrices, their difference, and half the step of the dtype at each tuned weight."""

    base: Floats
    tuned: Weights
    difference: Floats
    half: Floats

    @classmethod
    def of(cls, base: Weights, tuned: Weights) -> _Pair | None:
        with np.errstate(all="ignore"):
            wide = base.astype(np.float64)
            difference = tuned.astype(np.float64) - wide
            low, high = neighbours(tuned)
            half = (high - low) / 4
        if not (np.isfinite(difference).all() and np.isfinite(half).all() and difference.any()):
            return None
        return cls(wide, tuned, difference, half)

    def half_step(self, numbers: Floats) -> Floats:
        """Half the step of the dtype at numbers of this magnitude."""
        exponent = np.frexp(numbers)[1] - 2 - mantissa_bits(self.tuned.dtype)
        return np.asarray(np.ldexp(1.0, np.maximum(exponent, -1000)))


@dataclasses.dataclass(frozen=True)
class _Factors:
    """u (rows, r) and v (columns, r), balanced: both have the root of the singular values."""

    u: Floats
    v: Floats
    values: Floats

    @property
    def rank(self) -> int:
        return int(self.values.size)


# --- proposing factors ------------------------------------------------------------------------


def _propose(pair: _Pair) -> Iterator[_Factors]:
    """Factors of the rank of the least estimated length; nothing for rank 0.

    Of two ranks, where what the product loses if it is rounded before it is added changes it.
    """
    with np.errstate(over="ignore", under="ignore"):
        floors = [float(np.square(pair.half).mean()) / 3]
        floors.append(floors[0] + float(np.square(pair.half_step(pair.difference)).mean()) / 3)
        energy = float(np.square(pair.difference).sum())
    if not 1e-250 < floors[0] < energy < 1e250:  # squares that float64 does not hold
        return
    u, values, v = leading(pair.difference)
    values = values[values > values[0] * 1e-14]
    left = np.maximum(energy - np.cumsum(np.square(values)), 0) / pair.difference.size
    ranks = {_rank(values, left, floor, energy, pair.difference.shape): floor for floor in floors}
    for rank, floor in ranks.items():
        if rank:
            root = np.sqrt(values[:rank])
            factors = _Factors(u[:, :rank] * root, v[:, :rank] * root, values[:rank])
            yield _refined(pair, factors) if left[rank - 1] < 4 * floor else factors


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


def _refined(pair: _Pair, factors: _Factors) -> _Factors:
    """Factors whose product rounds to the tuned weights at more places: the best of the attempts.

    The product was rounded before it was added, or it was not: bounds of two kinds.
    """
    sums, products = pair.half, pair.half_step(pair.difference)
    squares = _least(pair, factors, sums + products, 2)
    found = [factors, squares, _least(pair, squares, sums + products, 4)]
    near = squares
    for power in (4, 8, 16, 32):
        near = _least(pair, near, np.maximum(sums, products), power)
        found.append(near)
    best = max(found, key=lambda f: _exact(pair, f))
    return factors if best is factors else _balanced(best.u, best.v)


def _least(pair: _Pair, factors: _Factors, bound: Floats, power: int) -> _Factors:
    """Factors of a lesser sum of |error / bound| to a power; the same where there are none."""
    u, v = factors.u, factors.v
    for _ in range(_ROUNDS):
        u = _nearer(pair.difference, bound, u, v, power)
        v = _nearer(pair.difference.T, bound.T, v, u, power)
    if not (np.isfinite(u).all() and np.isfinite(v).all()):
        return factors
    return _Factors(u, v, factors.values)


def _nearer(difference: Floats, bound: Floats, u: Floats, v: Floats, power: int) -> Floats:
    """The u of a Newton step towards the least sum of |error / bound| to a power.

    Errors of rounding are spread evenly up to their bounds. The higher the power, the nearer the
    sum is to the largest of them, and the middle between bounds is found as precisely as they are
    near each other: by 1 / n where least squares have 1 / √n.
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


def _exact(pair: _Pair, factors: _Factors) -> float:
    """The share of the weights that base + product rounds to, the product rounded before or not."""
    product, dtype = factors.u @ factors.v.T, pair.tuned.dtype
    with np.errstate(all="ignore"):
        totals = (pair.base + p for p in (product, product.astype(dtype).astype(np.float64)))
        return max(float((total.astype(dtype) == pair.tuned).mean()) for total in totals)


def _balanced(u: Floats, v: Floats) -> _Factors:
    """The same product from orthogonal factors, as singular vectors are."""
    (qu, ru), (qv, rv) = np.linalg.qr(u), np.linalg.qr(v)
    left, values, right = np.linalg.svd(ru @ rv.T)
    root = np.sqrt(values)
    return _Factors(qu @ left * root, qv @ right.T * root, values)


# --- coding with them -------------------------------------------------------------------------


def _finest(pair: _Pair, factors: _Factors) -> Found:
    """The code at the best precision: from the one that theory proposes, downhill by octaves."""
    rows, columns = pair.tuned.shape
    left = pair.difference - factors.u @ factors.v.T
    floor = float(np.square(pair.half).mean())
    rest = max(float(np.square(left).mean()) - floor, floor / 100)
    octave = round(math.log2(math.sqrt(12 * rest / factors.rank / (1 / rows + 1 / columns))))
    tried = {octave: _coded(pair, factors, octave)}
    for direction in (-1, 1):
        place = octave + direction
        while True:
            tried[place] = _coded(pair, factors, place)
            if tried[place].bits >= tried[place - direction].bits:
                break
            place += direction
    return min(tried.values(), key=lambda found: found.bits)


def _coded(pair: _Pair, factors: _Factors, octave: int) -> Found:
    """The whole code with factors at one precision."""
    bits, u, v = _rounded(factors, octave)
    product, unit = _product(u, v), math.frexp(float(np.median(pair.half)))[1]
    lengths = []
    for rounded in (False, True):
        prediction = _Prediction.of(pair.base, product, pair.tuned.dtype, unit, rounded)
        away = prediction.away(pair.tuned)
        log2 = digits_log2(away, prediction.contexts)
        if rounded:
            log2 = max(log2, _gridded_log2(away, prediction))
        lengths.append((word_bits(log2), float((away == 0).mean())))
    best, exact = min(lengths)
    return Found(bits + _HEADER + best, factors.rank, bits, exact)


def _rounded(factors: _Factors, octave: int) -> tuple[int, Floats, Floats]:
    """Bits of the factors as integer multiples of powers of two, and the numbers themselves."""
    bits = integer_bits(factors.rank)
    sides: tuple[list[Floats], list[Floats]] = ([], [])
    for i, value in enumerate(factors.values.tolist()):
        exponent = octave - round(math.log2(value) / 2)
        bits += _EXPONENT
        for side, vectors in zip(sides, (factors.u, factors.v), strict=True):
            integers = np.rint(np.ldexp(vectors[:, i], -exponent)).astype(np.int64)
            bits += vector_bits(integers)
            side.append(np.ldexp(integers.astype(np.float64), exponent))
    return bits, np.stack(sides[0], axis=1), np.stack(sides[1], axis=1)


def _product(u: Floats, v: Floats) -> Floats:
    """u·vᵀ, factor by factor, each product and each sum rounded to float64."""
    total = np.multiply.outer(u[:, 0], v[:, 0])
    for i in range(1, u.shape[1]):
        total += np.multiply.outer(u[:, i], v[:, i])
    return total


@dataclasses.dataclass(frozen=True)
class _Prediction:
    """What the decoder knows of the tuned weights before it reads how far they are away.

    Attributes
    ----------
    predicted : weights
    low : bool array
        Whether the nearer boundary of rounding is the lower one.
    contexts : int64 array
    shift : int64 array
        By how many octaves the step of the product is coarser than that of the weight.
    """

    predicted: Weights
    low: NDArray[np.bool_]
    contexts: NDArray[np.int64]
    shift: NDArray[np.int64]

    @classmethod
    def of(
        cls, base: Floats, product: Floats, dtype: np.dtype[Any], unit: int, rounded: bool
    ) -> _Prediction:
        """Base + product; ``rounded``: the product is rounded to the dtype before it is added, as
        a program in that dtype would. ``unit``: the exponent that the contexts are relative to."""
        with np.errstate(all="ignore"):
            added = product.astype(dtype).astype(np.float64) if rounded else product
            total = base + added
            predicted = total.astype(dtype)
            down, up, step = _rounding(total, predicted)
            middle = predicted.astype(np.float64)
            finer = np.frexp(np.nan_to_num(added))[1] - np.frexp(np.nan_to_num(middle))[1]
            finer = np.where((added == 0) | (middle == 0), 0, finer).astype(np.int64)
            if rounded:  # where the product is the coarser, its own rounding is what may flip
                own = _rounding(product, product.astype(dtype))
                down, up = (
                    np.where(finer > 0, a, b) for a, b in zip(own, (down, up), strict=False)
                )
            contexts = _levels(np.minimum(down, up), step, unit)
        return cls(predicted, down < up, contexts, np.clip(finer, 0, 8 * dtype.itemsize - 2))

    def away(self, tuned: Weights) -> Unsigned:
        """How many numbers of the dtype away, as zigzag; odd ones are towards the boundary."""
        steps = ordered(tuned) - ordered(self.predicted)
        return zigzag(np.where(self.low, steps, -steps))


def _rounding(numbers: Floats, rounded: Weights) -> tuple[Floats, Floats, Floats]:
    """How far the boundaries of rounding are, below and above, and the step of the dtype."""
    below, above = neighbours(rounded)
    middle = rounded.astype(np.float64)
    return numbers - (below + middle) / 2, (above + middle) / 2 - numbers, (above - below) / 2


def _levels(near: Floats, step: Floats, unit: int) -> NDArray[np.int64]:
    """Contexts: how near the boundary is, in half octaves, and how coarse the dtype, in octaves."""
    fraction, exponent = np.frexp(np.abs(np.nan_to_num(near)))
    halves = 2 * (exponent - unit) + (fraction > 0.7071067811865476) + _NEAR - 4
    octaves = np.frexp(np.nan_to_num(step))[1] - unit + _COARSE - 4
    coarse = np.clip(octaves, 0, _COARSE - 1)
    return np.asarray(np.clip(halves, 0, _NEAR - 1) * _COARSE + coarse, np.int64)


def _gridded_log2(away: Unsigned, prediction: _Prediction) -> float:
    """log2 of the probability where steps of the product, if coarser, are the unit.

    A flag says of each such weight whether it is a whole number of those steps away.
    """
    fewer, whole = fewer_steps(away, prediction.shift)
    coarse = prediction.shift > 0
    flags = np.array([np.count_nonzero(coarse & whole), np.count_nonzero(coarse & ~whole)])
    kind = np.where(coarse, np.where(whole, 1, 2), 0)
    numbers = np.where(whole, fewer, away)
    return kt_log2(flags) + digits_log2(numbers, prediction.contexts + kind * _NEAR * _COARSE)


def fewer_steps(away: Unsigned, shift: NDArray[np.int64]) -> tuple[Unsigned, NDArray[np.bool_]]:
    """Zigzag numbers in units of 2^shift, and whether they are whole ones.

    >>> [part.tolist() for part in fewer_steps(np.uint8([0, 7, 8, 8]), np.array([2, 2, 2, 0]))]
    [[0, 1, 2, 8], [True, True, True, True]]
    """
    one = away.dtype.type(1)
    odd, units = away & one, shift.astype(away.dtype)
    magnitude = (away >> one) + odd
    fewer = magnitude >> units
    numbers = np.where(fewer == 0, 0, (fewer << one) - odd).astype(away.dtype)
    return numbers, (fewer << units) == magnitude
