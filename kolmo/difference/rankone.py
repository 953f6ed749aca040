"""Rank one: vectors of numbers of the weights' dtype, as a training program would hold them.

u·vᵀ fixes u and v up to one common factor. Averaged over the n weights that depend on it, each
number is known to about 1/n of a rounding step: finer than the dtype itself. The common factor has
2^23 candidates in float32, the mantissas of a vector's largest number; each candidate fixes all
other numbers, and hardly any but the right one makes all of them float32. Small numbers, whose last
digits rounding hides, are then moved to where they predict the most weights. Once the vectors are
known to the last bit, the product costs nothing more.

Higher ranks are fixed only up to an invertible matrix, and cannot be searched in this way.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.factors import Factors, Pair
from kolmo.floats import Floats, mantissa_bits

_DIGITS = 24  # most digits of a mantissa: there is a candidate for each of its values
_CHUNK, _KEPT = 1 << 20, 1 << 9  # candidates at a time, and how many of them are compared in full
_FAR = 0.25  # a candidate is ruled out this many steps from a number of the dtype
_LARGEST = 64  # numbers that decide between candidates
_ROUNDS = 3  # rounds of moving the numbers of each vector
_MOVES = (-1, 1, -2, 2, -3, 3)  # steps of a move
_ENOUGH = 0.998  # share of the weights that the right vectors predict


@dataclasses.dataclass(frozen=True)
class PairView:
    """All rows of some columns of a pair, on which the numbers of u are moved; ``columns`` says of
    which. None holds no difference at all."""

    pair: Pair | None
    columns: Any = dataclasses.field(default_factory=lambda: slice(None))


def dtype_factors(tall: PairView, wide: PairView, factors: Factors) -> Factors | None:
    """Vectors of rank one that are numbers of the weights' dtype, up to a power of two.

    None if there would be too many candidates. The vectors need not be the right ones: they are the
    best of four attempts, from either vector, with the product rounded before the addition or not.

    Parameters
    ----------
    tall, wide : PairView
        Of the matrix for u, and of the transposed one for v.
    """
    if tall.pair is None or wide.pair is None:
        return None
    digits = mantissa_bits(tall.pair.tuned.dtype) + 1
    if digits > _DIGITS:
        return None
    best, most = None, -1.0
    for across, rounded in itertools.product((False, True), (False, True)):
        one, other = (wide, tall) if across else (tall, wide)
        first = _first(factors.turned if across else factors, digits)
        moved, share = _moved(one, other, first, digits, rounded)
        if share > most:
            best, most = moved.turned if across else moved, share
        if share > _ENOUGH:
            break
    return best


def _first(factors: Factors, digits: int) -> Factors:
    """One vector rounded to numbers of ``digits`` digits and the other scaled to match, up to a
    power of two."""
    u, v = factors.u[:, 0], factors.v[:, 0]
    numbers, largest = round_to_digits(v, digits), np.abs(v).argmax()
    scaled = u * (v[largest] / numbers[largest])
    octave = round(math.log2(np.linalg.norm(numbers) / np.linalg.norm(scaled)) / 2)  # norms alike
    columns = np.ldexp(scaled, octave)[:, None], np.ldexp(numbers, -octave)[:, None]
    return Factors(_nearest(columns[0], digits), columns[1], factors.values)


def _moved(
    tall: PairView, wide: PairView, factors: Factors, digits: int, rounded: bool
) -> tuple[Factors, float]:
    """Each number moved by a few steps to where it predicts the most weights; their share."""
    assert wide.pair is not None
    hits = np.array(0)
    for _ in range(_ROUNDS):
        u, _ = _better(tall, factors, digits, rounded)
        turned = dataclasses.replace(factors, u=u).turned
        v, hits = _better(wide, turned, digits, rounded)
        factors = Factors(u, v, factors.values)
    return factors, int(hits.sum()) / wide.pair.tuned.size


def _better(
    view: PairView, factors: Factors, digits: int, rounded: bool
) -> tuple[Floats, NDArray[np.int64]]:
    """The best u for this v, number by number, and how many weights each predicts."""
    assert view.pair is not None
    u, step = factors.u, np.ldexp(1.0, np.frexp(factors.u)[1] - digits)
    v = factors.v[view.columns]
    best, most = u.copy(), _hits(view.pair, u, v, rounded)
    for move in _MOVES:
        tried = _nearest(u + move * step, digits)  # steps are wider beyond a power of two
        hits = _hits(view.pair, tried, v, rounded)
        best = np.where((hits > most)[:, None], tried, best)
        most = np.maximum(hits, most)
    return best, most


def _hits(pair: Pair, u: Floats, v: Floats, rounded: bool) -> NDArray[np.int64]:
    """The number of weights in each row to which base + u·vᵀ rounds."""
    with np.errstate(all="ignore"):
        product = u * v.T
        if rounded:
            product = product.astype(pair.tuned.dtype).astype(np.float64)
        predicted = (pair.base + product).astype(pair.tuned.dtype)
    return np.asarray((predicted == pair.tuned).sum(axis=1))


# --- one vector -------------------------------------------------------------------------------


def round_to_digits(vector: Floats, digits: int) -> Floats:
    """The multiple of a vector that rounding to ``digits`` binary digits changes least, rounded.

    Parameters
    ----------
    vector : float64 array (n), not all zero
    digits : int
        Digits of the mantissas, the first one included.

    Returns
    -------
    float64 array (n)

    Examples
    --------
    >>> numbers = np.array([1.5, -9, 13, 12, 14, 1.75])  # of 4 digits
    >>> (round_to_digits(numbers / 3, 4) / numbers).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    largest = np.argsort(-np.abs(vector), kind="stable")[:_LARGEST]
    ratios = vector[largest] / vector[largest[0]]
    low = 1 << (digits - 1)
    chunks = [
        _not_far(np.arange(start, min(start + _CHUNK, 2 * low), dtype=np.float64), ratios, digits)
        for start in range(low, 2 * low, _CHUNK)
    ]
    candidates = np.concatenate(chunks)
    off = np.square(_off(np.multiply.outer(candidates, ratios), digits)).sum(axis=1)
    return _nearest(vector * (candidates[off.argmin()] / vector[largest[0]]), digits)


def _not_far(candidates: Floats, ratios: Floats, digits: int) -> Floats:
    """A few candidates whose first multiples are nearly numbers of ``digits`` digits."""
    for ratio in ratios:
        near = np.abs(_off(candidates * ratio, digits)) < _FAR
        if candidates.size <= _KEPT or not near.any():
            break
        candidates = candidates[near]
    return candidates[:_KEPT]


def _nearest(numbers: Floats, digits: int) -> Floats:
    return np.asarray(numbers - np.ldexp(_off(numbers, digits), np.frexp(numbers)[1] - digits))


def _off(numbers: Floats, digits: int) -> Floats:
    """The distance of each number from the nearest one of ``digits`` digits, in its own steps."""
    mantissas = np.frexp(numbers)[0] * (1 << digits)
    return np.asarray(mantissas - np.rint(mantissas))
