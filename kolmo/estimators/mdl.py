"""Minimum description length: codes in closed form.

What a decoder knows beforehand is the header of any container: names, shapes, dtypes, the
quantizer and its parameters, hence the number of symbols and the alphabet. Everything else counts.
A probability P becomes a code word of ceil(−log2 P) + 1 bits (Shannon–Fano–Elias), which is
prefix-free and which an arithmetic coder attains.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.estimators.base import (
    Accumulator,
    CodeLength,
    Estimator,
    Shape,
    Symbols,
    register,
    symbol_bits,
)
from kolmo.estimators.counts import Histogram


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


def kt_log2(counts: NDArray[np.int64]) -> float:
    """log2 of the Krichevsky–Trofimov probability of any sequence with these counts.

    P = Γ(A/2) / Γ(n + A/2) · Π Γ(c + 1/2) / Γ(1/2) over the A symbols (Krichevsky & Trofimov
    1981): every count starts at 1/2.

    >>> round(2 ** kt_log2(np.array([1, 1])), 6)  # 1/2 × 1/4
    0.125
    """
    alphabet, total = counts.size, int(counts.sum())
    values, times = np.unique(counts, return_counts=True)
    each = [
        int(k) * (math.lgamma(int(c) + 0.5) - math.lgamma(0.5))
        for c, k in zip(values, times, strict=True)
    ]
    norm = math.lgamma(alphabet / 2) - math.lgamma(total + alphabet / 2)
    return min(0.0, (norm + math.fsum(each)) / math.log(2))


@register
@dataclasses.dataclass(frozen=True)
class KT(Estimator):
    """The Krichevsky–Trofimov code of order 0; a bound.

    The symbols are coded one by one with the frequencies seen so far, so that no table is sent.
    Alphabets of more than 65,536 symbols: each byte-plane by a code of its own over 256 symbols.

    >>> from kolmo import estimate
    >>> estimate(np.ones(1000, np.float32), "kt", "sign").bits
    7
    """

    name = "kt"
    kind = "bound"
    summary = "adaptive order-0 code (by byte-plane for native floats)"

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        return _KTAccumulator(shapes, alphabet)


class _KTAccumulator:
    def __init__(self, shapes: Sequence[Shape], alphabet: int) -> None:
        self._numel = sum(math.prod(shape) for shape in shapes)
        self._bits_each = symbol_bits(alphabet)
        self._histogram = Histogram(alphabet)

    def update(self, symbols: Symbols) -> None:
        self._histogram.update(symbols)

    def finish(self) -> CodeLength:
        planes = [kt_log2(plane) for plane in self._histogram.counts]
        details = {"byte_planes": [-p for p in planes]} if self._histogram.by_byte else {}
        return CodeLength(
            word_bits(sum(planes)),
            self._numel,
            self._numel * self._bits_each,
            "bound",
            details,
        )
