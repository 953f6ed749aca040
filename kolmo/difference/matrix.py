"""The difference of two matrices in numbers wide enough for it, some rows at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.stripes import Stripes, widened
from kolmo.floats import least_exponent, mantissa_bits

Floats = NDArray[Any]

_SHARE, _LEAST, _MOST = 8, 1 << 17, 1 << 21  # of the weights, those of the sample
_ROWS = 8  # rows of the sample for each vector, at least
_COARSE, _FEW, _EACH = 4, 512, 64  # the first passes are over one of so many rows, and so many
# at least, and so many for each factor
_KEPT = 1 << 22  # weights that are held in wide numbers
_SAMPLED = 64  # rows whose bounds are looked at
_HEAVY = 0.05  # share of the weights that have the closest bounds, at least
_EQUATIONS = 64, 4  # such weights in a row, and for each vector, at least
_SPARE_BOUND = 3e-3  # of the root of the mean square of bounds: none is so close as to count alone


@dataclasses.dataclass(frozen=True)
class RowBlock:
    """Some rows of both matrices, in numbers that are wide enough for their difference."""

    rows: slice
    base: Floats
    tuned: Floats


class Difference:
    """The difference of both matrices in floating-point numbers wide enough for its dtype.

    Parameters
    ----------
    stripes : Stripes
    vectors : int
        How many vectors a sample of its rows has to determine.

    Attributes
    ----------
    sample : RowBlock
        Some rows, from which the unit comes.
    some : int array
        Numbers of those that the first passes are over.
    unit : float
        The power of two in which differences are counted; 0 if the wide numbers do not hold it.
    """

    def __init__(self, stripes: Stripes, vectors: int) -> None:
        self._stripes = stripes
        self.shape = rows, columns = stripes.sides
        self.wide = np.dtype(np.float32 if stripes.dtype.itemsize <= 2 else np.float64)
        self.exponents = np.array([np.inf], self.wide).view(f"u{self.wide.itemsize}")
        weights = min(max(rows * columns // _SHARE, _LEAST), _MOST)
        self.sample = self._rows_at(self._chosen(max(weights // columns, _ROWS * vectors)))
        self.some = np.arange(rows)
        self._kept: list[RowBlock] = []
        with np.errstate(all="ignore"):
            self.unit, self.form = 0.0, np.zeros(0)
            self._set_unit()

    @property
    def is_large(self) -> bool:
        """Whether the first passes are over some rows only."""
        return self.some.size < self.shape[0]

    def choose(self, rank: int) -> None:
        """Choose rows for the first passes."""
        size = max(self.shape[0] // _COARSE, _FEW, _EACH * rank)
        if 2 * size <= self.shape[0]:
            self.some = self._chosen(size)

    def _chosen(self, size: int) -> Any:
        rows = self.shape[0]
        random = np.random.default_rng(self.shape)
        return np.sort(random.choice(rows, min(size, rows), replace=False))

    def _rows_at(self, numbers: Any) -> RowBlock:
        return self._block(slice(0, numbers.size), *self._stripes.rows_at(numbers))

    def _set_unit(self) -> None:
        base, tuned = self.sample.base, self.sample.tuned
        top = float(np.abs(tuned - base).max())
        if not 1e-120 < top < 1e120:
            return
        self.unit = 2.0 ** math.frexp(top)[1]
        self.form = self._form(0.0)
        floor = self.measure(self.sample)[1] / base.size / 3
        self.form = self._form(math.sqrt(floor) * _SPARE_BOUND)
        some = slice(None, None, max(1, len(base) // _SAMPLED))
        self._bounds = self._closest(base[some], tuned[some])

    def measure(self, part: RowBlock) -> Floats:
        """The sums of squares of differences, of half the steps of the dtype at the tuned weights,
        and of those at the differences."""
        sums = np.zeros(3)
        kernels().measure(part.base, part.tuned, self.form, self.exponents, sums)
        return sums

    def heavy(self, rank: int) -> Any:
        """The weight of an error's square from which it is among the few that count most."""
        least = max(_EQUATIONS[0], _EQUATIONS[1] * rank) / self.shape[1]
        share = min(1.0, max(_HEAVY, least))
        bound = np.quantile(self._bounds, share) if self._bounds.size else 1.0
        return self.wide.type((bound + self.form[3]) ** -2.0)

    def parts(self) -> Iterable[RowBlock]:
        """All rows, those of a stripe at a time; of matrices that are not large they are held."""
        if math.prod(self.shape) > _KEPT:
            return self._stream()
        self._kept = self._kept or list(self._stream())
        return self._kept

    def few(self) -> Iterable[RowBlock]:
        """The rows of the first passes."""
        if not self.is_large:
            return self.parts()
        step = max(1, _KEPT // _COARSE // self.shape[1])
        starts = range(0, self.some.size, step)
        return (
            dataclasses.replace(self._rows_at(self.some[a : a + step]),
                                rows=slice(a, min(a + step, self.some.size)))
            for a in starts
        )  # fmt: skip

    def _stream(self) -> Iterator[RowBlock]:
        for stripe in self._stripes:
            base, tuned = (w.reshape(-1, self.shape[1]) for w in (stripe.base, stripe.tuned))
            yield self._block(slice(stripe.row, stripe.row + len(base)), base, tuned)

    def _block(self, rows: slice, *pair: Any) -> RowBlock:
        return RowBlock(rows, *(widened(w).astype(self.wide, copy=False) for w in pair))

    def _form(self, spare: float) -> Floats:
        """What kernels take: one over the unit, half a step of 1, the least half step, and what is
        added to all bounds."""
        dtype = self._stripes.dtype
        least = math.ldexp(1 / self.unit, least_exponent(dtype) - 1)
        least = max(least, float(np.finfo(self.wide.type).tiny))
        return np.array([1 / self.unit, 0.5 ** (mantissa_bits(dtype) + 1), least, spare], self.wide)

    def _closest(self, base: Floats, tuned: Floats) -> Floats:
        """The bounds of rounding where differences are not zero."""
        numbers = tuned * self.form[0], tuned * self.form[0] - base * self.form[0]
        bounds = self._half_step(numbers[0]) + self._half_step(numbers[1])
        return np.asarray(bounds[numbers[1] != 0])

    def _half_step(self, numbers: Floats) -> Floats:
        powers = (numbers.view(self.exponents.dtype) & self.exponents).view(self.wide)
        return np.asarray(np.maximum(powers * self.form[1], self.form[2]))


def kernels() -> Any:
    """The compiled passes, which are loaded when they are needed."""
    from kolmo.difference import kernels_fitted

    return kernels_fitted
