"""One pass over a stretch of weights feeds accumulators of several quantizers.

The symbols of a quantizer are made once for all its accumulators, and counted once for all of those
that keep counts of symbols alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import NotExpressibleError
from kolmo.estimators.accumulators import BlockAccumulator
from kolmo.estimators.base import Accumulator
from kolmo.estimators.blocks import StringCounter
from kolmo.estimators.counts import ORDER_0_LIMIT, Histogram
from kolmo.estimators.ctm import BLOCK
from kolmo.quantize import UNKNOWN, Distortion, SymbolCoder, distortion
from kolmo.quantize.distortion import weighted
from kolmo.quantize.encoding import (
    all_patterns,
    as_signed,
    has_signs,
    is_narrow,
    last_number,
    patterns_of,
)
from kolmo.quantize.late import LateCoder
from kolmo.quantize.native import SignCoder
from kolmo.symbols import Alphabet, Symbols

Weights = NDArray[Any]

_RUN = 1 << 16
_MANY = 1 << 13  # weights from which counts of patterns cost less than those of symbols


def is_late(
    dtype: np.dtype[Any], alphabet: Alphabet, given: Iterable[Accumulator], weights: int
) -> bool:
    """Whether a sweep of so many weights asks a coder for symbols at its end alone, as all that is
    given only counts them: then a `LateCoder` will do."""
    few = weights >= _MANY and is_narrow(dtype) and alphabet.size <= ORDER_0_LIMIT
    return few and all(_histogram(each) is not None for each in given)


class Sweep:
    """Feeds accumulators with the symbols of weights, in as few passes as it can.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the weights.
    takers : list of (SymbolCoder, list of Accumulator)
        The accumulators (`Checked.inner`: their symbols are not checked) that take the symbols of
        each coder. They are fed no further by anybody else until the sweep is finished.
    weights : int, optional
        How many there are, for a few are not worth a table of all patterns.
    measured : bool
        Whether the distortions are wanted as well.

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
        self,
        dtype: np.dtype[Any],
        takers: Iterable[tuple[SymbolCoder, Sequence[Accumulator]]],
        weights: int | None = None,
        measured: bool = False,
    ) -> None:
        self._patterns = Patterns(dtype, pays=weights is None or weights >= _MANY)
        self._feeds: list[list[Feed]] = []
        self._losses: list[Loss] = []
        for coder, given in takers:
            loss = Loss.of(coder, self._patterns) if measured else Loss(UNKNOWN)
            self._losses.append(loss)
            self._feeds.append([*_feeds(coder, given, self._patterns, loss), *loss.feeds])
        self.errors: list[NotExpressibleError | None] = [None] * len(self._feeds)

    @property
    def distortions(self) -> list[Distortion]:
        """For each taker what its coder lost of the weights so far; known when it is finished."""
        return [loss.found for loss in self._losses]

    def update(self, weights: Weights) -> None:
        """Take the next weights: flat, contiguous, of the dtype, in native byte order."""
        self._patterns.update(weights)
        self._each(lambda feed: feed.update(weights))

    def finish(self) -> None:
        """Give the accumulators what they still lack."""
        self._each(lambda feed: feed.finish())

    def _each(self, act: Callable[[Feed], None]) -> None:
        for number, feeds in enumerate(self._feeds):
            for feed in feeds:
                if self.errors[number] is None:
                    try:
                        act(feed)
                    except NotExpressibleError as error:
                        self.errors[number] = error


class Feed(Protocol):
    """A way from weights to some accumulators of one coder."""

    def update(self, weights: Weights) -> None:
        """Take the next weights."""
        ...

    def finish(self) -> None:
        """Give the accumulators what they still lack."""
        ...


def _feeds(
    coder: SymbolCoder, given: Sequence[Accumulator], patterns: Patterns, loss: Loss
) -> list[Feed]:
    """The quickest ways to the accumulators of one coder."""
    counting = [found for each in given if (found := _histogram(each))]
    others = [each for each in given if not _histogram(each)]
    feeds: list[Feed] = []
    if isinstance(coder, SignCoder) and has_signs(patterns.dtype):
        strings = [counter for each in others if (counter := _strings(each))]
        others = [each for each in others if not _strings(each)]
        places = sorted({counter.ahead for counter in strings})
        for pair in (places[at : at + 2] for at in range(0, len(places), 2)):
            groups = [[each for each in strings if each.ahead == ahead] for ahead in pair]
            feeds.append(Signs(coder, groups, pair, counting))
            counting = []
        if counting and not patterns.are_few:
            feeds.append(Signs(coder, [[]], [0], counting))
            counting = []
    if counting and coder.elementwise and patterns.are_few and coder.alphabet.size <= ORDER_0_LIMIT:
        feeds.append(patterns.feed(coder, counting))
        counting = []
    if counting or others:
        feeds.append(SymbolFeed(coder, counting, others, loss))
    return feeds


class Loss:
    """What a coder loses, as far as it is known.

    Attributes
    ----------
    found : Distortion
    feeds : list of Feed
        What finds it, where the symbols themselves are not looked at.
    from_symbols : bool
        Whether it is found where symbols are made.
    """

    def __init__(self, found: Distortion, from_symbols: bool = False) -> None:
        self.found, self.from_symbols = found, from_symbols
        self.feeds: list[Feed] = []

    @classmethod
    def of(cls, coder: SymbolCoder, patterns: Patterns) -> Loss:
        if coder.lossless or not coder.restores:
            return cls(Distortion() if coder.lossless else UNKNOWN)
        loss = cls(Distortion(), from_symbols=not patterns.are_few)
        if patterns.are_few:
            patterns.are_needed = True
            loss.feeds.append(_PatternLoss(patterns, coder, loss))
        return loss

    def take(self, coder: SymbolCoder, weights: Weights, symbols: Symbols) -> None:
        """Take weights and their symbols, if it is found so."""
        if self.from_symbols:
            self.found += distortion(coder, weights, symbols, 0)


def _histogram(accumulator: Accumulator) -> Histogram | None:
    """The histogram of an accumulator that keeps nothing else of its symbols."""
    found = getattr(accumulator, "histogram", None)
    return found if isinstance(found, Histogram) else None


def _strings(accumulator: Accumulator) -> StringCounter | None:
    """The counter of an accumulator that counts blocks of signs, side by side."""
    return accumulator.signs if isinstance(accumulator, BlockAccumulator) else None


class SymbolFeed:
    """Makes the symbols of a coder, and counts them once for all that keep counts alone."""

    def __init__(
        self,
        coder: SymbolCoder,
        counting: Sequence[Histogram],
        others: Sequence[Accumulator],
        loss: Loss,
    ) -> None:
        self._coder, self._others, self._loss = coder, others, loss
        self._counting = counting if len(counting) > 1 else ()
        self._counts = counting[0] if len(counting) == 1 else Histogram(coder.alphabet)
        self._is_counted = bool(counting)

    def update(self, weights: Weights) -> None:
        if self._others:
            self._take(weights)
            return
        runs = max(1, weights.size // _RUN)  # whose symbols stay in a near cache
        for run in range(runs):
            first, last = (weights.size * place // runs for place in (run, run + 1))
            self._take(weights[first:last])

    def finish(self) -> None:
        for histogram in self._counting:
            histogram.merge(self._counts)

    def _take(self, weights: Weights) -> None:
        symbols = self._coder.encode(weights)
        self._loss.take(self._coder, weights, symbols)
        if self._is_counted:
            self._counts.update(symbols)
        for accumulator in self._others:
            accumulator.update(symbols)


class Patterns:
    """The bit patterns of weights of at most 16 bits, counted once for all coders.

    Whatever depends on the counts of symbols alone follows from those of the patterns.
    """

    def __init__(self, dtype: np.dtype[Any], pays: bool = True) -> None:
        self.dtype, self.are_few, self.are_needed = dtype, pays and is_narrow(dtype), False
        self._histogram = Histogram(Alphabet(1 << 8 * min(2, dtype.itemsize)))

    def feed(self, coder: SymbolCoder, counting: Sequence[Histogram]) -> Feed:
        """A feed that counts the symbols of a coder in the end."""
        self.are_needed = True
        return _PatternFeed(self, coder, counting)

    def update(self, weights: Weights) -> None:
        if self.are_needed:
            self._histogram.update(patterns_of(weights))

    def symbol_counts(self, coder: SymbolCoder) -> NDArray[np.int64]:
        """The counts of a coder's symbols."""
        values, counts = self._settled(coder)
        found = np.zeros(coder.alphabet.size, np.int64)
        np.add.at(found, coder.encode(values), counts)
        return found

    def distortion(self, coder: SymbolCoder) -> Distortion:
        """What a coder loses of all weights."""
        return weighted(coder, *self._settled(coder))

    def _settled(self, coder: SymbolCoder) -> tuple[Weights, NDArray[np.int64]]:
        """The values that occur, and how often; the coder is told of them if it waits for them."""
        counts = self._histogram.counts[0]
        present = np.flatnonzero(counts)
        values = all_patterns(self.dtype)[present]
        if isinstance(coder, LateCoder):
            coder.settle(values)
        return values, counts[present]


@dataclasses.dataclass
class _PatternFeed:
    patterns: Patterns
    coder: SymbolCoder
    counting: Sequence[Histogram]

    def update(self, weights: Weights) -> None:
        """The patterns are counted for all coders together."""

    def finish(self) -> None:
        counts = self.patterns.symbol_counts(self.coder)
        for histogram in self.counting:
            histogram.add_counts(counts)


@dataclasses.dataclass
class _PatternLoss:
    patterns: Patterns
    coder: SymbolCoder
    loss: Loss

    def update(self, weights: Weights) -> None:
        """The patterns are counted for all coders together."""

    def finish(self) -> None:
        self.loss.found = self.patterns.distortion(self.coder)


class Signs:
    """Counts the 12-blocks of signs without making symbols, and from these the signs.

    The counters of a group have their next block begin at the same place, ``ahead`` weights from
    here; those of a second group a few weights later, at the second of these places. The weights
    that make no whole block, at the head and at the end, go to them as symbols.
    """

    def __init__(
        self,
        coder: SymbolCoder,
        groups: Sequence[Sequence[StringCounter]],
        ahead: Sequence[int],
        counting: Sequence[Histogram],
    ) -> None:
        self._coder, self._counting = coder, counting
        self._counters, self._later = groups[0], groups[1] if len(groups) > 1 else []
        self._ahead, self._shift = ahead[0], ahead[-1] - ahead[0]
        self._left: Weights = np.empty(0, np.uint8)
        self._blocks, self._shifted = np.zeros((2, 1 << BLOCK[1]), np.int64)
        self._ends = np.full(2, -1)  # the first block and the last one
        self._signs = np.zeros(2, np.int64)  # of the head and the end

    def update(self, weights: Weights) -> None:
        head, weights = weights[: self._ahead], weights[self._ahead :]
        self._pass_on(head)
        self._ahead -= head.size
        if self._left.size:
            lacking = BLOCK[1] - self._left.size
            self._count(np.concatenate([self._left, weights[:lacking]]))
            weights = weights[lacking:]
        if weights.size:
            self._count(weights)

    def finish(self) -> None:
        for counter in self._counters:
            counter.add_counts(self._blocks)
        if self._ends[0] >= 0:
            for counter in self._later:
                counter.update(_signs_of(self._ends[0])[: self._shift])
                counter.add_counts(self._shifted)
                counter.update(_signs_of(self._ends[1])[self._shift :])
        self._pass_on(self._left)
        ones = int(self._blocks @ _ONES)
        blocks = np.array([BLOCK[1] * int(self._blocks.sum()) - ones, ones])
        for histogram in self._counting:
            histogram.add_counts(self._signs + blocks)

    def _count(self, weights: Weights) -> None:
        """Count the whole blocks, and keep what follows them."""
        from kolmo.estimators.kernels_signs import count_sign_strings

        whole = weights.size // BLOCK[1] * BLOCK[1]
        signed = as_signed(weights[:whole])
        assert signed is not None
        kind = signed.dtype.type
        magnitude, last = kind(np.iinfo(kind).max), kind(last_number(weights.dtype))
        shifted = self._shift, self._shifted, self._ends
        if count_sign_strings(signed, magnitude, last, self._blocks, *shifted):
            self._coder.encode(weights[:whole])  # raises the error that tells of NaN
        self._left = weights[whole:].copy()

    def _pass_on(self, weights: Weights) -> None:
        if weights.size:
            symbols = self._coder.encode(weights)
            self._signs += np.bincount(symbols, minlength=2)
            for counter in (*self._counters, *self._later):
                counter.update(symbols)


def _signs_of(block: int) -> Symbols:
    """The symbols of a block, first one highest."""
    return np.asarray(block >> np.arange(BLOCK[1])[::-1] & 1, np.uint8)


_ONES = sum(np.arange(1 << BLOCK[1]) >> place & 1 for place in range(BLOCK[1]))
"""How many of the signs of each block are positive."""
