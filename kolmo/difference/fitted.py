"""Factors of a difference found in a few passes over stripes of both matrices.

A shorter search for the code of `kolmo.difference.lowrank`:

1. leading right singular vectors of a sample of the rows by subspace iteration, of as many vectors
   as the gate has seen directions, and a few more, until they explain all but the rounding;
2. if they do, weighted least squares, rows and columns in turn, each error over the bounds of its
   rounding; one pass serves both, the first ones over some of many rows;
3. of several ranks, the one whose factors promise the shortest code of some rows;
4. the precision of the factors, and whether the product is rounded before it is added, on some
   rows; then one pass over all of them (`kolmo.difference.counted`).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.counted import FactorCounter
from kolmo.difference.factors import Factors, ranks_of
from kolmo.difference.lowrank import Found
from kolmo.difference.matrix import Difference, RowBlock, kernels
from kolmo.difference.products import balanced, orthonormal, symmetric, times
from kolmo.difference.stripes import STRIPE, Stripes
from kolmo.estimators.factors import MOST

Floats = NDArray[Any]
Tell = Callable[[float], None]

_SPARE = 8  # vectors beyond those that are sought
_ITERATIONS, _WHOLE = 4, 3  # in the sample and over all rows, at most
_PASSES = 4, 3  # over some rows, and over all after that
_ONLY = 8  # over all where there are too few rows
_GAIN = 0.0005  # share of the weights that a pass wins, below which none follows
_REMEMBERED = 4  # passes before the last that say how far to go
_OVER = 0.5  # of a step beyond that
_REFINED = 32  # factors at most
_ROOM = 1 << 27  # bytes of the normal equations of all columns


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
    if stripes.columns > STRIPE:
        return None
    matrix = Difference(stripes, rank + _SPARE)
    found = _leading(matrix, min(rank + _SPARE, MOST))
    if (
        len(found.v) < min(MOST, *stripes.sides)
        and max(found.ranks, default=0) > rank + _SPARE // 2
    ):
        matrix = Difference(stripes, MOST)  # there are more than the sample has shown
        found = _leading(matrix, MOST)
    tell(0.3)
    if not found.ranks:
        return None
    matrix.choose(max(found.ranks))
    counter = FactorCounter(stripes, matrix.unit, matrix.some)
    fits = [FactorFit(matrix, found, *each) for each in found.ranks.items()]
    for fit in fits:
        fit.begin()
    if len(fits) > 1:
        fits.sort(key=lambda fit: counter.promise(fit.factors))
    tell(0.5)
    counter.consider(fits[0].finish())
    tell(0.8)
    return counter.finish()


# --- factors ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Leading:
    """Leading singular values (r), left vectors times these (rows, r) and right ones (r, columns);
    and the ranks that are worth a trial, each with whether so many explain all but the rounding."""

    values: Floats
    u: Floats
    v: Floats
    ranks: dict[int, bool]


def _leading(matrix: Difference, most: int) -> Leading:
    """By subspace iteration, in the sample and then over all rows (Halko, Martinsson & Tropp
    2011)."""
    none = Leading(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)), {})
    if not matrix.unit:
        return none
    image = np.random.default_rng(0).normal(size=(min(most, *matrix.shape), matrix.shape[1]))
    for parts, most in ((lambda: [matrix.sample], _ITERATIONS), (matrix.parts, _WHOLE)):
        for _ in range(most):
            basis = orthonormal(image)
            u, image, sums = _iterated(matrix, parts, basis)
            squares = times(image, basis.T)
            if not sums[0] - np.trace(squares) > 4 * sums[1] / 3:  # all but the rounding
                break
    if not (np.isfinite(sums).all() and 0 < sums[1] < 3 * sums[0]):
        return none
    squares, mixed = symmetric(squares)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    mixed = mixed[:, ::-1][:, values > values[0] * 1e-7]
    values, mean = values[: mixed.shape[1]], sums[1:] / math.prod(matrix.shape) / 3
    v = times(mixed.T, image) / np.square(values)[:, None]  # least squares, given u
    floors = [float(mean[0]), float(mean.sum())]
    ranks = ranks_of(values, float(sums[0]), floors, matrix.shape)
    return Leading(values, times(u, mixed), v, ranks)


def _iterated(
    matrix: Difference, parts: Callable[[], Iterable[RowBlock]], basis: Floats
) -> tuple[Floats, Floats, Floats]:
    """u = D · basisᵀ and uᵀ · D of the difference D, and what it measures."""
    u, image, sums = [], np.zeros_like(basis), np.zeros(3)
    for part in parts():
        ours, more = _image(matrix, part, basis)
        u.append(ours)
        image += more
        sums += matrix.measure(part)
    return np.concatenate(u), image, sums


def _image(matrix: Difference, part: RowBlock, basis: Floats) -> tuple[Floats, Floats]:
    """u = D · basisᵀ, and uᵀ · D, of some rows of the difference D."""
    narrow = _padded(basis, matrix.wide)
    u, image = np.empty((len(part.base), len(narrow)), matrix.wide), np.zeros_like(narrow)
    kernels().iterate(part.base, part.tuned, matrix.form, narrow, u, image)
    return u[:, : len(basis)].astype(float), image[: len(basis)].astype(float)


def _padded(v: Floats, wide: Any) -> Floats:
    """With vectors of zeros, so that their number is a multiple of four."""
    return np.pad(v, ((0, -len(v) % 4), (0, 0))).astype(wide)


class FactorFit:
    """Factors of one rank, which are fitted to the bounds of rounding if they explain all else.

    Attributes
    ----------
    factors : Factors
        Those of all rows.
    """

    def __init__(self, matrix: Difference, found: Leading, rank: int, explains: bool) -> None:
        root, values = np.sqrt(found.values[:rank]), found.values[:rank]
        self.factors = Factors(found.u[:, :rank] / root, found.v[:rank].T * root, values)
        pairs = rank * (rank + 1) // 2
        room = matrix.wide.itemsize * matrix.shape[1] * pairs <= _ROOM
        self._matrix, self._is_fitted = matrix, explains and rank <= _REFINED and room

    def begin(self) -> None:
        """The passes over some rows, if there are many."""
        if self._is_fitted:
            passes = _PASSES[0] if self._matrix.is_large else _ONLY
            self._alternate(self._matrix.few, self._matrix.some, passes)

    def finish(self) -> Factors:
        """The passes over all of many."""
        if self._is_fitted and self._matrix.is_large:
            self._alternate(self._matrix.parts, slice(None), _PASSES[1])
        return balanced(self.factors.u, self.factors.v) if self._is_fitted else self.factors

    def _alternate(
        self, parts: Callable[[], Iterable[RowBlock]], rows: Any, passes: int
    ) -> None:  # fmt: skip
        """Rows and columns in turn, until hardly more weights have errors within their bounds."""
        wide, rank = self._matrix.wide, self.factors.rank
        v = _padded(self.factors.v.T, wide)
        u = np.ascontiguousarray(_padded(self.factors.u[rows].T, wide).T)
        path, before, found = StepPath(), 0, (u, v)
        for _ in range(passes):
            u, equations, hits = u.copy(), ColumnEquations(v), 0
            for part in parts():
                hits += equations.add(self._matrix, part, u[part.rows])
            new = equations.solution()
            if not (np.isfinite(u).all() and np.isfinite(new).all()) or hits < before:
                break
            found, gain, before = (u, new), hits - before, hits
            if gain < _GAIN * len(u) * v.shape[1]:
                break
            v = path.ahead(v, new)
        self.factors.u[rows] = found[0][:, :rank]
        self.factors.v[:] = found[1][:rank].T


class StepPath:
    """Where steps lead to: as far as the last ones say (Anderson 1965)."""

    def __init__(self) -> None:
        self._steps: list[tuple[Floats, Floats]] = []  # where each led to, and from how far

    def ahead(self, old: Floats, new: Floats) -> Floats:
        """The point from which to take the next step."""
        new = new + new.dtype.type(_OVER) * (new - old)
        self._steps.append((new, new - old))
        self._steps = self._steps[-_REMEMBERED - 1 :]
        changes = [
            (after[0] - before[0], after[1] - before[1])
            for before, after in itertools.pairwise(self._steps)
        ]
        if not changes:
            return new
        gram = [[_inner(a, b) for _, b in changes] for _, a in changes]
        right = [_inner(a, new - old) for _, a in changes]
        shares = np.linalg.lstsq(np.array(gram), np.array(right), rcond=None)[0]
        for share, (moved, _) in zip(shares.tolist(), changes, strict=True):
            new = new - new.dtype.type(share) * moved
        return new


def _inner(a: Floats, b: Floats) -> float:
    return float((a * b).sum(dtype=np.float64))


class ColumnEquations:
    """What rows say of v, (r, columns), given factors of theirs."""

    def __init__(self, v: Floats) -> None:
        rank, columns = v.shape
        self._v, self._right, self._rest = v, np.zeros_like(v), np.zeros(columns, v.dtype)
        self._normal = np.zeros((columns, rank * (rank + 1) // 2), v.dtype)
        self._squares, self._rows = np.zeros(rank), 0

    def add(self, matrix: Difference, part: RowBlock, u: Floats) -> int:
        """Move u of these rows, in its place; gives how many weights had errors within the bounds
        of rounding before."""
        hits: int = kernels().fit(part.base, part.tuned, matrix.form, matrix.exponents,
                                  matrix.heavy(len(self._v)), u, self._v,
                                  self._right, self._normal, self._rest)  # fmt: skip
        self._squares += np.square(u, dtype=np.float64).sum(axis=0)
        self._rows += len(u)
        return hits

    def solution(self) -> Floats:
        """One step of v."""
        new, energies = self._v.copy(), self._squares / max(1, self._rows)
        kernels().move(self._right, self._normal, self._rest, energies, new)
        return new
