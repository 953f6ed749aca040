"""Factors of a matrix at a chosen precision, and the bits that it takes to send them.

A matrix of rank r is the sum of r products of a column u·√σ and a row v·√σ, where σ is a singular
value. Rounding their entries to multiples of c/√σ adds the same error to every product, whatever
its σ. With c = √12 times the rms of the residual, one more bit of precision costs as much as it
saves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.lengths import integer_bits, word_bits

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST = 64
"""The most factors that are tried: a search among more would seldom pay."""

_EXACT = 128  # sides up to this have their singular vectors computed in full
_PART = 1 << 20  # symbols of a large matrix that are numbers of eight bytes at a time
_SPREAD_STEPS = 8  # spreads per octave


class Shifted:
    """A matrix of symbols less a number, as numbers of eight bytes some rows at a time.

    It multiplies as an array does, with sums that may differ by rounding.

    >>> matrix = Shifted(np.uint8([[1, 2], [3, 4]]), 1.0)
    >>> (matrix @ np.eye(2)).tolist(), (matrix.T @ np.eye(2)).tolist(), matrix.energy
    ([[0.0, 1.0], [2.0, 3.0]], [[0.0, 2.0], [1.0, 3.0]], 14.0)
    """

    def __init__(self, symbols: NDArray[Any], middle: float) -> None:
        self._symbols, self._middle = symbols, middle
        self.shape = symbols.shape

    @property
    def T(self) -> _Transposed:
        return _Transposed(self)

    @property
    def energy(self) -> float:
        return math.fsum(float(np.square(rows).sum()) for _, rows in self.parts())

    def __matmul__(self, right: Floats) -> Floats:
        return np.concatenate([rows @ right for _, rows in self.parts()])

    def parts(self) -> Iterator[tuple[slice, Floats]]:
        step = max(1, _PART // self.shape[1])
        for start in range(0, self.shape[0], step):
            place = slice(start, start + step)
            yield place, self._symbols[place] - self._middle


class _Transposed:
    def __init__(self, matrix: Shifted) -> None:
        self._matrix = matrix

    def __matmul__(self, right: Floats) -> Floats:
        total = np.zeros((self._matrix.shape[1], right.shape[1]))
        for place, rows in self._matrix.parts():
            total += rows.T @ right[place]
        return total


def leading(matrix: Any, most: int = MOST) -> tuple[Floats, Floats, Floats]:
    """The leading singular vectors and values: u (rows, r), σ (r), v (columns, r).

    The matrix is an array, or `Shifted`. For large matrices they come from four rounds of subspace
    iteration from a fixed start (Halko, Martinsson & Tropp 2011). Signs are fixed so that the
    largest entry of each u is positive.

    >>> u, values, v = leading(np.outer([3.0, 0.0], [0.0, 4.0]), 1)
    >>> u.tolist(), values.tolist(), v.tolist()
    ([[1.0], [0.0]], [12.0], [[0.0], [1.0]])
    """
    most = min(most, *matrix.shape)
    if min(matrix.shape) > max(_EXACT, 2 * most):
        basis = _row_space(matrix, most + 8)
        u, values, mixed = np.linalg.svd(matrix @ basis, full_matrices=False)
        v = basis @ mixed.T
    else:
        u, values, rows = np.linalg.svd(matrix, full_matrices=False)
        v = rows.T
    u, values, v = u[:, :most], values[:most], v[:, :most]
    peaks = np.abs(u).argmax(axis=0)
    signs = np.where(u[peaks, np.arange(u.shape[1])] < 0, -1.0, 1.0)
    return u * signs, values, v * signs


def _row_space(matrix: Any, size: int) -> Floats:
    """An orthonormal basis that nearly spans the leading right singular vectors."""
    basis = np.random.default_rng(0).normal(size=(matrix.shape[1], size))
    for _ in range(4):
        basis, _ = np.linalg.qr(matrix.T @ np.linalg.qr(matrix @ basis)[0])
    return np.asarray(basis)


def vector_bits(numbers: Integers) -> int:
    """Bits of a vector of integers around 0, by a discretized normal law.

    The code holds the number of low bits that are written plainly (6 bits), the largest magnitude
    of the bits above them (Elias delta), the law's spread in eighths of an octave (8 bits), the
    code word of the upper bits, and the low bits.

    >>> vector_bits(np.array([0, 0, 0])), vector_bits(np.array([1000, -1000, 10, 0]))
    (7, 70)
    """
    if not numbers.any():
        return 6 + integer_bits(0)
    rms = math.sqrt(float(np.square(numbers.astype(np.float64)).mean()))
    plain = max(0, math.floor(math.log2(rms)) - 4)  # 16 to 32 steps resolve the law's shape
    high = numbers >> plain
    most = int(np.abs(high).max())
    best = float(_log2_normal(high, most, -0.5 if plain else 0.0).max())
    return 6 + integer_bits(most) + 8 + word_bits(best) + plain * numbers.size


def _log2_normal(high: Integers, most: int, middle: float) -> Floats:
    """log2 of the probability of integers in [−most, most], for each spread worth a trial."""
    squares = float(np.square(high - middle).sum())
    spreads = _spreads(math.sqrt(squares / high.size))
    grid = np.arange(-most, most + 1, dtype=np.float64) - middle
    logs = -np.square(grid / spreads[:, None]) / 2
    peaks = logs.max(axis=1)
    norms = peaks + np.log(np.exp(logs - peaks[:, None]).sum(axis=1))
    return np.asarray((-squares / np.square(spreads) / 2 - high.size * norms) / math.log(2))


def _spreads(rms: float) -> Floats:
    """Spreads to try, near that of the integers; more of them for a narrow, discrete law."""
    nearest = round(_SPREAD_STEPS * math.log2(max(rms, 0.25)))
    return np.exp2((nearest + np.arange(-1, 5)) / _SPREAD_STEPS)


def leading_memory(shape: tuple[int, int], dense: bool, most: int = MOST) -> int:
    """Bytes that `leading` takes at most beside its matrix, which is an array or `Shifted`."""
    numel, sides = shape[0] * shape[1], shape[0] + shape[1]
    if min(shape) <= max(_EXACT, 2 * most):
        return 8 * (3 * numel + 2 * min(shape) ** 2)
    return 8 * (5 * sides * (most + 8) + (0 if dense else 2 * _PART + 2 * max(shape)))
