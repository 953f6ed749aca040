"""What one pass over a tensor adds up: sizes, zeros, exponents, the bits that mantissas use."""

from __future__ import annotations

import dataclasses
import functools
import math
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.dtypes import DTYPES, bits_of
from kolmo.floats import bit_patterns, exponents, is_float, least_exponent, mantissa_bits

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_LANES = 4  # tables of the kernel, so that no weight waits for the one before
_WIDE = 53  # binary digits of a float64

TF32 = "tf32"
"""The 19-bit format of NVIDIA's tensor cores: the exponent of float32, the mantissa of float16."""


class SizeTally(Protocol):
    """Takes a tensor's weights, piece by piece."""

    def update(self, weights: NDArray[Any]) -> None: ...

    def finish(self) -> WeightSizes: ...


@dataclasses.dataclass(frozen=True)
class WeightSizes:
    """WeightSizes of weights, and how they are written.

    Attributes
    ----------
    absmax, mean, sd : float or None
        Of the finite weights; None if there are none.
    zeros, nonfinite : int
        Weights that are exactly zero, or infinite, or no number.
    trailing_zeros : int or None
        Bits at the end of the mantissa that are zero in every weight; None of integers.
    holds : str
        The narrowest of bfloat16, float16, tf32 and float32 that holds every weight exactly, if it
        is narrower than the dtype; else empty.
    step_exponent : int or None
        The greatest k such that every weight is a multiple of 2^k; None if all are zero.
    exponents : int or None
        Exponents in use, that of zero included; None of integers.
    exponent_entropy : float or None
        Bits a weight of the exponents' empirical distribution.
    distinct : array or None
        The distinct finite values, sorted by their bits; None where they were not counted.
    """

    absmax: float | None
    mean: float | None
    sd: float | None
    zeros: int
    nonfinite: int
    trailing_zeros: int | None = None
    holds: str = ""
    step_exponent: int | None = None
    exponents: int | None = None
    exponent_entropy: float | None = None
    distinct: Floats | None = None


def tally(tensor: WeightTensor) -> SizeTally:
    """What adds up the weights of this tensor."""
    if bits_of(tensor.dtype) <= 16:
        return _Narrow(tensor.dtype)
    return _Wide(tensor.dtype) if is_float(tensor.dtype) else _Integers()


class _Wide:
    """Floats of 32 or 64 bits."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype, self._digits = dtype, mantissa_bits(dtype)
        fields = 1 << (bits_of(dtype) - 1 - self._digits)
        self._counts = np.zeros((_LANES, fields), np.int64)
        self._most, self._sums = np.zeros(3, np.uint64), np.zeros(2)
        self._seen = np.zeros(fields, f"u{dtype.itemsize}")
        self._nonfinite = 0
        self._shift = 0.0

    def update(self, weights: NDArray[Any]) -> None:
        from kolmo.ledger import kernels

        weights = self._finite(weights)
        if not weights.size:
            return
        if not self._counts.any():
            self._shift = float(weights[0])  # so that the sum of squares loses no digits
        state = self._seen, self._counts, self._most, self._sums
        kernels.scan(bit_patterns(weights), weights, self._digits, self._shift, *state)

    def _finite(self, weights: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(all="ignore"):
            if np.isfinite(weights.sum()):
                return weights
        known = np.isfinite(weights)
        self._nonfinite += int(weights.size - known.sum())
        return np.ascontiguousarray(weights[known])

    def _step(self) -> int | None:
        """The greatest k such that every weight is a multiple of 2^k; None if all are zero."""
        used, one = np.flatnonzero(self._seen).astype(self._seen.dtype), self._seen.dtype.type(1)
        digits = one * self._digits
        joined = used << digits | self._seen[used] & ((one << digits) - one)
        return _written(joined.view(self._dtype).astype(np.float64))[1]

    def finish(self) -> WeightSizes:
        counts = self._counts.sum(axis=0)
        finite = int(counts.sum())
        used = int(self._most[1]) & ((1 << self._digits) - 1)  # bits of the mantissa
        significant = 1 + self._digits - (_zeros_at_end(used) if used else self._digits)
        largest = self._most[:1].astype(f"u{self._dtype.itemsize}").view(self._dtype)
        absmax = float(largest[0]) if finite else None
        mean, sd = _moments(self._sums, finite, self._shift)
        return WeightSizes(
            absmax, mean, sd, int(self._most[2]), self._nonfinite,
            **_precision(significant, self._step(), self._dtype, absmax), **_entropy(counts),
        )  # fmt: skip


class _Narrow:
    """Numbers of 16 bits at most, of which each pattern is counted."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._counts = np.zeros(1 << (8 * dtype.itemsize), np.int64)

    def update(self, weights: NDArray[Any]) -> None:
        from kolmo.ledger import kernels

        kernels.count_patterns(bit_patterns(weights), self._counts)

    def finish(self) -> WeightSizes:
        used = np.flatnonzero(self._counts)
        counts = self._counts[used]
        weights = used.astype(f"u{self._dtype.itemsize}").view(self._dtype)
        values = weights.astype(np.float64)
        finite = np.isfinite(values)
        known, times = values[finite], counts[finite]
        absmax = float(np.abs(known).max()) if known.size else None
        nonfinite = int(counts[~finite].sum())
        written: dict[str, Any] = {}
        if is_float(self._dtype):
            fields = np.bincount(exponents(weights), weights=counts).astype(np.int64)
            written = _precision(*_written(known), self._dtype, absmax) | _entropy(fields)
        mean, sd = _weighted(known, times)
        zeros = int(times[known == 0].sum())
        return WeightSizes(absmax, mean, sd, zeros, nonfinite, **written, distinct=known)


class _Integers:
    """Integers of 32 or 64 bits, as float64."""

    def __init__(self) -> None:
        self._floats = _Wide(DTYPES["float64"])

    def update(self, weights: NDArray[Any]) -> None:
        self._floats.update(weights.astype(np.float64))

    def finish(self) -> WeightSizes:
        sizes = self._floats.finish()
        return WeightSizes(sizes.absmax, sizes.mean, sizes.sd, sizes.zeros, sizes.nonfinite)


def expected_peak(numel: int) -> float:
    """The median of the largest magnitude of so many independent normal weights, in their sd.

    >>> round(expected_peak(1_000_000), 2)
    4.96
    """
    return NormalDist().inv_cdf(1 - math.log(2) / (2 * numel) if numel > 30 else _median(numel))


def _median(numel: int) -> float:
    return float((1 + 0.5 ** (1 / numel)) / 2)


def _moments(sums: Floats, numel: int, shift: float) -> tuple[float | None, float | None]:
    if not numel:
        return None, None
    mean, square = (sums / numel).tolist()
    return shift + mean, math.sqrt(max(0.0, square - mean * mean))


def _weighted(values: Floats, counts: Counts) -> tuple[float | None, float | None]:
    numel = int(counts.sum())
    if not numel:
        return None, None
    mean = float(values @ counts) / numel
    return mean, math.sqrt(float((values - mean) ** 2 @ counts) / numel)


def _entropy(counts: Counts) -> dict[str, Any]:
    used = counts[counts > 0]
    shares = used / used.sum() if used.size else used
    entropy = -float((shares * np.log2(shares)).sum())
    return {"exponents": int(used.size), "exponent_entropy": abs(entropy)}


def _precision(
    significant: int, step: int | None, dtype: np.dtype[Any], absmax: float | None
) -> dict[str, Any]:
    """How finely weights of so many significant binary digits, multiples of 2^step, are written."""
    if step is None or absmax is None:
        return {"trailing_zeros": mantissa_bits(dtype)}
    fitting = (
        name
        for name, bits, digits, least, largest in _formats()
        if bits < bits_of(dtype) and significant <= digits + 1 and step >= least
        and absmax <= largest
    )  # fmt: skip
    trailing = max(0, mantissa_bits(dtype) + 1 - significant)
    return {"trailing_zeros": trailing, "step_exponent": step, "holds": next(fitting, "")}


def _written(values: Floats) -> tuple[int, int | None]:
    """Most significant binary digits of any value, and the least exponent of a last one."""
    fractions, exponent = np.frexp(values[values != 0])
    if not fractions.size:
        return 0, None
    whole = np.abs(fractions * 2.0**_WIDE).astype(np.int64)
    last = np.frexp((whole & -whole).astype(np.float64))[1] - 1  # zeros at the end
    return _WIDE - int(last.min()), int((exponent - _WIDE + last).min())


def _zeros_at_end(number: int) -> int:
    return (number & -number).bit_length() - 1


@functools.cache
def _formats() -> list[tuple[str, int, int, int, float]]:
    """Formats from the narrowest on: name, bits, mantissa bits, least exponent, largest number."""
    import ml_dtypes

    finfo: Any = ml_dtypes.finfo
    narrow = [
        (name, 16, mantissa_bits(dtype), least_exponent(dtype), float(finfo(dtype).max))
        for name, dtype in ((name, DTYPES[name]) for name in ("bfloat16", "float16"))
    ]
    single = "float32", 32, 23, -149, float(np.finfo(np.float32).max)
    return [*narrow, (TF32, 19, 10, -136, float.fromhex("0x1.ffcp+127")), single]
