"""Low-rank codes counted stripe by stripe: on a sample of the rows first, then on all of them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import all_of, kt
from kolmo.difference.digits import digits_of_counts
from kolmo.difference.factors import Factors, Pair
from kolmo.difference.lowrank import (
    CONTEXTS,
    HEADER,
    Found,
    Prediction,
    dtype_bits,
    exponents_of,
    fewer_steps,
    product_of,
    rounded_factors,
)
from kolmo.difference.products import times
from kolmo.difference.rankone import PairView, dtype_factors
from kolmo.difference.stripes import Stripes, widened
from kolmo.floats import Weights, bit_patterns, least_exponent, mantissa_bits

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_COMPILED = ("float16", "bfloat16", "float32")
_SHARE, _LEAST, _MOST = 32, 1 << 15, 1 << 16  # of the weights, those on which codes are compared
_NORMAL = 2 * math.pi * math.e  # 2^(2h) of a normal law of unit variance
_NEARLY, _MORE = 1.03, 4  # of two that are so near, the better one is told on more rows
_VIEW = 1 << 19  # weights on which numbers of vectors are moved


class TalliedDistances:
    """Counts of the distances from one kind of prediction."""

    def __init__(self, dtype: np.dtype[Any], unit: int, rounded: bool) -> None:
        self._dtype, self._unit, self._rounded = dtype, unit, rounded
        self._counts = np.zeros((CONTEXTS, 65, 4), np.int64)
        self._grid = np.zeros((3 * CONTEXTS if rounded else 1, 65, 4), np.int64)
        self._flags = np.zeros(2, np.int64)
        self.exact = self.numel = 0

    def update(self, base: Weights, tuned: Weights, u: Floats, v: Floats) -> None:
        """Take some rows of both matrices, and of u; all of v (columns, r)."""
        self.numel += tuned.size
        if self._dtype.name not in _COMPILED or not self._compiled(base, tuned, u, v):
            self._plain(base, tuned, u, v)

    def _compiled(self, base: Weights, tuned: Weights, u: Floats, v: Floats) -> bool:
        """Whether the compiled loop could do it: all numbers are finite, and not the largest."""
        from kolmo.difference.kernels_lowrank import count_away

        counts, grid, flags = (np.zeros_like(c) for c in (self._counts, self._grid, self._flags))
        pair, across = (widened(base), bit_patterns(tuned)), np.ascontiguousarray(v.T)
        exact = count_away(*pair, u, across, self._form, self._largest, self._rounded,
                           counts, grid, flags)  # fmt: skip
        if exact < 0:
            return False
        self.exact += exact
        self._counts += counts
        self._grid += grid
        self._flags += flags
        return True

    @property
    def _form(self) -> Counts:
        digits, width = mantissa_bits(self._dtype), 8 * self._dtype.itemsize
        least, by_single = least_exponent(self._dtype), self._dtype.name == "bfloat16"
        return np.array([digits, least, width, by_single, self._unit], np.int64)

    @property
    def _largest(self) -> float:
        import ml_dtypes

        finfo: Any = ml_dtypes.finfo
        return float(finfo(self._dtype).max)

    def _plain(self, base: Weights, tuned: Weights, u: Floats, v: Floats) -> None:
        from kolmo.difference.kernels import count_digits

        wide = base.astype(np.float64)
        found = Prediction.of(wide, product_of(u, v), self._dtype, self._unit, self._rounded)
        away = found.away(tuned)
        contexts = found.contexts.reshape(-1)
        self.exact += int((away == 0).sum())
        count_digits(away.reshape(-1), contexts, self._counts)
        if self._rounded:
            fewer, whole = fewer_steps(away, found.shift)
            coarse = found.shift > 0
            state = np.where(coarse, np.where(whole, 1, 2), 0).reshape(-1)
            count_digits(np.where(whole, fewer, away).reshape(-1), contexts + state * CONTEXTS,
                         self._grid)  # fmt: skip
            self._flags += [np.count_nonzero(coarse & whole), np.count_nonzero(coarse & ~whole)]

    @property
    def bits(self) -> int:
        most = 8 * self._dtype.itemsize
        plain = digits_of_counts(self._counts, most).word_bits
        if not self._rounded:
            return plain
        gridded = all_of([kt(self._flags), digits_of_counts(self._grid, most)])
        return min(plain, gridded.word_bits)


@dataclasses.dataclass
class _Candidate:
    """Factors, the kind of prediction, and the bits that a sample promises.

    Attributes
    ----------
    bits : int or None
        Those of the factors' numbers; None of factors that are still to be rounded.
    octave : int
        To what they are to be rounded.
    """

    factors: Factors
    bits: int | None
    octave: int
    rounded: bool
    expected: float = math.inf

    def numbers(self) -> tuple[int, Floats, Floats]:
        """Bits of the factors, u and v."""
        if self.bits is None:
            return rounded_factors(self.factors, self.octave)
        return self.bits, self.factors.u, self.factors.v


class FactorCounter:
    """Compares factors on a sample of the rows, and codes all with the best of them.

    Parameters
    ----------
    stripes : Stripes
    scale : float
        The unit of differences of which factors are.
    rows : int array
        Numbers of rows, of which the sample is some.
    """

    def __init__(self, stripes: Stripes, scale: float, rows: Counts) -> None:
        self._stripes, self._scale = stripes, scale
        size = min(max(stripes.numel // _SHARE, _LEAST), _MOST)
        self._given, self._number = rows, max(1, size // stripes.columns)
        self._take(self._number)
        halves = Pair.halves(self._tuned)
        self._unit = math.frexp(float(np.median(halves)))[1]
        self._candidates: list[_Candidate] = []

    def _take(self, number: int) -> None:
        """Take so many rows as the sample."""
        self._rows = self._given[_spread(self._given.size, number)]
        self._base, self._tuned = self._stripes.rows_at(self._rows)

    def promise(self, factors: Factors) -> float:
        """The bits that factors promise, at the precision that theory proposes."""
        factors = self._scaled(factors)
        factors = dataclasses.replace(factors, u=factors.u[self._rows])
        octave = self._octave(factors)
        return min(self._expected(factors, octave, kind) for kind in (False, True))

    def consider(self, factors: Factors) -> None:
        """Take factors of all rows, in the scale of the differences, as candidates."""
        factors = self._scaled(factors)
        self._descend(factors)
        if factors.rank == 1:
            numbers = dtype_factors(*self._views(), factors)
            if numbers:
                bits = dtype_bits(self._stripes.dtype, numbers)
                for kind in (False, True):
                    self._offer(_Candidate(numbers, bits, 0, kind))

    def finish(self) -> Found | None:
        """The code of all rows by the best candidate."""
        if not self._candidates:
            return None
        best = self._decided()
        bits, u, v = best.numbers()
        tallied = TalliedDistances(self._stripes.dtype, self._unit, best.rounded)
        columns = self._stripes.columns
        for stripe in self._stripes:
            base, tuned = (w.reshape(-1, columns) for w in (stripe.base, stripe.tuned))
            tallied.update(base, tuned, np.ascontiguousarray(u[stripe.row :][: len(tuned)]), v)
        exact = tallied.exact / tallied.numel
        return Found(bits + HEADER + tallied.bits, u.shape[1], bits, exact)

    def _scaled(self, factors: Factors) -> Factors:
        root = math.sqrt(self._scale)
        return Factors(factors.u * root, factors.v * root, factors.values * self._scale)

    def _octave(self, some: Factors) -> int:
        """The precision that theory proposes; ``some`` has the rows of the sample."""
        rows, columns = self._stripes.sides
        left = self._difference - times(some.u, some.v.T)
        floor = float(np.square(Pair.halves(self._tuned)).mean())
        rest = max(float(np.square(left).mean()) - floor, floor / 100)
        step = math.sqrt(12 * rest / some.rank / (1 / rows + 1 / columns))
        most = float(some.values.max()) / math.sqrt(max(rows, columns)) / 2  # all would be zeros
        return round(math.log2(min(step, most)))

    def _descend(self, factors: Factors) -> None:
        """By octaves of precision, from the one that theory proposes."""
        some = dataclasses.replace(factors, u=factors.u[self._rows])
        octave = self._octave(some)
        whole = {kind: self._try(factors, octave, kind) for kind in (False, True)}
        kind = min(whole, key=whole.__getitem__)
        tried = {octave: whole[kind]}
        for direction in (-1, 1):
            place = octave + direction
            while True:
                tried[place] = self._try(factors, place, kind)
                if tried[place] >= tried[place - direction]:
                    break
                place += direction

    def _try(self, factors: Factors, octave: int, rounded: bool) -> float:
        return self._offer(_Candidate(factors, None, octave, rounded))

    def _offer(self, candidate: _Candidate) -> float:
        """Keep a candidate with the bits that the sample promises."""
        candidate.expected = self._promised(candidate)
        self._candidates.append(candidate)
        return candidate.expected

    def _promised(self, candidate: _Candidate) -> float:
        factors, rounded = candidate.factors, candidate.rounded
        some = dataclasses.replace(factors, u=factors.u[self._rows])
        if candidate.bits is None:
            return self._expected(some, candidate.octave, rounded)
        return candidate.bits + self._rest(some.u, some.v, rounded)

    def _decided(self) -> _Candidate:
        """The best candidate; of two that are nearly as good, by more rows."""
        best, *others = sorted(self._candidates, key=lambda c: c.expected)[:2]
        if not others or others[0].expected > _NEARLY * best.expected:
            return best
        self._take(_MORE * self._number)
        return min((best, *others), key=self._promised)

    def _expected(self, some: Factors, octave: int, rounded: bool) -> float:
        """The bits that the sample promises at this precision, the product rounded or not."""
        exponents = exponents_of(some, octave)
        u, v = (_at(side, exponents) for side in (some.u, some.v))
        return self._bits(some, exponents) + self._rest(u, v, rounded)

    def _bits(self, some: Factors, exponents: Counts) -> float:
        """Bits of the factors' numbers by a normal law, about."""
        sides = zip(self._stripes.sides, (some.u, some.v), strict=True)
        steps = np.ldexp(1.0, exponents)
        return (
            sum(
                float(
                    size * np.log2(_NORMAL * (np.square(side / steps).mean(axis=0) + 1 / 12)).sum()
                )
                for size, side in sides
            )
            / 2
        )

    def _rest(self, u: Floats, v: Floats, rounded: bool) -> float:
        """The bits of the distances that the sample promises; u has its rows."""
        tallied = TalliedDistances(self._stripes.dtype, self._unit, rounded)
        tallied.update(self._base, self._tuned, np.ascontiguousarray(u), v)
        return tallied.bits * self._stripes.numel / self._tuned.size

    @property
    def _difference(self) -> Floats:
        return self._tuned.astype(np.float64) - self._base.astype(np.float64)

    def _views(self) -> tuple[PairView, PairView]:
        """All rows of some columns, and all columns of some rows."""
        rows, columns = self._stripes.sides
        some = _spread(columns, max(1, _VIEW // rows))
        tall = Pair.of(*self._columns(some))
        wide = Pair.of(self._base, self._tuned)
        return PairView(tall, some), PairView(wide.turned if wide else None, self._rows)

    def _columns(self, some: Counts) -> tuple[Weights, Weights]:
        shape = (-1, self._stripes.columns)
        parts = [(s.base.reshape(shape)[:, some], s.tuned.reshape(shape)[:, some])
                 for s in self._stripes]  # fmt: skip
        base, tuned = (np.concatenate(side) for side in zip(*parts, strict=True))
        return base, tuned


def _at(side: Floats, exponents: Counts) -> Floats:
    """Numbers rounded to multiples of powers of two."""
    return np.asarray(np.ldexp(np.rint(np.ldexp(side, -exponents)), exponents))


def _spread(number: int, some: int) -> Counts:
    """Some of the places below a number, evenly spread."""
    return np.unique(np.linspace(0, number - 1, min(some, number)).astype(np.int64))
