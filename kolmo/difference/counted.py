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
_SHARE, _LEAST, _MOST = 64, 1 << 14, 1 << 16  # of the weights, those on which codes are compared
_HOPELESS = 1.5  # times as many bits as the best: no precision makes that good
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


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """Factors, their bits, the kind of prediction, and the bits that a sample promises."""

    bits: int
    u: Floats
    v: Floats
    rounded: bool
    expected: float


class FactorCounter:
    """Compares factors on a sample of the rows, and codes all with the best of them."""

    def __init__(self, stripes: Stripes, scale: float) -> None:
        self._stripes, self._scale = stripes, scale
        rows, columns = stripes.sides
        size = min(max(stripes.numel // _SHARE, _LEAST), _MOST)
        self._rows = _spread(rows, max(1, size // columns))
        self._columns = _spread(columns, max(1, _VIEW // rows))
        self._base, self._tuned = self._sampled()
        halves = Pair.halves(self._tuned)
        self._unit = math.frexp(float(np.median(halves)))[1]
        self._best: _Candidate | None = None

    def consider(self, factors: Factors) -> None:
        """Take factors, in the scale of the differences, as candidates."""
        root = math.sqrt(self._scale)
        factors = Factors(factors.u * root, factors.v * root, factors.values * self._scale)
        self._descend(factors)
        if factors.rank == 1:
            numbers = dtype_factors(*self._views(), factors)
            if numbers:
                bits = dtype_bits(self._stripes.dtype, numbers)
                for kind in (False, True):
                    self._try(bits, numbers.u, numbers.v, kind)

    def finish(self) -> Found | None:
        """The code of all rows by the best candidate."""
        best = self._best
        if best is None:
            return None
        tallied = TalliedDistances(self._stripes.dtype, self._unit, best.rounded)
        columns = self._stripes.columns
        for stripe in self._stripes:
            base, tuned = (w.reshape(-1, columns) for w in (stripe.base, stripe.tuned))
            u = np.ascontiguousarray(best.u[stripe.row : stripe.row + len(tuned)])
            tallied.update(base, tuned, u, best.v)
        exact = tallied.exact / tallied.numel
        return Found(best.bits + HEADER + tallied.bits, best.u.shape[1], best.bits, exact)

    def _descend(self, factors: Factors) -> None:
        """By octaves of precision, from the one that theory proposes."""
        rows, columns = self._stripes.sides
        left = self._difference - times(factors.u[self._rows], factors.v.T)
        floor = float(np.square(Pair.halves(self._tuned)).mean())
        rest = max(float(np.square(left).mean()) - floor, floor / 100)
        octave = round(math.log2(math.sqrt(12 * rest / factors.rank / (1 / rows + 1 / columns))))
        before = self._best.expected if self._best else math.inf
        whole = {kind: self._try(*rounded_factors(factors, octave), kind) for kind in (False, True)}
        kind = min(whole, key=whole.__getitem__)
        if whole[kind] > _HOPELESS * before:
            return
        tried = {octave: whole[kind]}
        for direction in (-1, 1):
            place = octave + direction
            while True:
                tried[place] = self._try(*rounded_factors(factors, place), kind)
                if tried[place] >= tried[place - direction]:
                    break
                place += direction

    def _try(self, bits: int, u: Floats, v: Floats, rounded: bool) -> float:
        """The bits that the sample promises with these factors, the product rounded or not."""
        tallied = TalliedDistances(self._stripes.dtype, self._unit, rounded)
        tallied.update(self._base, self._tuned, np.ascontiguousarray(u[self._rows]), v)
        expected = bits + tallied.bits * self._stripes.numel / self._tuned.size
        if self._best is None or expected < self._best.expected:
            self._best = _Candidate(bits, u, v, rounded, expected)
        return expected

    @property
    def _difference(self) -> Floats:
        return self._tuned.astype(np.float64) - self._base.astype(np.float64)

    def _sampled(self) -> tuple[Weights, Weights]:
        """The rows of the sample."""
        return self._gathered(self._rows, slice(None))

    def _views(self) -> tuple[PairView, PairView]:
        """All rows of some columns, and all columns of some rows."""
        every = np.arange(self._stripes.rows)
        tall = Pair.of(*self._gathered(every, self._columns))
        wide = Pair.of(self._base, self._tuned)
        return PairView(tall, self._columns), PairView(wide.turned if wide else None, self._rows)

    def _gathered(self, rows: Counts, columns: Any) -> tuple[Weights, Weights]:
        parts: tuple[list[Weights], list[Weights]] = ([], [])
        for stripe in self._stripes:
            shape = (-1, self._stripes.columns)
            height = stripe.tuned.size // self._stripes.columns
            inside = rows[(rows >= stripe.row) & (rows < stripe.row + height)] - stripe.row
            for part, weights in zip(parts, (stripe.base, stripe.tuned), strict=True):
                part.append(weights.reshape(shape)[inside][:, columns])
        return np.concatenate(parts[0]), np.concatenate(parts[1])


def _spread(number: int, some: int) -> Counts:
    """Some of the places below a number, evenly spread."""
    return np.unique(np.linspace(0, number - 1, min(some, number)).astype(np.int64))
