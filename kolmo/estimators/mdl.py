"""Minimum description length: order-0 codes, whose length follows from the symbols' counts.

The decoder knows the header of a container beforehand: names, shapes, dtypes, the quantizer and its
parameters, hence the number of symbols and the alphabet. Everything else counts. A probability P
becomes a code word of ceil(−log2 P) + 1 bits (Shannon–Fano–Elias), which is prefix-free and which
an arithmetic coder of exact integers attains. The lengths are never too short; where double
precision leaves a doubt, integers decide (`kolmo.codes.chances`).

Alphabets of more than 65,536 symbols, such as native floats, are coded byte-plane by byte-plane.
Which one? They differ little: ``nml`` is the shortest in the worst case, ``kt`` needs only one pass
over the symbols, ``enumerative`` is the simplest.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from kolmo.codes.chances import Chance, all_of, enumerative, kt, kt_rows, kt_tally, nml
from kolmo.codes.lengths import Counts, multinomial_regret
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.estimators.counts import Histogram
from kolmo.symbols import Alphabet, Shape


@dataclasses.dataclass(frozen=True)
class OrderZero(Estimator):
    """Base of the codes whose length follows from the counts of the symbols."""

    kind = "bound"
    order_free = True

    def chance(self, counts: Counts) -> tuple[Chance, dict[str, Any]]:
        """The probability of a sequence with these counts, and its details."""
        raise NotImplementedError

    def chances(self, histogram: Histogram) -> list[tuple[Chance, dict[str, Any]]]:
        """`chance` of every plane of a histogram."""
        return [self.chance(counts) for counts in histogram.counts]

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        return 1 << 24  # counts of 65,536 symbols at most, and what their length is worked out with

    def grain(self, shapes: Sequence[Shape], alphabet: Alphabet | int) -> int | None:
        return 1

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        return _OrderZeroAccumulator(self, shapes, alphabet)


class _OrderZeroAccumulator:
    def __init__(self, code: OrderZero, shapes: Sequence[Shape], alphabet: Alphabet) -> None:
        self._code = code
        self._numel = sum(math.prod(shape) for shape in shapes)
        self._raw_bits = self._numel * alphabet.bits
        self.histogram = Histogram(alphabet)
        self.update = self.histogram.update

    def merge(self, part: _OrderZeroAccumulator) -> None:
        self.histogram.merge(part.histogram)

    def finish(self) -> CodeLength:
        planes = self._code.chances(self.histogram)
        details = planes[0][1]
        if self.histogram.by_byte:
            details = {"byte_planes": [-chance.log2 for chance, _ in planes]}
        bits = all_of(chance for chance, _ in planes).word_bits if self._numel else 0
        return CodeLength(bits, self._numel, self._raw_bits, "bound", details)


@register
@dataclasses.dataclass(frozen=True)
class KT(OrderZero):
    """The Krichevsky–Trofimov code of order 0; a bound.

    The symbols are coded one by one with the frequencies seen so far, so that no table is sent.
    ``details``: for wide alphabets the bits of each byte-plane, lowest first.

    >>> import numpy as np
    >>> from kolmo import estimate
    >>> estimate(np.ones(1000, np.float32), "kt", "sign").bits
    7
    """

    name = "kt"
    summary = "adaptive order-0 code (by byte-plane for native floats)"

    def chance(self, counts: Counts) -> tuple[Chance, dict[str, Any]]:
        return kt(counts), {}

    def chances(self, histogram: Histogram) -> list[tuple[Chance, dict[str, Any]]]:
        times = histogram.few_times  # of a few symbols, no table of counts is filled
        if times is not None:
            return [(kt_tally(times), {})]
        if histogram.by_byte:
            return super().chances(histogram)
        return [(kt_rows(histogram.counts), {})]


@register
@dataclasses.dataclass(frozen=True)
class NML(OrderZero):
    """Normalized maximum likelihood of the multinomial model; a bound.

    The length is the entropy plus the regret, which is the same for all sequences and the least
    possible in the worst case (Shtarkov 1987; Kontkanen & Myllymäki 2007). ``details``: the regret
    in bits, or, for wide alphabets, the bits of each byte-plane.

    >>> import numpy as np
    >>> from kolmo import estimate
    >>> code = estimate(np.ones(1000, np.float32), "nml", "sign")
    >>> code.bits, round(code.details["regret"], 2)
    (7, 5.33)
    """

    name = "nml"
    summary = "normalized maximum likelihood of order 0 (by byte-plane for native floats)"

    def chance(self, counts: Counts) -> tuple[Chance, dict[str, Any]]:
        return nml(counts), {"regret": multinomial_regret(counts.size, int(counts.sum()))}


@register
@dataclasses.dataclass(frozen=True)
class Enumerative(OrderZero):
    """The counts, then the index among all sequences with these counts; a bound.

    ``details``: for wide alphabets the bits of each byte-plane.

    >>> import numpy as np
    >>> from kolmo import estimate
    >>> estimate(np.ones(1000, np.float32), "enumerative", "sign").bits
    11
    """

    name = "enumerative"
    summary = "counts, then the index among sequences with these counts (by byte-plane if native)"

    def chance(self, counts: Counts) -> tuple[Chance, dict[str, Any]]:
        return enumerative(counts), {}
