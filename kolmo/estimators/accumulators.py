"""What the estimators on blocks keep while symbols come: counts, of all tensors or of each."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.bands import Bands
from kolmo.estimators.base import CodeLength
from kolmo.estimators.blocks import Blocks, Boundary, SquareCounter, StringCounter
from kolmo.estimators.ctm import BLOCK, ShapeTable, load_table
from kolmo.estimators.plans import BlockPlan, Taken
from kolmo.intervals import FEWEST, sum_degrees
from kolmo.symbols import Alphabet, Shape, Symbols

SATURATED = 0.9
"""Share of the possible blocks seen from which a BDM is marked as saturated."""

_MOST = 1 << 32
"""Weights whose blocks are counted in 32 bits, before the counts move to 64."""

AGGREGATES = ("sum", "pooled")
"""How tensors make the figure of a model: each has its own, or all blocks are counted together."""


@dataclasses.dataclass(frozen=True)
class Score:
    bits: float
    details: dict[str, Any]
    standard_error: float = math.nan
    saturated: bool = False
    degrees: float = math.nan


def _is_nan(value: Any) -> bool:
    """Whether a detail is undefined; in a report it is null, for JSON has no NaN."""
    return isinstance(value, float) and math.isnan(value)


def code_length(plan: BlockPlan, score: Score, bits_each: int) -> CodeLength:
    return CodeLength(
        score.bits,
        plan.numel,
        plan.numel * bits_each,
        "estimate",
        {name: None if _is_nan(value) else value for name, value in score.details.items()},
        standard_error=score.standard_error,
        note=plan.note,
        saturated=score.saturated,
        degrees=score.degrees,
    )


class Aggregated(Protocol):
    """An estimator that may count the blocks of all tensors together, or those of each alone."""

    @property
    def ndim(self) -> int: ...

    @property
    def aggregate(self) -> str: ...

    def pooled(self, plan: BlockPlan, alphabet: Alphabet) -> Any:
        """An accumulator that counts all blocks together; it can be merged."""
        ...


class Scorer(Aggregated, Protocol):
    """One that makes bits of counted blocks."""

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: BlockPlan) -> Score:
        """Bits and details, from the blocks and the tables of their shapes."""
        ...


# --- accumulators ---------------------------------------------------------------------------


class BlockAccumulator:
    """Counts blocks, then lets the estimator score them."""

    def __init__(
        self,
        estimator: Scorer,
        plan: BlockPlan,
        counter: StringCounter | SquareCounter,
        alphabet: Alphabet,
    ) -> None:
        self._estimator, self.plan, self._alphabet = estimator, plan, alphabet
        self._taken, self._counter = Taken(plan), counter

    def update(self, symbols: Symbols) -> None:
        self._counter.update(self._taken.select(symbols))

    def merge(self, part: BlockAccumulator) -> None:
        self._counter.merge(part._counter)  # type: ignore[arg-type]

    @property
    def signs(self) -> StringCounter | None:
        """The counter, if it takes strings of two symbols that are cut into blocks side by side."""
        counter = self._counter
        return counter if isinstance(counter, StringCounter) and counter.is_binary else None

    def finish(self) -> CodeLength:
        tables = load_table(self._estimator.ndim, self._alphabet.size)
        score = self._estimator.score(self._counter.finish(), tables, self.plan)
        return code_length(self.plan, score, self._alphabet.bits)


class PlaneAccumulator:
    """QuBD: counts the blocks of every bit-plane."""

    def __init__(self, estimator: Aggregated, plan: BlockPlan, alphabet: Alphabet) -> None:
        self.plan, self._ndim, self._planes = plan, estimator.ndim, alphabet.bits
        self._aggregate = estimator.aggregate
        self._taken = Taken(plan)
        self._bands = Bands(plan.matrices, BLOCK[2])
        self._squares = np.zeros((8 * -(-self._planes // 8), 1 << 16), np.int64)
        self._recent = np.zeros_like(self._squares, np.uint32)  # half as wide: nearer to the core
        self._held = 0  # weights that are counted there
        self._strings = [
            StringCounter(2, Boundary(), before=plan.before) for _ in range(self._planes)
        ]

    def update(self, symbols: Symbols) -> None:
        symbols = self._taken.select(symbols)
        if self._ndim == 1:
            for plane, counter in enumerate(self._strings):
                counter.update(
                    (symbols >> symbols.dtype.type(plane)).astype(np.uint8) & np.uint8(1)
                )
            return
        for rows, _, _ in self._bands.update(symbols):
            self._count(rows)

    def merge(self, part: PlaneAccumulator) -> None:
        self._squares += part.squares
        for mine, its in zip(self._strings, part._strings, strict=True):
            mine.merge(its)

    @property
    def squares(self) -> NDArray[np.int64]:
        """The counts of the 4 × 4 blocks, by plane and code."""
        if self._held:
            self._squares += self._recent
            self._recent[:], self._held = 0, 0
        return self._squares

    def finish(self) -> CodeLength:
        table = load_table(self._ndim, 2)[(BLOCK[self._ndim],) * self._ndim]
        scores, shares = [], []
        for plane in reversed(range(self._planes)):
            codes, counts = self._blocks(plane)
            scores.append(float((table.lookup(codes)[0] + np.log2(counts)).sum()))
            shares.append(codes.size / table.possible)
        details = {"planes": scores, "share_seen": shares, "aggregate": self._aggregate}
        score = Score(sum(scores), details, saturated=min(shares) >= SATURATED)
        return code_length(self.plan, score, self._planes)

    def _count(self, rows: Symbols) -> None:
        from kolmo.estimators import kernels

        for first in range(0, self._planes, 8):
            eight = (rows >> rows.dtype.type(first)).astype(np.uint8, copy=False)
            kernels.count_plane_squares(eight, self._recent[first : first + 8])
        self._held += rows.size
        if self._held >= _MOST:
            self.squares  # noqa: B018 (empties the recent counts)

    def _blocks(self, plane: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._ndim == 1:
            return self._strings[plane].finish()[(BLOCK[1],)]
        counts = self.squares[plane]
        codes = np.flatnonzero(counts)
        return codes, counts[codes]


class SumAccumulator:
    """Adds up the figures of single tensors, each of which is scored as soon as it is whole."""

    def __init__(self, estimator: Aggregated, plan: BlockPlan, alphabet: Alphabet) -> None:
        self._estimator, self.plan, self._alphabet = estimator, plan, alphabet
        self._taken, self._singles = Taken(plan), plan.singles
        self._current: Any = None
        self._left = 0  # symbols that the current tensor still lacks
        self._codes: list[CodeLength] = []

    def update(self, symbols: Symbols) -> None:
        symbols = self._taken.select(symbols)
        while symbols.size:
            if self._current is None:
                single = self._singles[len(self._codes)]
                self._current, self._left = self._single(single), single.numel
            piece, symbols = symbols[: self._left], symbols[self._left :]
            self._current.update(piece)
            self._left -= piece.size
            if not self._left:
                self._codes.append(self._current.finish())
                self._current = None

    def merge(self, part: Any) -> None:
        """Add what another took of whole tensors."""
        if not isinstance(part, SumAccumulator) and not part.plan.numel:
            return  # a tensor that has no figure
        codes = part._codes if isinstance(part, SumAccumulator) else [part.finish()]
        sizes = Counter(single.numel for single in self._singles)
        known = Counter(code.numel for code in [*self._codes, *codes])
        if self._current is not None or not known <= sizes:
            raise InputError(f"{self._estimator}: parts of a sum over tensors are whole tensors")
        self._codes += codes

    def finish(self) -> CodeLength:
        known = [code for code in self._codes if not math.isnan(code.standard_error)]
        errors = [code.standard_error for code in known]
        score = Score(
            math.fsum(code.bits for code in self._codes),
            _added([code.details for code in self._codes]),
            math.hypot(*errors) if errors else math.nan,
            saturated=any(code.saturated for code in self._codes),
            degrees=sum_degrees(errors, [code.degrees for code in known]),
        )
        return code_length(self.plan, score, self._alphabet.bits)

    def _single(self, plan: BlockPlan) -> Any:
        return self._estimator.pooled(plan, self._alphabet)


def _added(details: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The details of a sum: numbers of blocks and planes add up, means are over all blocks, and of
    the shares seen the largest is told."""
    found: dict[str, Any] = {"aggregate": "sum"}
    for name in details[0]:
        values = [each[name] for each in details]
        if name in ("blocks", "distinct", "imputed"):
            found[name] = sum(values)
        elif name == "planes":
            found[name] = [math.fsum(plane) for plane in zip(*values, strict=True)]
        elif name == "share_seen":
            found[name] = np.max(values, axis=0).tolist()
        elif name in ("mean_ctm", "bits_per_block"):
            found[name] = _mean(values, [each["blocks"] for each in details])
    return found


def _mean(values: Sequence[float | None], times: Sequence[int]) -> float:
    """The mean of means over so many blocks each; None where there are none."""
    total = math.fsum((value or 0.0) * n for value, n in zip(values, times, strict=True))
    return total / sum(times) if sum(times) else math.nan


class WindowAccumulator:
    """BDM of each window, their mean and its standard error.

    Raises
    ------
    NotApplicableError
        If the object holds fewer than 8 windows, whose spread hardly says how far their mean is
        off.
    """

    def __init__(self, ndim: int, window: int, plan: BlockPlan) -> None:
        whole = plan.windows(window)
        if whole < FEWEST:
            raise NotApplicableError(
                f"bdm,window={window}: a mean takes {FEWEST} windows, and there "
                f"{'is' if whole == 1 else 'are'} {whole}; take a smaller window"
            )
        self.plan, self._window, self._ndim = plan, window, ndim
        self._taken = Taken(plan)
        self._bands = Bands(plan.matrices, window)
        self._left: Symbols = np.empty(0, np.uint8)
        self._scores: list[NDArray[np.float64]] = []

    def update(self, symbols: Symbols) -> None:
        symbols = self._taken.select(symbols).astype(np.uint8, copy=False)
        if self._ndim == 2:
            for rows, _, _ in self._bands.update(symbols):
                self._score(rows, self._window)
            return
        symbols = np.concatenate([self._left, symbols])
        whole = symbols.size // self._window * self._window
        self._score(symbols[:whole].reshape(1, whole), 1)
        self._left = symbols[whole:].copy()

    def finish(self) -> CodeLength:
        scores = np.concatenate(self._scores)
        windows = self.plan.numel / self._window**self._ndim
        error = windows * float(scores.std(ddof=1)) / math.sqrt(scores.size)
        score = Score(
            float(scores.mean()) * windows,
            {"windows": int(scores.size), "bits_per_window": float(scores.mean())},
            error,
            degrees=scores.size - 1,
        )
        return code_length(self.plan, score, 1)

    def _score(self, rows: Symbols, height: int) -> None:
        from kolmo.estimators import kernels

        side = BLOCK[self._ndim]
        table = load_table(self._ndim, 2)[(side,) * self._ndim]
        ctm = table.lookup(np.arange(table.possible))[0]
        scores = np.empty((rows.shape[0] // height) * (rows.shape[1] // self._window))
        kernels.score_windows(np.ascontiguousarray(rows), height, self._window, side, ctm, scores)
        self._scores.append(scores)
