"""Probabilities of code words: a logarithm in double precision, and integers where that is too near
to a whole number of bits to be rounded.

A word takes ceil(−log2 P) + 1 bits. A logarithm that is off by 10⁻¹⁵ makes one bit more of a
P = 2⁻ᵏ, or one less of a P just under it. So each comes with the error that it may have, and a
P that is a ratio of integers with those: where the error leaves a doubt, they decide; where there
are none, because they would be too large, the word is the longer one and never too short.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.lengths import (
    Counts,
    Tally,
    entropy_bits,
    enumerative_log2,
    kt_tally_log2,
    multinomial_regret,
    tally,
)

Ratio = tuple[int, int]
"""Numerator and denominator."""

_ERROR = 2.0**-46
"""Of a sum of logarithms, as a share of what is added up: 128 roundings, of which lgamma may make
ten (a test compares it with integers)."""

_TABLED = 1 << 14  # counts whose logarithms are kept

_MOST = 1 << 22  # bits of the logarithms' terms up to which integers are computed


@dataclasses.dataclass(frozen=True)
class Chance:
    """A probability.

    Attributes
    ----------
    log2 : float
    size : float
        What was added up for it, in bits, whatever the signs; it may be off by 2⁻⁴⁶ of this.
    ratio : callable or None
        Gives the probability as integers.
    """

    log2: float
    size: float = 0.0
    ratio: Callable[[], Ratio] | None = None

    @property
    def word_bits(self) -> int:
        """Bits of a prefix-free code word: ceil(−log2 P) + 1, and 0 where it is certain.

        >>> Chance(-2.5).word_bits, Chance(-2 - 1e-15, 2.0, lambda: (1, 4)).word_bits
        (4, 3)
        """
        error = _ERROR * self.size
        low, high = (max(0, math.ceil(-self.log2 + off)) for off in (-error, error))
        if low < high and self.ratio is not None and self.size <= _MOST:
            up, down = self.ratio()
            high = low if up << low >= down else high
        return high + 1 if high else 0


CERTAIN = Chance(0.0, 0.0, lambda: (1, 1))


def all_of(chances: Iterable[Chance]) -> Chance:
    """That of independent outcomes together.

    >>> import numpy as np
    >>> all_of([kt(np.array([1, 0])), kt(np.array([0, 1]))]).word_bits
    3
    """
    each = list(chances)
    log2, size = math.fsum([c.log2 for c in each]), math.fsum([c.size for c in each])
    exact = all(chance.ratio is not None for chance in each)
    return Chance(log2, size, (lambda: ratio_of(each)) if exact else None)


def ratio_of(chances: Iterable[Chance]) -> Ratio:
    """That of independent outcomes together, as integers."""
    ratios = [chance.ratio() for chance in chances if chance.ratio is not None]
    return math.prod(up for up, _ in ratios), math.prod(down for _, down in ratios)


def one_of(choices: int) -> Chance:
    """That of one of so many choices, all alike."""
    return Chance(-math.log2(choices), math.log2(choices), lambda: (1, choices))


def plain(bits: int) -> Chance:
    """That of so many bits as they are."""
    return Chance(-float(bits), float(bits), lambda: (1, 1 << bits))


def kt(counts: Counts) -> Chance:
    """That of any sequence with these counts under the code of Krichevsky & Trofimov (1981).

    >>> import numpy as np
    >>> kt(np.array([1, 0, 0, 0])).word_bits  # one of four
    3
    """
    return kt_tally(tally(counts))


def kt_rows(counts: Counts) -> Chance:
    """That of `kt` for every row of counts, all together.

    Of small counts the logarithms come from a table, so that the last digits of their sum may
    differ from those of the single ones.

    >>> import numpy as np
    >>> kt_rows(np.array([[1, 0], [0, 1]])).word_bits
    3
    """
    totals, alphabet = counts.sum(axis=1).tolist(), counts.shape[1]
    if alphabet == 1 or max(totals) >= _TABLED:
        return all_of(map(kt, counts))
    norms = [math.lgamma(alphabet / 2) - math.lgamma(n + alphabet / 2) for n in totals]
    log2 = (math.fsum(norms) + float(_half_gammas()[counts].sum())) / math.log(2)
    return Chance(
        min(0.0, log2),
        sum(_size(alphabet, n) for n in totals),
        lambda: ratio_of(map(kt, counts)),
    )


@functools.cache
def _half_gammas() -> NDArray[np.float64]:
    """ln Γ(c + 1/2) / Γ(1/2) of small counts."""
    start = math.lgamma(0.5)
    return np.array([math.lgamma(c + 0.5) - start for c in range(_TABLED)])


def kt_tally(times: Tally) -> Chance:
    """That of `kt` for counts of which each occurs so often.

    >>> import numpy as np
    >>> kt_tally({0: 3, 1: 1}).word_bits == kt(np.array([1, 0, 0, 0])).word_bits
    True
    """
    alphabet, total = sum(times.values()), sum(map(operator.mul, times, times.values()))
    if alphabet == 1 or total == 0:
        return CERTAIN
    return Chance(
        kt_tally_log2(times),
        _size(alphabet, total),
        lambda: _kt_ratio(np.repeat(list(times), list(times.values()))),
    )


def enumerative(counts: Counts) -> Chance:
    """That of a sequence of which first the counts are drawn, then the order, all alike.

    >>> import numpy as np
    >>> enumerative(np.array([1, 0, 0, 0])).word_bits
    3
    """
    return _of_counts(counts, enumerative_log2, _enumerative_ratio)


def nml(counts: Counts) -> Chance:
    """That of a sequence under the normalized maximum likelihood.

    >>> import numpy as np
    >>> nml(np.array([1, 0, 0, 0])).word_bits
    3
    """
    total = int(counts.sum())
    few = total <= 1 << 11 and total * counts.size <= 1 << 20
    return _of_counts(counts, nml_log2, _nml_ratio if few else None)


def nml_log2(counts: Counts) -> float:
    """log2 of that of `nml`."""
    return -entropy_bits(counts) - multinomial_regret(counts.size, int(counts.sum()))


def orders(number: int) -> Chance:
    """The number of orders of things, number!, as a factor of a probability."""
    log2 = math.lgamma(number + 1) / math.log(2)
    return Chance(log2, log2, lambda: (math.factorial(number), 1))


def _of_counts(
    counts: Counts, log2: Callable[[Counts], float], ratio: Callable[[Counts], Ratio] | None
) -> Chance:
    alphabet, total = counts.size, int(counts.sum())
    if alphabet == 1 or total == 0:
        return CERTAIN
    size = _size(alphabet, total)
    return Chance(log2(counts), size, None if ratio is None else lambda: ratio(counts))


def _size(alphabet: int, total: int) -> float:
    """What is added up for the logarithm of a code of so many counts, all terms together."""
    return 2 * (total + alphabet) * math.log2(total + alphabet + 2)


# --- as integers ------------------------------------------------------------------------------


def _kt_ratio(counts: Counts) -> Ratio:
    """Π 1·3·…·(2c − 1) over the counts, and A·(A + 2)·…·(A + 2n − 2)."""
    total, (half, odd) = int(counts.sum()), divmod(counts.size, 2)
    up = math.prod(_odd_factorial(c) for c in counts[counts > 1].tolist())
    if odd:
        return up * _odd_factorial(half), _odd_factorial(half + total)
    return up, math.perm(half + total - 1, total) << total


def _odd_factorial(number: int) -> int:
    """1·3·…·(2 number − 1)."""
    return math.perm(2 * number, number) >> number


def _enumerative_ratio(counts: Counts) -> Ratio:
    """Π c! over the counts, and n! × the number of counts that add up to n."""
    total = int(counts.sum())
    up = math.prod(math.factorial(c) for c in counts[counts > 1].tolist())
    return up, math.comb(total + counts.size - 1, total) * math.factorial(total)


def _nml_ratio(counts: Counts) -> Ratio:
    """Π c^c over the counts, and nⁿ C(A, n) (`multinomial_regret`), both whole."""
    total = int(counts.sum())
    last = total**total
    norm = sum(math.perm(total, k) * total ** (total - k) for k in range(total + 1))
    for a in range(1, counts.size - 1):
        last, norm = norm, norm + total * last // a
    return math.prod(c**c for c in counts[counts > 1].tolist()), norm
