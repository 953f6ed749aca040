"""Minimum description length: order-0 codes, whose length follows from the symbols' counts.

What a decoder knows beforehand is the header of any container: names, shapes, dtypes, the
quantizer and its parameters, hence the number of symbols and the alphabet. Everything else counts.
A probability P becomes a code word of ceil(−log2 P) + 1 bits (Shannon–Fano–Elias), which is
prefix-free and which an arithmetic coder of exact integers attains; the lengths are computed in
double precision, right to some 10⁻¹⁵ of themselves.

Alphabets of more than 65,536 symbols, such as native floats, are coded byte-plane by byte-plane.
Which one? They differ little: ``nml`` is the shortest in the worst case, ``kt`` needs to see the
symbols only once, ``enumerative`` is the plainest.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kolmo.estimators.base import (
    Accumulator,
    CodeLength,
    Estimator,
    Shape,
    Symbols,
    register,
    symbol_bits,
)
from kolmo.estimators.counts import Counts, Histogram, entropy_bits


def integer_bits(number: int) -> int:
    """Length of the Elias delta code (Elias 1975) of a number ≥ 0, in bits; it codes number + 1.

    >>> [integer_bits(n) for n in (0, 1, 2, 3, 1000)]
    [1, 4, 4, 5, 16]
    """
    length = (number + 1).bit_length()
    return length - 1 + 2 * length.bit_length() - 1


def word_bits(log2_probability: float) -> int:
    """Bits of a prefix-free code word for an outcome of this probability; 0 where it is certain.

    >>> word_bits(-2.5), word_bits(0.0)
    (4, 0)
    """
    return math.ceil(-log2_probability) + 1 if log2_probability < 0 else 0


# --- log2 probabilities of sequences with given counts --------------------------------------


def kt_log2(counts: Counts) -> float:
    """log2 of the Krichevsky–Trofimov probability of any sequence with these counts.

    P = Γ(A/2) / Γ(n + A/2) · Π Γ(c + 1/2) / Γ(1/2) over the A symbols (Krichevsky & Trofimov
    1981): every count starts at 1/2.

    >>> round(2 ** kt_log2(np.array([1, 1])), 6)  # 1/2 × 1/4
    0.125
    """
    alphabet, total = counts.size, int(counts.sum())
    each = _sum_lgamma(counts, 0.5) - alphabet * math.lgamma(0.5)
    norm = math.lgamma(alphabet / 2) - math.lgamma(total + alphabet / 2)
    return min(0.0, (norm + each) / math.log(2))


def enumerative_log2(counts: Counts) -> float:
    """log2 of the probability of a sequence of which first the counts are drawn, all alike, then
    the order, all alike.

    1/P = C(n + A − 1, A − 1) · n! / Π c! (Davisson 1973, after Cover 1973).

    >>> round(2 ** enumerative_log2(np.array([1, 1])), 6)  # one of 3 compositions, of 2 orders
    0.166667
    """
    alphabet, total = counts.size, int(counts.sum())
    compositions = math.lgamma(total + alphabet) - math.lgamma(alphabet) - math.lgamma(total + 1)
    orders = math.lgamma(total + 1) - _sum_lgamma(counts, 1.0)
    return min(0.0, -(compositions + orders) / math.log(2))


def multinomial_regret(alphabet: int, total: int) -> float:
    """log2 of the sum over all sequences of their maximum likelihood: C(A, n), in bits.

    C(1, n) = 1; C(2, n) = Σ n! / ((n − k)! n^k) over k = 0..n; C(A + 2, n) = C(A + 1, n) +
    n/A · C(A, n) (Kontkanen & Myllymäki 2007). Linear in A, and in √n: the terms of C(2, n) fall
    as exp(−k² / 2n).

    >>> round(2 ** multinomial_regret(2, 2), 6)
    2.5
    """
    if alphabet == 1 or total == 0:
        return 0.0
    terms, k = [1.0], 0
    while k < total and terms[-1] > 1e-20:
        terms.append(terms[-1] * (total - k) / total)
        k += 1
    ratios = [math.fsum(terms)]  # C(a + 1, n) / C(a, n), which do not overflow
    for a in range(1, alphabet - 1):
        ratios.append(1 + total / a / ratios[-1])
    return math.fsum(map(math.log2, ratios))


def _sum_lgamma(counts: Counts, shift: float) -> float:
    values, times = np.unique(counts, return_counts=True)
    return math.fsum(
        int(k) * math.lgamma(int(c) + shift) for c, k in zip(values, times, strict=True)
    )


# --- the estimators ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class OrderZero(Estimator):
    """Base of the codes whose length follows from the counts of the symbols."""

    kind = "bound"

    def log2_probability(self, counts: Counts) -> tuple[float, dict[str, Any]]:
        """log2 of the probability of a sequence with these counts, and what else is to be told."""
        raise NotImplementedError

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        return _OrderZeroAccumulator(self, shapes, alphabet)


class _OrderZeroAccumulator:
    def __init__(self, code: OrderZero, shapes: Sequence[Shape], alphabet: int) -> None:
        self._code = code
        self._numel = sum(math.prod(shape) for shape in shapes)
        self._raw_bits = self._numel * symbol_bits(alphabet)
        self._histogram = Histogram(alphabet)

    def update(self, symbols: Symbols) -> None:
        self._histogram.update(symbols)

    def merge(self, part: _OrderZeroAccumulator) -> None:
        self._histogram.merge(part._histogram)

    def finish(self) -> CodeLength:
        planes = [self._code.log2_probability(counts) for counts in self._histogram.counts]
        details = planes[0][1]
        if self._histogram.by_byte:
            details = {"byte_planes": [-log2 for log2, _ in planes]}
        bits = word_bits(math.fsum(log2 for log2, _ in planes)) if self._numel else 0
        return CodeLength(bits, self._numel, self._raw_bits, "bound", details)


@register
@dataclasses.dataclass(frozen=True)
class KT(OrderZero):
    """The Krichevsky–Trofimov code of order 0; a bound.

    The symbols are coded one by one with the frequencies seen so far, so that no table is sent.
    ``details``: the bits of each byte-plane, lowest first, where the alphabet is wide.

    >>> from kolmo import estimate
    >>> estimate(np.ones(1000, np.float32), "kt", "sign").bits
    7
    """

    name = "kt"
    summary = "adaptive order-0 code (by byte-plane for native floats)"

    def log2_probability(self, counts: Counts) -> tuple[float, dict[str, Any]]:
        return kt_log2(counts), {}


@register
@dataclasses.dataclass(frozen=True)
class NML(OrderZero):
    """Normalized maximum likelihood of the multinomial model; a bound.

    The entropy plus the regret, the same for all sequences and the least that is possible in the
    worst case (Shtarkov 1987; Kontkanen & Myllymäki 2007). ``details``: the regret in bits, or, for
    wide alphabets, the bits of each byte-plane.

    >>> from kolmo import estimate
    >>> code = estimate(np.ones(1000, np.float32), "nml", "sign")
    >>> code.bits, round(code.details["regret"], 2)
    (7, 5.33)
    """

    name = "nml"
    summary = "normalized maximum likelihood of order 0 (by byte-plane for native floats)"

    def log2_probability(self, counts: Counts) -> tuple[float, dict[str, Any]]:
        regret = multinomial_regret(counts.size, int(counts.sum()))
        return -entropy_bits(counts) - regret, {"regret": regret}


@register
@dataclasses.dataclass(frozen=True)
class Enumerative(OrderZero):
    """The counts, then which of the sequences with these counts; a bound.

    ``details``: the bits of each byte-plane where the alphabet is wide.

    >>> from kolmo import estimate
    >>> estimate(np.ones(1000, np.float32), "enumerative", "sign").bits
    11
    """

    name = "enumerative"
    summary = "counts, then the index among sequences with these counts (by byte-plane if native)"

    def log2_probability(self, counts: Counts) -> tuple[float, dict[str, Any]]:
        return enumerative_log2(counts), {}
