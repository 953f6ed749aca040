"""The prequential code: each symbol is predicted from those before it.

The code length is −log2 of the product of the probabilities with which the symbols were predicted
one after the other (Dawid 1984; for networks Blier & Ollivier 2018, whose data are labels; here
they are the symbols of the weights). The prediction is a mixture of five:

1. the frequencies of all symbols so far, each plus ½ (Krichevsky–Trofimov);
2. the same with a memory that fades by half every 1,024 symbols;
3. to 5. a bell (logistic law) over the alphabet as a line, with the recent mean and mean absolute
   deviation, whose memory fades by half every 32, 512 and 8,192 symbols.

Their weights follow Bayes' rule, and 2⁻¹² of them is redistributed after each symbol, so that the
best may change (Herbster & Warmuth 1998). So the code sees rows and layers of different scale,
drift and bursts, which an order-0 code cannot. It costs at most log2 5 bits and 0.0004 bits a
symbol more than ``kt``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from kolmo.codes.lengths import word_bits
from kolmo.errors import NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.estimators.counts import ORDER_0_LIMIT
from kolmo.symbols import Alphabet, Shape, Symbols


@register
@dataclasses.dataclass(frozen=True)
class Prequential(Estimator):
    """The sum of −log2 of the predictive probabilities, as one code word; a bound.

    In model scope it learns from one tensor for the next. The decoder learns as the encoder does,
    so that nothing is sent beside the symbols; both compute in double precision and need the same
    exp, as on one machine. Alphabets have at most 65,536 symbols. ``details``: the share of the
    symbols that each predictor accounts for.

    >>> from kolmo import estimate
    >>> scales = np.repeat([0.02, 1.0], 5_000)  # the same values in any order cost kt the same
    >>> weights = np.random.default_rng(0).normal(size=10_000) * scales
    >>> found, kt = (estimate(weights, e, "symmetric:6") for e in ("prequential", "kt"))
    >>> found.bits < 0.9 * kt.bits
    True
    """

    name = "prequential"
    kind = "bound"
    summary = "adaptive predictions with fading memories, mixed; sees drifting scale (quantized)"

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        if alphabet.size > ORDER_0_LIMIT:
            raise NotApplicableError(
                f"prequential: needs at most {ORDER_0_LIMIT:,} symbols; quantize first, by "
                f"symmetric:8 say"
            )
        return _PrequentialAccumulator(sum(math.prod(shape) for shape in shapes), alphabet)


class _PrequentialAccumulator:
    def __init__(self, numel: int, alphabet: Alphabet) -> None:
        from kolmo.estimators import kernels_prequential as kernels

        self._numel, self._alphabet = numel, alphabet
        self._state = kernels.new_state(alphabet.size)

    def update(self, symbols: Symbols) -> None:
        from kolmo.estimators import kernels_prequential as kernels

        kernels.predict_symbols(symbols.astype(np.int64), self._state)

    @property
    def log2_probability(self) -> float:
        """log2 of the probability of all symbols taken."""
        return float(self._state.scalars[3])

    def finish(self) -> CodeLength:
        names = ("all", "recent", "bell:32", "bell:512", "bell:8192")
        shares = (self._state.used / max(1, self._numel)).tolist()
        details = {"predictors": dict(zip(names, shares, strict=True))}
        bits = word_bits(self.log2_probability)
        return CodeLength(bits, self._numel, self._numel * self._alphabet.bits, "bound", details)
