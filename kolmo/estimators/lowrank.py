"""The low-rank code: factors of a matrix of symbols, then the residual.

Each tensor of two dimensions or more is a matrix, its first dimension × the rest, of symbols taken
as numbers on a line. The code has these parts:

1. for each tensor its rank r, 0 to 64 (Elias delta), and, where r > 0,
2. for each factor a multiplier M (Elias delta) and two vectors of integers, a for the rows and b
   for the columns, by a discretized normal law (``factors``);
3. for all tensors together the residual symbols, by a KT code.

The residual is (s − p) mod A with p = round(2⁻¹⁶ Σ M·a·b), computed with integers: a decoder on any
machine has the same p. Singular vectors only propose the integers: with another linear algebra
library they may differ slightly, which gives another code that is also a bound. Rank and precision
are those of the shortest code for the tensor; if rank 0 for all tensors is shorter, that is taken.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import kt
from kolmo.codes.lengths import Counts, integer_bits
from kolmo.errors import NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.estimators.counts import ORDER_0_LIMIT
from kolmo.estimators.factors import (
    MOST,
    Floats,
    Integers,
    Shifted,
    leading,
    leading_memory,
    vector_bits,
)
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Shape, Symbols

LIMIT = 1 << 26
"""Most symbols of a matrix."""

DENSE = 1 << 24
"""And most that are held as numbers of eight bytes, all at a time."""

MEMORY = 700 << 20
"""Most bytes that a matrix may take."""

_SHIFT = 16  # binary places of the multipliers
_EXACT = 2.0**52  # integers up to here add up exactly in double precision, in any order
_SIDE = 4  # a matrix with a shorter side has no use for factors
_ROWS = 1 << 20  # symbols whose residual is taken at a time


@register
@dataclasses.dataclass(frozen=True)
class LowRank(Estimator):
    """Integer factors and the residual of the symbols; a bound.

    The alphabet has at most 65,536 symbols, a matrix at most 2^26; up to 64 factors are tried. The
    length exceeds that of ``kt`` by at most one bit a tensor and a few bits. ``details``: the ranks
    (of the first hundred tensors), and the bits of all factors.

    >>> from kolmo import estimate
    >>> random = np.random.default_rng(0)
    >>> weights = random.normal(size=(200, 2)) @ random.normal(size=(2, 300))
    >>> code = estimate(weights, "lowrank", "symmetric:8")
    >>> code.details["ranks"], code.bits < 0.6 * estimate(weights, "kt", "symmetric:8").bits
    ([2], True)
    """

    name = "lowrank"
    kind = "bound"
    summary = "factors of a matrix and its residual, the rank found (quantized weights)"

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        if alphabet.size > ORDER_0_LIMIT:
            raise NotApplicableError(
                f"lowrank: needs symbols that are numbers on a line, at most {ORDER_0_LIMIT:,} of "
                f"them; quantize first, by symmetric:8 say"
            )
        largest = max((math.prod(shape) for shape in shapes), default=0)
        if largest > LIMIT:
            raise NotApplicableError(
                f"lowrank: a tensor of {largest:,} symbols is over its limit of {LIMIT:,}"
            )
        if (memory := self.working_memory(shapes, alphabet)) > MEMORY:
            raise NotApplicableError(
                f"lowrank: a tensor of {largest:,} symbols, a side of which is short, would take "
                f"{memory >> 20:,} MiB"
            )
        return _LowRankAccumulator(shapes, alphabet)

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        matrices = [_as_matrix(shape) for shape in shapes if math.prod(shape)]
        each = (_matrix_memory(matrix, alphabet) for matrix in matrices)
        return max(each, default=0) + 80 * alphabet.size + (1 << 20)


def _as_matrix(shape: Shape) -> tuple[int, int]:
    rows = shape[0] if shape else 1
    return rows, math.prod(shape) // rows


def _matrix_memory(shape: tuple[int, int], alphabet: Alphabet) -> int:
    """Bytes for a matrix: its symbols, the numbers made of them, factors, and a residual."""
    numel = shape[0] * shape[1]
    symbols = numel * alphabet.container.itemsize
    if min(shape) < _SIDE:
        return symbols + 8 * min(numel, _ROWS)
    dense = numel <= DENSE
    residual = 40 * (min(numel, _ROWS) + shape[1])
    factors = 24 * sum(shape) * MOST + leading_memory(shape, dense)
    return symbols + factors + residual + (16 * numel if dense else 0)


class _LowRankAccumulator:
    """Keeps the symbols of one tensor at a time, and the counts of the residuals."""

    def __init__(self, shapes: Sequence[Shape], alphabet: Alphabet) -> None:
        self._numel = sum(math.prod(shape) for shape in shapes)
        self._alphabet = alphabet
        self._plain, self._left = np.zeros((2, alphabet.size), np.int64)
        self._ranks: list[int] = []
        self._side_bits = 0
        self._gatherer = Gatherer(shapes, alphabet.container)

    def update(self, symbols: Symbols) -> None:
        for tensor in self._gatherer.take(symbols):
            self._add(tensor)

    def finish(self) -> CodeLength:
        raw_bits = self._numel * self._alphabet.bits
        if self._numel == 0:
            return CodeLength(0, 0, 0, "bound")
        plain = len(self._ranks) * integer_bits(0) + kt(self._plain).word_bits
        bits = self._side_bits + kt(self._left).word_bits
        if plain <= bits:
            details = {"ranks": [0] * len(self._ranks[:100]), "factor_bits": 0}
            return CodeLength(plain, self._numel, raw_bits, "bound", details)
        details = {"ranks": self._ranks[:100], "factor_bits": self._side_bits}
        return CodeLength(bits, self._numel, raw_bits, "bound", details)

    def _add(self, tensor: Symbols) -> None:
        matrix = tensor.reshape(len(tensor) if tensor.ndim else 1, -1)
        best = min(_codes(matrix, self._alphabet.size), key=lambda code: code.bits)
        self._plain += _counted(tensor.reshape(-1), self._alphabet.size)
        self._left += best.counts
        self._ranks.append(best.rank)
        self._side_bits += best.side_bits


def _counted(symbols: Symbols, size: int) -> Counts:
    """Counts of symbols; `numpy.bincount` takes eight bytes for each that it is given."""
    counts = np.zeros(size, np.int64)
    for start in range(0, symbols.size, _ROWS):
        counts += np.bincount(symbols[start : start + _ROWS], minlength=size)
    return counts


# --- the codes of one matrix ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Code:
    rank: int
    side_bits: int
    counts: Counts

    @property
    def bits(self) -> int:
        return self.side_bits + kt(self.counts).word_bits


def _codes(matrix: Symbols, size: int) -> Iterator[_Code]:
    """Codes of rank 0, then of the promising ranks, each at a few precisions."""
    yield _Code(0, integer_bits(0), _counted(matrix.reshape(-1), size))
    if min(matrix.shape) < _SIDE:
        return
    middle = float(np.rint(matrix.mean()))
    centred = Shifted(matrix, middle) if matrix.size > DENSE else matrix - middle
    u, values, v = leading(centred)
    energy = centred.energy if isinstance(centred, Shifted) else float(np.square(centred).sum())
    for rank, left in _promising(values, energy, matrix.shape):
        for precision in (0, 1):
            step = math.sqrt(12 * left) / 2**precision
            factors = _Factors.rounded(u[:, :rank], values[:rank], v[:, :rank], step)
            if factors.exact:
                yield factors.code(matrix, size)


def _promising(
    values: Floats, energy: float, shape: tuple[int, int]
) -> Iterator[tuple[int, float]]:
    """The four ranks of the least estimated length, each with the mean square of its residual.

    A factor of singular value σ takes about (rows + columns) · log2(σ / c) bits; the residual has
    the entropy of a normal law, or of the rounding error if it is no larger.
    """
    numel, sides = shape[0] * shape[1], shape[0] + shape[1]
    estimated = []
    for rank in range(values.size + 1):
        left = max((energy - float(np.square(values[:rank]).sum())) / numel, 1 / 12)
        levels = values[:rank] / math.sqrt(12 * left * max(shape))
        bits = sides * float(np.log2(1 + 2 * levels).sum() + rank)
        estimated.append((bits + numel / 2 * math.log2(left + 1 / 12), rank, left))
    for _, rank, left in sorted(estimated)[:4]:
        if rank and values[rank - 1] > 1e-9 * values[0]:  # smaller values are rounding noise
            yield rank, left


@dataclasses.dataclass(frozen=True)
class _Factors:
    """Integers a (rows, r) and b (columns, r), and the multipliers M (r)."""

    a: Integers
    b: Integers
    multipliers: Integers

    @classmethod
    def rounded(cls, u: Floats, values: Floats, v: Floats, step: float) -> _Factors:
        scale = values / step
        wanted = np.rint(2.0**_SHIFT * step * step / values)
        multipliers = np.clip(wanted, 1, _EXACT).astype(np.int64)
        a, b = (np.rint(side * scale).astype(np.int64) for side in (u, v))
        return cls(a, b, multipliers)

    @property
    def exact(self) -> bool:
        """Whether every sum of products is exact in double precision, in any order."""
        most = [np.abs(side).max(axis=0).astype(np.float64) for side in (self.a, self.b)]
        return float((most[0] * most[1] * self.multipliers).sum()) < _EXACT

    def code(self, matrix: Symbols, size: int) -> _Code:
        side_bits = integer_bits(self.multipliers.size)
        for a, b, multiplier in zip(self.a.T, self.b.T, self.multipliers.tolist(), strict=True):
            side_bits += integer_bits(multiplier) + vector_bits(a) + vector_bits(b)
        return _Code(self.multipliers.size, side_bits, self._left(matrix, size))

    def _left(self, matrix: Symbols, size: int) -> Counts:
        """Counts of the residual symbols."""
        counts = np.zeros(size, np.int64)
        step = max(1, _ROWS // matrix.shape[1])
        for start in range(0, matrix.shape[0], step):
            residual = matrix[start : start + step] - self.product(start, start + step)
            counts += np.bincount((residual % size).reshape(-1), minlength=size)
        return counts

    def product(self, start: int, stop: int) -> NDArray[np.int64]:
        """The prediction for rows [start, stop): round(2⁻¹⁶ Σ M·a·b), halves up."""
        left = (self.a[start:stop] * self.multipliers).astype(np.float64)
        total = (left @ self.b.T.astype(np.float64)).astype(np.int64)
        return (total + (1 << (_SHIFT - 1))) >> _SHIFT
