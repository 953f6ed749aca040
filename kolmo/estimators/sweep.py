"""One pass over a stretch of weights feeds accumulators of several quantizers.

The symbols of a quantizer are made once for all its accumulators, and counted once for all of those
that keep counts of symbols alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import NotExpressibleError
from kolmo.estimators.base import Accumulator
from kolmo.estimators.counts import Histogram
from kolmo.quantize import SymbolCoder

Weights = NDArray[Any]


class Sweep:
    """Feeds accumulators with the symbols of weights, in as few passes as it can.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the weights.
    takers : list of (SymbolCoder, list of Accumulator)
        The accumulators (`Checked.inner`: their symbols are not checked) that take the symbols of
        each coder. They are fed no further by anybody else until the sweep is finished.

    Attributes
    ----------
    errors : list of NotExpressibleError or None
        For each taker why its coder cannot express the weights. Its accumulators then hold nothing
        of use. All errors are known when the sweep is finished.

    Examples
    --------
    >>> from kolmo.checkpoints import array_tensor
    >>> from kolmo.estimators import get_estimator
    >>> from kolmo.quantize import get_quantizer
    >>> weights = np.float32([-1, 2, 3, 4] * 3)
    >>> coder = get_quantizer("sign").fit(array_tensor("w", weights))
    >>> kt, bdm = (get_estimator(name).start(weights.shape, 2).inner for name in ("kt", "bdm"))
    >>> sweep = Sweep(weights.dtype, [(coder, [kt, bdm])])
    >>> sweep.update(weights[:7])
    >>> sweep.update(weights[7:])
    >>> sweep.finish()
    >>> kt.finish().bits, round(bdm.finish().bits, 3)
    (13, 29.689)
    """

    def __init__(
        self, dtype: np.dtype[Any], takers: Iterable[tuple[SymbolCoder, Sequence[Accumulator]]]
    ) -> None:
        self._feeds = [_Feed(coder, accumulators) for coder, accumulators in takers]
        self.errors: list[NotExpressibleError | None] = [None] * len(self._feeds)

    def update(self, weights: Weights) -> None:
        """Take the next weights: flat, contiguous, of the dtype, in native byte order."""
        self._each(lambda feed: feed.update(weights))

    def finish(self) -> None:
        """Give the accumulators what they still lack."""
        self._each(lambda feed: feed.finish())

    def _each(self, act: Callable[[_Feed], None]) -> None:
        for number, feed in enumerate(self._feeds):
            if self.errors[number] is None:
                try:
                    act(feed)
                except NotExpressibleError as error:
                    self.errors[number] = error


class _Feed:
    """Makes the symbols of one coder, and counts them once for all that keep counts alone."""

    def __init__(self, coder: SymbolCoder, accumulators: Sequence[Accumulator]) -> None:
        self._coder = coder
        self._counting = [found for each in accumulators if (found := _histogram(each))]
        self._others = [each for each in accumulators if not _histogram(each)]
        self._counts = Histogram(coder.alphabet)

    def update(self, weights: Weights) -> None:
        symbols = self._coder.encode(weights)
        if self._counting:
            self._counts.update(symbols)
        for accumulator in self._others:
            accumulator.update(symbols)

    def finish(self) -> None:
        for histogram in self._counting:
            histogram.merge(self._counts)


def _histogram(accumulator: Accumulator) -> Histogram | None:
    """The histogram of an accumulator that keeps nothing else of its symbols."""
    found = getattr(accumulator, "histogram", None)
    return found if isinstance(found, Histogram) else None
