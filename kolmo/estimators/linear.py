"""The linear code: each weight is predicted from those before it in its row, as rows have shown it.

A prequential Gaussian code (Dawid 1984) with covariance between columns. Each tensor is a matrix,
its first dimension × the rest, or the transpose of it (one bit says which); vectors are a column.
The symbols x of a row follow each other, and

1. G = Σ x·xᵀ over the N rows so far, each divided by its root mean square, and
   C = (1 − λ)·G / N + λ·diag; L is the Cholesky factor of C, z = L⁻¹·x;
2. the mean of x_j is x_j − L_jj·z_j, which takes the x before it and no other, its scale
   L_jj · √((8·r² + Σ z_i²) / (8 + j)) over the i < j, with r² the mean of z² of the last rows;
3. its probability is what a t law with six degrees of freedom gives the interval that is rounded to
   it: one of a level's width, or that of a float.

Four such laws, with λ = 0.05, 0.3 and 0.8, times columns / N where that is less, and 1, are mixed
with the frequencies of all symbols so far (of floats those of sign and exponent) by Bayes' rule;
2⁻¹² of the weights is redistributed after each symbol (Herbster & Warmuth 1998). L is found anew
whenever there are a quarter more rows. Columns beyond 1,024 are in bands of their own, coded one
after the other.

For each tensor are said, besides, its first scale and its mean, to half an octave and a quarter of
the scale, and of floats how many bits at the end of all are zero; zeros and what is not finite are
named by a flag at each weight, coded by frequencies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.lengths import integer_bits, kt_log2, word_bits
from kolmo.dtypes import DTYPES
from kolmo.errors import NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.estimators.counts import ORDER_0_LIMIT
from kolmo.floats import has_sign, mantissa_bits
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Shape, Symbols

Floats = NDArray[np.float64]

BAND = 1024
"""Most columns that are predicted from each other."""

MEMORY = 700 << 20
"""Most bytes that a tensor may take."""

_FEWEST = 16  # rows after which the covariance is first found, and next ones
_LARGE = 256  # octaves of a scale above which numbers are counted in it
_MOST_OCTAVES = 1023  # of a float
_CHUNK = 1 << 16  # weights that are coded by one call
_ZERO, _MINUS_ZERO, _NO_NUMBER = 1, 2, 3  # flags; 0 is any other float
_PREDICTORS = ("0.05", "0.3", "0.8", "1", "order 0")


@register
@dataclasses.dataclass(frozen=True)
class Linear(Estimator):
    """The sum of −log2 of predictive probabilities, as one code word, and the sides; a bound.

    The decoder learns as the encoder does, so that no covariance is sent; both compute in double
    precision, operation by operation in the same order, and need the same log2, as in one build.
    Takes floats with a sign and alphabets of at most 65,536 symbols, which are numbers on a line.
    ``details``: the share of the symbols that each predictor accounts for, and how many tensors
    were transposed.

    >>> from kolmo import estimate
    >>> random = np.random.default_rng(0)
    >>> weights = random.normal(size=(400, 40)) @ random.normal(size=(40, 80))
    >>> linear, kt = (estimate(weights, e, "symmetric:8") for e in ("linear", "kt"))
    >>> linear.kind, linear.bits < 0.8 * kt.bits
    ('bound', True)
    """

    name = "linear"
    kind = "bound"
    summary = "each weight from those before it in its row, by the covariance of earlier rows"

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        if alphabet.size > ORDER_0_LIMIT and not _is_float(alphabet):
            raise NotApplicableError(
                f"linear: needs floats, or at most {ORDER_0_LIMIT:,} symbols; quantize first, by "
                f"symmetric:8 say"
            )
        if (memory := self.working_memory(shapes, alphabet)) > MEMORY:
            raise NotApplicableError(
                f"linear: the largest tensor would take {memory >> 20:,} MiB, over its limit of "
                f"{MEMORY >> 20:,}"
            )
        return _LinearAccumulator(shapes, alphabet)

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        largest = max((math.prod(shape) for shape in shapes), default=0)
        sides = [side for shape in shapes for side in _matrix(shape)]
        squares = 48 * min(max(sides, default=0), BAND) ** 2
        held = largest * alphabet.container.itemsize + 40 * max(sides, default=0)
        return held + squares + 24 * min(alphabet.size, ORDER_0_LIMIT) + (24 << 20)


class _LinearAccumulator:
    """Keeps the symbols of one tensor at a time, and what was learned of those before."""

    def __init__(self, shapes: Sequence[Shape], alphabet: Alphabet) -> None:
        from kolmo.estimators import kernels_linear as kernels

        self._numel = sum(math.prod(shape) for shape in shapes)
        self._alphabet = alphabet
        self._line = _FloatLine(alphabet) if _is_float(alphabet) else _IntegerLine(alphabet)
        self._state = kernels.new_state(self._line.classes)
        self._side_bits = self._exponent = self._transposed = 0
        self._mean = 0.0
        self._gatherer = Gatherer(shapes, alphabet.container)

    def update(self, symbols: Symbols) -> None:
        for tensor in self._gatherer.take(symbols):
            self._add(tensor)

    def finish(self) -> CodeLength:
        if not self._numel:
            return CodeLength(0, 0, 0, "bound")
        bits = self._side_bits + self._line.side_bits
        bits += word_bits(self.log2_probability)
        shares = (self._state.used / max(1.0, self._state.used.sum())).tolist()
        details = {
            "predictors": dict(zip(_PREDICTORS, shares, strict=True)),
            "transposed": self._transposed,
        }
        return CodeLength(bits, self._numel, self._numel * self._alphabet.bits, "bound", details)

    @property
    def log2_probability(self) -> float:
        """log2 of the probability of all symbols taken, beside the sides."""
        return float(self._state.totals[1]) + self._line.log2_flags

    def _add(self, tensor: Symbols) -> None:
        matrix = tensor.reshape(_matrix(tensor.shape))
        self._line.begin(matrix)
        coder = _Coder(self._line, self._said(matrix))
        found = [coder.coded(matrix, self._state)]
        if min(matrix.shape) > 1:
            self._side_bits += 1
            found.append(coder.coded(matrix.T, self._state))
        likelier = max(range(len(found)), key=lambda number: found[number].totals[1])
        self._state = found[likelier]
        self._transposed += likelier

    def _said(self, matrix: Symbols) -> _Law:
        """The scale and the mean of which the decoder is told, in half octaves and in quarters of
        the scale; a bit says whether the mean is as before."""
        mean, deviation, octaves = self._line.spread(matrix)
        deviation = max(deviation, abs(mean) / 2**20, self._line.least)
        exponent = round(2 * math.log2(deviation)) + 2 * octaves
        law = _Law(exponent)
        mean *= 2.0 ** (octaves - law.octaves)
        before = self._mean / law.unit
        self._side_bits += 1 + _signed_bits(exponent - self._exponent)
        self._exponent = exponent
        if abs(mean - before) > law.scale / 2:
            quarters = round(4 * mean / law.scale)
            self._side_bits += _signed_bits(quarters)
            before = quarters * law.scale / 4
            self._mean = before * law.unit
        return dataclasses.replace(law, mean=before)


def _matrix(shape: Shape) -> tuple[int, int]:
    """The first dimension × the rest; a vector is a column, whose scale is that of what is near."""
    rows = shape[0] if shape else 1
    columns = math.prod(shape[1:])
    return (columns, 1) if rows == 1 else (rows, columns)


def _signed_bits(number: int) -> int:
    return integer_bits(2 * number if number >= 0 else -2 * number - 1)


# --- one matrix -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Law:
    """What is said of a matrix. Numbers so large that their squares are none are counted in the
    octaves of their scale, and so are the scale itself and the mean."""

    exponent: int
    mean: float = 0.0

    @property
    def octaves(self) -> int:
        return min(self.exponent // 2, _MOST_OCTAVES) if self.exponent > 2 * _LARGE else 0

    @property
    def unit(self) -> float:
        return float(2.0**self.octaves)

    @property
    def scale(self) -> float:
        return float(2.0 ** (self.exponent / 2 - self.octaves))


@dataclasses.dataclass(frozen=True)
class _Coder:
    """Codes a matrix whose law is said."""

    line: _Line
    law: _Law

    def coded(self, matrix: Symbols, state: Any) -> Any:
        """The state after all symbols; the given one stays."""
        from kolmo.estimators import kernels_linear as kernels

        state = kernels.Mixture(*(array.copy() for array in state))
        rows, columns = matrix.shape
        energy = np.zeros((kernels.EXPERTS, rows))
        square = self.law.scale**2
        squares = np.full(kernels.EXPERTS, square)
        bands = -(-columns // BAND)
        borders = [columns * number // bands for number in range(bands + 1)]
        for begin, end in pairwise(borders):
            band = kernels.new_band(end - begin, squares, square)
            for start, stop, fits in _blocks(rows, end - begin):
                if fits:
                    kernels.fit(band)
                part = self.line.intervals(matrix[start:stop, begin:end], self.law)
                values, lower, upper, classes = part
                rows_energy = energy[:, start:stop]
                kernels.code_rows(values, lower, upper, classes, self.line.within, begin,
                                  rows_energy, band, state)  # fmt: skip
                kernels.learn(values, band)
        return state


def _blocks(rows: int, columns: int) -> Iterator[tuple[int, int, bool]]:
    """Rows that are coded at a time, and whether the covariance is found before."""
    most = max(1, _CHUNK // columns)
    done = 0
    while done < rows:
        stop = min(rows, done + max(_FEWEST, done // 4))
        for start in range(done, stop, most):
            yield start, min(stop, start + most), 0 < start == done
        done = stop


# --- symbols as numbers -----------------------------------------------------------------------


class _IntegerLine:
    """Symbols as levels of one width; the outermost take what lies beyond.

    Bit patterns of signed integers are turned by half the alphabet where that brings them closer
    together; one bit for each tensor says so.
    """

    within, log2_flags, least = 1.0, 0.0, 0.25

    def __init__(self, alphabet: Alphabet) -> None:
        self.classes = self._size = alphabet.size
        self._turns = alphabet.size >= 4 and alphabet.size & (alphabet.size - 1) == 0
        self._middle = (alphabet.size - 1) // 2
        self._turn = self.side_bits = 0

    def begin(self, matrix: Symbols) -> None:
        if self._turns:
            self.side_bits += 1
            turns = (0, self._size // 2)
            self._turn = min(turns, key=lambda turn: self._turned(matrix, turn)[1])

    def spread(self, matrix: Symbols) -> tuple[float, float, int]:
        """Mean and standard deviation, and the octaves that they are counted in."""
        return *self._turned(matrix, self._turn), 0

    def intervals(self, symbols: Symbols, law: _Law) -> _Intervals:
        levels = self._levels(symbols, self._turn)
        values = levels - law.mean
        lower = np.where(levels == -self._middle, -np.inf, values - 0.5)
        upper = np.where(levels == self._size - 1 - self._middle, np.inf, values + 0.5)
        return values, lower, upper, np.ascontiguousarray(symbols, np.int64)

    def _turned(self, matrix: Symbols, turn: int) -> tuple[float, float]:
        return _spread(self._levels(piece, turn) for piece in _pieces(matrix))

    def _levels(self, symbols: Symbols, turn: int) -> Floats:
        """Levels as numbers, 0 in the middle of the alphabet."""
        levels = np.array(symbols, np.float64, order="C")
        return ((levels + turn) % self._size if turn else levels) - self._middle


class _FloatLine:
    """Floats as their values, each with the interval that is rounded to it.

    Where all of a tensor end in zeros, as floats do that were narrower once, so do those that the
    interval is bounded by: neighbours are that many patterns apart.
    """

    least = 1e-150

    def __init__(self, alphabet: Alphabet) -> None:
        self._dtype, self._bits = DTYPES[alphabet.format], alphabet.bits
        self._digits = mantissa_bits(self._dtype)
        self._shift = self._digits if self._bits > 8 else 0
        self.classes = 1 << (self._bits - self._shift)
        self.side_bits, self._zeros = 0, 0
        self._flags = np.zeros(4, np.int64)

    @property
    def within(self) -> float:
        return 2.0 ** (min(self._zeros, self._shift) - self._shift)

    @property
    def log2_flags(self) -> float:
        return kt_log2(self._flags) - float(self._flags[_NO_NUMBER]) * self._bits

    def begin(self, matrix: Symbols) -> None:
        union = 0
        for piece in _pieces(matrix):
            flags = self._flag(piece)
            self._flags += np.bincount(flags.reshape(-1), minlength=4)
            union |= int(np.bitwise_or.reduce(piece[flags == 0], initial=0))
        lowest = (union & -union).bit_length() - 1 if union else 0
        self._zeros = min(lowest, self._shift)
        self.side_bits += integer_bits(self._zeros)

    def spread(self, matrix: Symbols) -> tuple[float, float, int]:
        """Mean and standard deviation, and the octaves that they are counted in."""
        largest = max(float(np.abs(numbers).max()) for numbers in self._numbers(matrix))
        octaves = math.frexp(largest)[1] - 1 if largest > 2.0**_LARGE else 0
        return *_spread(n / 2.0**octaves for n in self._numbers(matrix)), octaves

    def intervals(self, symbols: Symbols, law: _Law) -> _Intervals:
        patterns = np.ascontiguousarray(symbols)
        flags = self._flag(patterns)
        one = patterns.dtype.type
        step, sign = one(1 << self._zeros), one(1 << (self._bits - 1))
        values = self._values(patterns, law.unit)
        magnitude = patterns & (sign - one(1))
        size = np.abs(values)
        with np.errstate(invalid="ignore"):
            inner = (self._values(np.maximum(magnitude, step) - step, law.unit) + size) / 2
            next_size = self._values(magnitude + step, law.unit)
            beyond = np.isfinite(next_size) & (next_size > size)
            outer = np.where(beyond, (next_size + size) / 2, 2 * size - inner)
            negative = patterns >= sign
            lower = np.where(negative, -outer, inner) - law.mean
            upper = np.where(negative, -inner, outer) - law.mean
            values = np.where(flags == _NO_NUMBER, 0.0, values - law.mean)
        lower[flags != 0] = np.nan
        classes = (patterns >> one(self._shift)).astype(np.int64)
        return values, lower, upper, classes

    def _numbers(self, matrix: Symbols) -> Iterator[Floats]:
        """The values, and 0 for what is none."""
        for piece in _pieces(matrix):
            yield np.where(self._flag(piece) == _NO_NUMBER, 0, self._values(piece))

    def _flag(self, patterns: Symbols) -> NDArray[np.int64]:
        values = self._values(patterns)
        flags = np.where(np.isfinite(values), 0, _NO_NUMBER)
        negative = patterns >= patterns.dtype.type(1 << (self._bits - 1))
        zero = np.where(negative, _MINUS_ZERO, _ZERO)
        return np.where(values == 0, zero, flags)

    def _values(self, patterns: Symbols, unit: float = 1.0) -> Floats:
        whole = np.ascontiguousarray(patterns)
        with np.errstate(invalid="ignore"):
            return whole.view(self._dtype).reshape(whole.shape).astype(np.float64) / unit


_Line = _IntegerLine | _FloatLine

_Intervals = tuple[Floats, Floats, Floats, NDArray[np.int64]]
"""Values of symbols beside the mean, the ends of their intervals, and their classes."""


def _is_float(alphabet: Alphabet) -> bool:
    return bool(alphabet.format) and has_sign(DTYPES[alphabet.format])


def _pieces(matrix: Symbols) -> Iterator[Symbols]:
    flat = matrix.reshape(-1)
    return (flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK))


def _spread(pieces: Iterable[Floats]) -> tuple[float, float]:
    """Mean and standard deviation; they only propose what is said to the decoder."""
    count, mean, square = 0, 0.0, 0.0
    for piece in pieces:
        own = float(piece.mean())
        total = count + piece.size
        square += (
            float(np.square(piece - own).sum()) + (own - mean) ** 2 * count * piece.size / total
        )
        mean += (own - mean) * piece.size / total
        count = total
    return mean, math.sqrt(square / count)
