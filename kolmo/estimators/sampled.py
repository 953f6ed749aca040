"""An adaptive code, measured on windows: an estimate of its whole code length, with its error.

The symbols of an object are cut into blocks. The first stretch is measured as it is, for a code
learns most there. The others fall into strata of equal size, in their order, so that every tensor
has its share; from each stratum of one tensor two blocks are drawn, and six or more from one of
several tensors, which may differ much. A block costs what the code takes for it
*after a warm-up*, the stretch before it: the length for both less that for the warm-up alone. So
learning is not counted anew in each window.

What a warm-up of bounded length leaves to learn is estimated from shorter ones: the mean gain from
W/16 to W/4 symbols and that from W/4 to W fall by a ratio, whose geometric series goes on to the
length of the object. The sum is subtracted, all of it counts as an error of its own, and where
it is more than 5 % of the figure there is none. What no window sees, repeats that lie farther
apart than a warm-up reaches above all, is not in the figure; an allowance of `UNSEEN` of it covers
what is lost at the borders of windows. A code that never forgets may take more for tensors of
different laws than after a warm-up in one of them: by how much these laws differ is an error too.

The error is that of a stratified mean (Cochran 1977, § 5), its degrees of freedom are those of
Satterthwaite (1946).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, get_estimator
from kolmo.estimators.strata import Stretch, make_strata
from kolmo.estimators.windows import Objects, Pricing
from kolmo.symbols import Alphabet, Shape, Symbols

FEWEST_WINDOWS = 64
"""Windows of a sample, at least."""

WORTH = 2
"""An object is measured whole unless its sample has so many times fewer symbols to code."""

UNSEEN = 0.002
"""Standard error of what windows cannot see, as a share of the figure."""

MIXING = 0.25
"""Standard error of what a code that never forgets carries from tensor to tensor, as a share of the
differences of their laws, most of which such codes fade or mix away."""

STEEPEST, FLATTEST = 0.25, 0.75
"""The ratios of successive gains that are believed: of a quarter per fourfold warm-up, as codes
of parameters have it, up to where a series hardly ends."""

_DOUBT = 1.0  # of what is extrapolated, which is the standard error of it
_MOST = 0.05  # of the figure that may be extrapolated
_STEP = 4  # by which the lengths of warm-ups differ
_FEW = 0.01  # of the symbols may lie in rows that windows cut, though the code sees columns
_LENGTHS = {"zstd": (1 << 17, 1 << 17), "gzip": (1 << 16, 1 << 16)}  # multiples of their blocks
_SAMPLED = ("zstd", "gzip", "xz", "brotli", "ppmd", "prequential", "context")


def can_sample(estimator: Estimator) -> bool:
    """Whether windows tell what an estimator would take for the whole.

    >>> can_sample(get_estimator("xz:6")), can_sample(get_estimator("lz76"))
    (True, False)
    """
    return estimator.name in _SAMPLED and getattr(estimator, "sample", None) is None


@dataclasses.dataclass(frozen=True)
class Sampled(Estimator):
    """An adaptive code on a stratified sample of windows after warm-ups; an estimate.

    It is not in the registry of estimators: a budget makes it (`kolmo.budgets`), or you do. Objects
    whose sample would hardly be less work are measured whole. ``details``: the number of
    ``windows``, the symbols of one (``window``) and of its ``warmup``, the bits that a longer
    warm-up would have saved (``learning``), and the error of the choice of windows alone
    (``spread``), and of what
    tensors of different laws may cost a code that never forgets (``mixing``).

    Parameters
    ----------
    of : str
        The spec of the code, its options joined by ``+``, without its layout.
    windows : int
        Even, at least 64.
    length, warmup : int
        Symbols of a window and of the stretch before it; rounded to whole rows where rows are not
        much longer.
    seed : int
        Of the choice of windows.

    Examples
    --------
    >>> print(Sampled("zstd:9", windows=128, layout="shuffle"))
    sampled:zstd:9,windows=128@shuffle
    >>> weights = np.random.default_rng(0).normal(size=4_000_000).astype(np.float16)
    >>> whole, sampled = get_estimator("zstd:3"), Sampled("zstd:3", length=4096, warmup=4096)
    >>> found = []
    >>> for estimator in (whole, sampled):
    ...     started = estimator.start(weights.shape, 1 << 16)
    ...     started.update(weights.view(np.uint16))
    ...     found.append(started.finish())
    >>> abs(found[1].bits - found[0].bits) < 2 * found[1].standard_error
    True
    """

    of: str = "zstd:9"
    windows: int = FEWEST_WINDOWS
    length: int = 1 << 16
    warmup: int = 1 << 16
    seed: int = 0
    layout: str = ""
    name = "sampled"
    value_field = "of"
    kind = "estimate"
    summary = "an adaptive code on windows after warm-ups, extrapolated with its error"

    def __post_init__(self) -> None:
        if not can_sample(self.inner):
            raise InputError(f"sampled: windows do not tell what {self.inner} takes for the whole")
        if self.windows < FEWEST_WINDOWS or self.windows % 2:
            raise InputError(f"sampled: windows are even, at least {FEWEST_WINDOWS}")
        if self.length < 1 or self.warmup < _STEP**2:
            raise InputError(f"sampled: a length is at least 1, a warm-up {_STEP**2} symbols")

    @classmethod
    def by(cls, estimator: Estimator, windows: int, seed: int) -> Sampled:
        """The sample of an estimator's figure by so many windows."""
        label = estimator.label.replace(",", "+")
        layout = estimator.layout_name
        own = "" if layout in (None, get_estimator(label.replace("+", ",")).layout_name) else layout
        length, warmup = _LENGTHS.get(estimator.name, (1 << 14, 1 << 16))
        return cls(label, windows, length, warmup, seed, own or "")

    @cached_property
    def inner(self) -> Estimator:
        """The code whose length is estimated."""
        layout = f"@{self.layout}" if self.layout else ""
        return get_estimator(self.of.replace("+", ",") + layout)

    @property
    def coded(self) -> int:
        """Symbols that the code is given for the whole sample, warm-ups counted as often as it
        takes them."""
        warmups = self.warmup + self.warmup // _STEP + self.warmup // _STEP**2
        return self.windows * (2 * warmups + 3 * self.length) + self.warmup + self.length

    def is_whole(self, numel: int) -> bool:
        """Whether an object of so many symbols is measured whole."""
        return WORTH * self.coded >= numel

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        if self.is_whole(sum(math.prod(shape) for shape in shapes)):
            return self.inner.working_memory(shapes, alphabet)
        longest = 2 * (self.warmup + self.length) + (1 << 18)
        return self.inner.working_memory([(longest,)], alphabet) + 64 * longest

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        started = self.inner.start_many(shapes, alphabet).inner  # which may refuse
        if self.is_whole(sum(math.prod(shape) for shape in shapes)):
            return started
        objects = Objects(shapes, self.warmup // _STEP)
        if self.inner.name == "context" and objects.cut > _FEW:
            raise NotApplicableError(
                f"{self}: rows are longer than the {objects.longest:,} symbols that stay whole"
            )
        return SampleAccumulator(self, objects, alphabet)


@dataclasses.dataclass(frozen=True)
class _Window:
    """A block of a stratum, and its place in the object."""

    stratum: int
    start: int
    stop: int
    size: int  # of the block, of whose bits those of whole rows tell
    warmups: tuple[int, ...]  # where each begins, the longest first

    @property
    def stretch(self) -> Stretch:
        return self.warmups[0], self.stop


class SampleAccumulator:
    """Takes all symbols, keeps those of one window at a time, and lets the others pass."""

    def __init__(self, sampled: Sampled, objects: Objects, alphabet: Alphabet) -> None:
        self._sampled, self._objects = sampled, objects
        self._pricing = Pricing(sampled.inner, objects, alphabet)
        self._raw = objects.numel * alphabet.bits
        self._head = objects.even(sampled.warmup + sampled.length)
        count = sampled.windows // 2
        self._strata = make_strata(objects.shapes, count, sampled.length, self._head)
        self._windows = sorted(self._drawn(), key=lambda window: window.start)
        self._stretches = [(0, self._head), *(window.stretch for window in self._windows)]
        self._first_bits = 0.0
        self._costs: list[NDArray[np.float64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._shift = max(0, alphabet.bits - 8)
        self._offset = self._next = 0
        self._kept: list[tuple[int, Symbols]] = []

    def needs(self, symbols: int) -> bool:
        """Whether any of the next so many symbols belongs to a window."""
        if self._next == len(self._stretches):
            return False
        return self._stretches[self._next][0] < self._offset + symbols

    def skip(self, symbols: int) -> None:
        """Let symbols pass that are not needed."""
        self._offset += symbols

    def update(self, symbols: Symbols) -> None:
        self._kept.append((self._offset, symbols.copy()))
        self._offset += symbols.size
        while self._next < len(self._stretches) and (
            self._stretches[self._next][1] <= self._offset
        ):
            self._price(self._next, self._kept_from(self._stretches[self._next]))
            self._next += 1
        needed = self._stretches[self._next][0] if self._next < len(self._stretches) else math.inf
        self._kept = [(at, kept) for at, kept in self._kept if at + kept.size > needed]

    def finish(self) -> CodeLength:
        sampled, numel = self._sampled, self._objects.numel
        by_stratum = self._by_stratum()
        means = np.sum([costs.mean(axis=0) for costs in by_stratum], axis=0)
        reach = self._pricing.reach() / sampled.warmup
        mixing = 0.0 if math.isfinite(reach) else MIXING * numel * self._mixing()
        ratio, more = _learning(means, numel / sampled.warmup, reach)
        learning = more * float(means[1] - means[0])
        figure = self._first_bits + float(means[0]) - learning
        if abs(learning) > _MOST * figure:
            raise NotApplicableError(
                f"{sampled}: after {sampled.warmup:,} symbols the code still learns so much that "
                f"windows do not tell what it takes for {numel:,}"
            )
        corrected = [costs[:, 0] - more * (costs[:, 1] - costs[:, 0]) for costs in by_stratum]
        spread, degrees = _stratified(corrected, [stratum.blocks for stratum in self._strata])
        error = math.hypot(spread, _DOUBT * learning, UNSEEN * figure, mixing)
        details: dict[str, Any] = {"windows": len(self._windows), "window": sampled.length}
        details |= {"warmup": sampled.warmup, "learning": learning, "spread": spread}
        details["mixing"] = mixing
        return CodeLength(
            figure,
            numel,
            self._raw,
            "estimate",
            {**details, "ratio": ratio},
            (self._head + sum(w.stop - w.start for w in self._windows)) / numel,
            error,
            f"of {len(self._windows)} windows, each after {sampled.warmup:,} weights; repeats "
            f"farther apart are not seen",
            degrees=degrees,
        )

    def _drawn(self) -> Iterator[_Window]:
        """The blocks of every stratum."""
        draw = np.random.default_rng([self._sampled.seed, self._objects.numel])
        for number, stratum in enumerate(self._strata):
            for block in stratum.draw(draw):
                yield self._window(number, *block)

    def _window(self, stratum: int, first: int, last: int) -> _Window:
        even = self._objects.even
        start = even(first)
        stop = max(even(last), self._objects.after(start))
        lengths = (self._sampled.warmup // _STEP**power for power in range(3))
        warmups = tuple(even(max(0, first - size)) for size in lengths)
        return _Window(stratum, start, stop, last - first, warmups)

    def _kept_from(self, stretch: Stretch) -> Symbols:
        low, high = stretch
        pieces = [kept[max(0, low - at) : max(0, high - at)] for at, kept in self._kept]
        return np.concatenate([piece for piece in pieces if piece.size])

    def _price(self, number: int, symbols: Symbols) -> None:
        if number == 0:
            self._first_bits = self._pricing.bits(symbols, 0)
            return
        window = self._windows[number - 1]
        first, ahead = window.warmups[0], window.start - window.warmups[0]
        found = [
            self._pricing.bits(symbols[start - first :], start)
            - self._pricing.bits(symbols[start - first : ahead], start)
            for start in window.warmups
        ]
        self._costs.append(np.array(found))
        self._counts.append(np.bincount((symbols >> self._shift).astype(np.uint8), minlength=256))

    def _mixing(self) -> float:
        """Bits a symbol that a code which never forgets may take more for the whole, where laws
        follow each other, than after a warm-up that saw one or two of them: the entropy of the mean
        of the windows' laws less their mean entropy, of the first 8 bits of symbols."""
        drawn = np.bincount([window.stratum for window in self._windows])
        shares = np.array([self._strata[w.stratum].size / drawn[w.stratum] for w in self._windows])
        sizes = np.array([counts.sum() for counts in self._counts])
        laws = np.array(self._counts) / sizes[:, None]
        shares /= shares.sum()
        seen = (laws > 0).sum(axis=1) - 1
        chance = float(shares @ (seen / (2 * math.log(2) * sizes)))  # Miller (1955)
        return max(0.0, float(_entropy(shares @ laws) - shares @ _entropy(laws)) - chance)

    def _by_stratum(self) -> list[NDArray[np.float64]]:
        """Of every stratum what all of it would cost: its windows × warm-ups.

        Bits a symbol of a window times the symbols of the stratum; where all blocks are drawn and
        differ in size, each counts by its size.
        """
        found: list[list[NDArray[np.float64]]] = [[] for _ in self._strata]
        for window, costs in zip(self._windows, self._costs, strict=True):
            found[window.stratum].append(costs / (window.stop - window.start) * window.size)
        sizes = [[w.size for w in self._windows if w.stratum == n] for n in range(len(found))]
        return [
            np.array(costs) * (stratum.size / np.mean(taken))
            for stratum, costs, taken in zip(self._strata, found, sizes, strict=True)
        ]


def _entropy(laws: NDArray[np.float64]) -> Any:
    """Bits, along the last axis."""
    return -(laws * np.log2(np.where(laws > 0, laws, 1.0))).sum(axis=-1)


def _learning(means: NDArray[np.float64], times: float, reach: float) -> tuple[float, float]:
    """The ratio of successive gains of fourfold warm-ups, and how many times the last of them a
    code still gains from warm-ups up to the whole object, on the mean over it; it has so many times
    the symbols of a warm-up, and the code reaches back so many times as far.

    >>> _learning(np.array([100.0, 104.0, 120.0]), 4.0**9, 4.0**9)[0]
    0.25
    >>> _learning(np.array([100.0, 104.0, 120.0]), 4.0**9, 0.5)[1]
    0
    """
    last, earlier = float(means[1] - means[0]), float(means[2] - means[1])
    ratio = min(max(last / earlier if earlier > 0 else FLATTEST, STEEPEST), FLATTEST)
    most = math.log(max(1.0, min(times, reach)), _STEP)
    shares = [
        min(1.0, most - step) * max(0.0, 1 - _STEP ** (step + 0.5) / times)
        for step in range(math.ceil(most))
    ]
    return ratio, sum(ratio ** (step + 1) * share for step, share in enumerate(shares))


def _stratified(
    totals: Sequence[NDArray[np.float64]], blocks: Sequence[int]
) -> tuple[float, float]:
    """The standard error of a total, from what each block says of its stratum's, and its degrees
    of freedom."""
    pairs = [(each, count) for each, count in zip(totals, blocks, strict=True) if count > each.size]
    variances = np.array([each.var(ddof=1) / each.size * (1 - each.size / count)
                          for each, count in pairs])  # fmt: skip
    squares = sum(v**2 / (each.size - 1) for v, (each, _) in zip(variances, pairs, strict=True))
    degrees = max(1.0, float(variances.sum()) ** 2 / squares) if squares else math.nan
    return math.sqrt(float(variances.sum())), degrees
