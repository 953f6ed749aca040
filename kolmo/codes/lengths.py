"""Code lengths in closed form: of integers, sets, sequences with given counts, and code words."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

Tally = Mapping[int, int]
"""How often each count occurs, by count: few numbers where the counts are many."""

_FEW = 1 << 6  # counts for which numpy takes longer to begin than Python to end
_LOW = 1 << 14  # counts that are counted in a table


def entropy_bits(counts: Counts) -> float:
    """n × the plug-in entropy (Shannon 1948) of counts that add up to n, in bits.

    >>> entropy_bits(np.array([2, 2, 4]))
    12.0
    """
    present = counts[counts > 0].astype(np.float64)
    if present.size == 0:
        return 0.0
    total = float(present.sum())
    return max(0.0, total * math.log2(total) - math.fsum(present * np.log2(present)))


def integer_bits(number: int) -> int:
    """Length of the Elias delta code (Elias 1975) of a number ≥ 0, in bits; it codes number + 1.

    >>> [integer_bits(n) for n in (0, 1, 2, 3, 1000)]
    [1, 4, 4, 5, 16]
    """
    length = (number + 1).bit_length()
    return length - 1 + 2 * length.bit_length() - 1


def subset_bits(size: int, whole: int) -> int:
    """Bits of a set of ``size`` out of ``whole`` things: ceil(log2 C(whole, size)).

    The enumerative code of a set (Cover 1973). Exact for up to 1,024 things; for more, computed in
    double precision and rounded up by more than its error.

    >>> subset_bits(1, 256), subset_bits(2, 4), subset_bits(0, 8)
    (8, 3, 0)
    """
    if size <= 1024:
        return (math.comb(whole, size) - 1).bit_length()
    choices = float(np.log2(float(whole) - np.arange(size)).sum())
    return math.ceil((choices - math.lgamma(size + 1) / math.log(2)) * (1 + 1e-12)) + 1


def word_bits(log2_probability: float) -> int:
    """Bits of a prefix-free code word for an outcome of this probability; 0 where it is certain.

    The logarithm is taken as it is, of a law that double precision itself defines; of
    probabilities that are ratios of integers see `kolmo.codes.chances`.

    >>> word_bits(-2.5), word_bits(0.0)
    (4, 0)
    """
    return math.ceil(-log2_probability) + 1 if log2_probability < 0 else 0


def kt_log2(counts: Counts) -> float:
    """log2 of the Krichevsky–Trofimov probability of any sequence with these counts.

    P = Γ(A/2) / Γ(n + A/2) · Π Γ(c + 1/2) / Γ(1/2) over the A symbols (Krichevsky & Trofimov
    1981): every count starts at 1/2.

    >>> round(2 ** kt_log2(np.array([1, 1])), 6)  # 1/2 × 1/4
    0.125
    """
    return kt_tally_log2(tally(counts))


def kt_tally_log2(times: Tally) -> float:
    """`kt_log2` of counts of which each occurs so often.

    >>> kt_tally_log2({1: 2, 5: 1}) == kt_log2(np.array([1, 5, 1]))
    True
    """
    alphabet, total = sum(times.values()), sum(map(operator.mul, times, times.values()))
    each = _sum_lgamma(times, 0.5) - alphabet * math.lgamma(0.5)
    norm = math.lgamma(alphabet / 2) - math.lgamma(total + alphabet / 2)
    return min(0.0, (norm + each) / math.log(2))


def enumerative_log2(counts: Counts) -> float:
    """log2 of the probability of a sequence whose counts are drawn uniformly, and then its order.

    1/P = C(n + A − 1, A − 1) · n! / Π c! (Davisson 1973, after Cover 1973).

    >>> round(2 ** enumerative_log2(np.array([1, 1])), 6)  # 3 compositions × 2 orders
    0.166667
    """
    alphabet, total = counts.size, int(counts.sum())
    compositions = math.lgamma(total + alphabet) - math.lgamma(alphabet) - math.lgamma(total + 1)
    orders = math.lgamma(total + 1) - _sum_lgamma(tally(counts), 1.0)
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
    ratios = [math.fsum(terms)]  # C(a + 1, n) / C(a, n): unlike C itself these do not overflow
    for a in range(1, alphabet - 1):
        ratios.append(1 + total / a / ratios[-1])
    return math.fsum(map(math.log2, ratios))


def tally(counts: Counts) -> dict[int, int]:
    """How often each count occurs.

    >>> tally(np.array([3, 1, 3]))
    {1: 1, 3: 2}
    """
    present = counts[np.flatnonzero(counts != 0)]  # of large alphabets a small part
    lacking = counts.size - present.size
    if present.size <= _FEW:
        found = dict(sorted(Counter(present.tolist()).items()))
    elif present.max() < _LOW:
        every = np.bincount(present)
        values = np.flatnonzero(every)
        found = dict(zip(values.tolist(), every[values].tolist(), strict=True))
    else:
        values, times = np.unique(present, return_counts=True)
        found = dict(zip(values.tolist(), times.tolist(), strict=True))
    return {0: lacking, **found} if lacking else found


def _sum_lgamma(times: Tally, shift: float) -> float:
    return math.fsum([k * math.lgamma(c + shift) for c, k in times.items()])
