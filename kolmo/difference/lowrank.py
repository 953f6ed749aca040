"""The low-rank code of a difference: factors, and the rest of the tuned bit patterns.

A low-rank update, tuned = base + U·Vᵀ rounded to the weights' dtype, is hidden in two ways: the
rounding is far coarser than the update's own digits, and U and V are unknown. The code searches for
factors that predict the tuned weights to the last bit nearly everywhere:

1. factors from the bounds that rounding sets (`kolmo.difference.factors`), and of a single pair of
   vectors those of the weights' own dtype (`kolmo.difference.rankone`);
2. factors rounded to multiples of powers of two, at the precision of the least length;
3. the prediction base + product, rounded to the dtype; then, by the digits code, how many numbers
   of the dtype lie between the tuned weight and the prediction, those on the side of the nearer
   rounding boundary first. Its contexts are the distance of that boundary and the dtype's step.

Results, as bits over those of the factors' numbers, on normal weights of standard deviation .05.
Rank 1, numbers of the weights' own dtype, matrices of 256×256 and more: .84 to .88 for
float32, .69 to .76 for bfloat16, .88 to .94 for float16, whatever the update's size and whether the
product was rounded before it was added. More factors, in float32: an update that is rounded once,
when it is added, costs .9 to 1.14 where its own deviation is .01 or less (up to 1.25 at .1). A
product that was rounded before, and at each of its r additions, as a matrix product in float32 is,
costs as little only where it is much smaller than the weights: .8 to 1.2 at .003, 1.0 to 1.5 at
.01, 1.1 to 2.5 at .1. Those roundings depend on the factors that were used, which the product
determines only up to an invertible matrix.

Exact arithmetic: the factors are float64 numbers that are sent exactly; their products are added
factor by factor, in order, each operation rounded to float64 as IEEE 754 says, so that a decoder on
any machine makes the same prediction. Singular vectors and least squares only propose factors.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import Chance, all_of, kt
from kolmo.codes.lengths import integer_bits
from kolmo.difference.digits import digits
from kolmo.difference.factors import Factors, Pair, propose
from kolmo.difference.rankone import PairView, dtype_factors
from kolmo.estimators.factors import vector_bits
from kolmo.floats import (
    Floats,
    Unsigned,
    Weights,
    is_float,
    mantissa_bits,
    neighbours,
    ordered,
    zigzag,
)

LIMIT = 1 << 24
"""Most weights of a matrix: about twelve numbers of eight bytes are kept for each."""

_SIDE = 4  # a matrix with a shorter side has no use for factors
HEADER = 12 + 3  # bits of the contexts' scale, and of the forms of factors and prediction
_EXPONENT = 12  # bits of a factor's power of two
_NEAR, _COARSE = 16, 12  # levels of the contexts
CONTEXTS = _NEAR * _COARSE


@dataclasses.dataclass(frozen=True)
class Found:
    """A low-rank code.

    Attributes
    ----------
    bits : int
    rank : int
    factor_bits : int
        Bits of the factors, a part of ``bits``.
    exact : float
        Share of the weights that the factors alone predict to the last bit.
    """

    bits: int
    rank: int
    factor_bits: int
    exact: float


def lowrank_code(base: Weights, tuned: Weights) -> Found | None:
    """The shortest low-rank code of the tuned weights; None if no rank is promising.

    Parameters
    ----------
    base, tuned : ndarrays of one shape and one floating-point dtype
        Tensors of more than two dimensions are matrices of their first × the rest.
    """
    if not is_float(tuned.dtype) or tuned.ndim < 2 or tuned.size > LIMIT:
        return None
    rows = tuned.shape[0]
    pair = Pair.of(base.reshape(rows, -1), tuned.reshape(rows, -1))
    if pair is None or min(tuned.shape[0], pair.tuned.shape[1]) < _SIDE:
        return None
    codes = []
    for factors in propose(pair):
        codes.append(_finest(pair, factors))
        if factors.rank > 1:
            continue
        numbers = dtype_factors(PairView(pair), PairView(pair.turned), factors)
        if numbers:
            codes.append(_coded(pair, dtype_bits(pair.tuned.dtype, numbers), numbers.u, numbers.v))
    return min(codes, key=lambda code: code.bits, default=None)


# --- coding with them -------------------------------------------------------------------------


def _finest(pair: Pair, factors: Factors) -> Found:
    """The code at the best precision: a descent by octaves from the one that theory proposes."""
    rows, columns = pair.tuned.shape
    left = pair.difference - factors.u @ factors.v.T
    floor = float(np.square(pair.half).mean())
    rest = max(float(np.square(left).mean()) - floor, floor / 100)
    octave = round(math.log2(math.sqrt(12 * rest / factors.rank / (1 / rows + 1 / columns))))
    tried = {octave: _coded(pair, *rounded_factors(factors, octave))}
    for direction in (-1, 1):
        place = octave + direction
        while True:
            tried[place] = _coded(pair, *rounded_factors(factors, place))
            if tried[place].bits >= tried[place - direction].bits:
                break
            place += direction
    return min(tried.values(), key=lambda code: code.bits)


def _coded(pair: Pair, bits: int, u: Floats, v: Floats) -> Found:
    """The whole code with these factors, the bits of the factors included."""
    product, unit = product_of(u, v), math.frexp(float(np.median(pair.half)))[1]
    lengths = []
    for rounded in (False, True):
        prediction = Prediction.of(pair.base, product, pair.tuned.dtype, unit, rounded)
        away = prediction.away(pair.tuned)
        words = [digits(away, prediction.contexts).word_bits]
        if rounded:
            words.append(_gridded(away, prediction).word_bits)
        lengths.append((min(words), float((away == 0).mean())))
    best, exact = min(lengths)
    return Found(bits + HEADER + best, u.shape[1], bits, exact)


def rounded_factors(factors: Factors, octave: int) -> tuple[int, Floats, Floats]:
    """Bits of the factors as integer multiples of powers of two, and the numbers themselves."""
    bits = integer_bits(factors.rank)
    sides: tuple[list[Floats], list[Floats]] = ([], [])
    for i, exponent in enumerate(exponents_of(factors, octave).tolist()):
        bits += _EXPONENT
        for side, vectors in zip(sides, (factors.u, factors.v), strict=True):
            integers = np.rint(np.ldexp(vectors[:, i], -exponent)).astype(np.int64)
            bits += vector_bits(integers)
            side.append(np.ldexp(integers.astype(np.float64), exponent))
    return bits, np.stack(sides[0], axis=1), np.stack(sides[1], axis=1)


def exponents_of(factors: Factors, octave: int) -> NDArray[np.int64]:
    """The exponent of two of which each factor's numbers are multiples: the finer, the larger its
    singular value."""
    return np.array([octave - round(math.log2(value) / 2) for value in factors.values.tolist()])


def dtype_bits(dtype: np.dtype[Any], factors: Factors) -> int:
    """Bits of factors that are numbers of the dtype, up to a power of two: exponents by a KT code
    (zeros have one of their own), signs and mantissas as they are."""
    bits, digits = integer_bits(factors.rank), mantissa_bits(dtype) + 1
    for vector in (*factors.u.T, *factors.v.T):
        exponents = np.frexp(vector)[1][vector != 0]
        counts = np.bincount(exponents.max(initial=-5000) - exponents)  # none, of a zero vector
        bits += _EXPONENT + integer_bits(counts.size) + digits * exponents.size
        bits += kt(np.append(counts, vector.size - exponents.size)).word_bits
    return bits


def product_of(u: Floats, v: Floats) -> Floats:
    """u·vᵀ, factor by factor, each product and each sum rounded to float64."""
    total = np.multiply.outer(u[:, 0], v[:, 0])
    for i in range(1, u.shape[1]):
        total += np.multiply.outer(u[:, i], v[:, i])
    return total


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The decoder's knowledge of the tuned weights before it reads their distances.

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
    ) -> Prediction:
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
            if rounded:  # if the product's step is coarser, its own rounding decides
                own = _rounding(product, product.astype(dtype))
                down, up = (
                    np.where(finer > 0, a, b) for a, b in zip(own, (down, up), strict=False)
                )
            contexts = _levels(np.minimum(down, up), step, unit)
        return cls(predicted, down < up, contexts, np.clip(finer, 0, 8 * dtype.itemsize - 2))

    def away(self, tuned: Weights) -> Unsigned:
        """The distance from the prediction in numbers of the dtype, as zigzag; odd ones lie
        towards the boundary."""
        steps = ordered(tuned) - ordered(self.predicted)
        return zigzag(np.where(self.low, steps, -steps))


def _rounding(numbers: Floats, rounded: Weights) -> tuple[Floats, Floats, Floats]:
    """The distances of the rounding boundaries below and above, and the step of the dtype."""
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


def _gridded(away: Unsigned, prediction: Prediction) -> Chance:
    """The probability with steps of the product as the unit wherever they are coarser.

    A flag for each such weight says whether its distance is a whole number of these steps.
    """
    fewer, whole = fewer_steps(away, prediction.shift)
    coarse = prediction.shift > 0
    flags = np.array([np.count_nonzero(coarse & whole), np.count_nonzero(coarse & ~whole)])
    state = np.where(coarse, np.where(whole, 1, 2), 0)
    numbers = np.where(whole, fewer, away)
    return all_of([kt(flags), digits(numbers, prediction.contexts + state * CONTEXTS)])


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
