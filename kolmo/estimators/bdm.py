"""The block decomposition method and its relatives: estimates, never bounds.

BDM(x) = Σ over distinct blocks of CTM(block) + log2(times it occurs) (Zenil, Hernández-Orozco,
Kiani, Soler-Toscano & Rueda-Toicen 2018). There are only 4,096 binary strings of length 12 and
65,536 binary 4 × 4 squares: once a large object holds nearly all of them, BDM grows like a sum of
logarithms and hardly tells anything apart. Every figure therefore says which share of the possible
blocks it saw, and is marked ``saturated`` from 0.9 on; ``ctm`` and ``bdm,window=N`` do not
saturate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.estimators.blocks import Bands, Blocks, Boundary, SquareCounter, StringCounter
from kolmo.estimators.ctm import BLOCK, ShapeTable, check_table, load_table
from kolmo.estimators.scores import bdm_bits, blocks_seen, normalized_bdm, normalized_entropy
from kolmo.symbols import Shape, Symbols, symbol_bits

SATURATED = 0.9
"""Share of the possible blocks seen from which a BDM is marked as saturated."""

Matrix = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _BlockEstimator(Estimator):
    """What the estimators on blocks share: dimensions and boundary."""

    ndim: int = 1
    boundary: str = "ignore"
    shift: int = 1
    min_length: int = 2
    kind = "estimate"

    def __post_init__(self) -> None:
        if self.ndim not in (1, 2):
            raise InputError(f"{self.name}: ndim is 1 or 2, not {self.ndim}")
        Boundary(self.boundary, self.shift, self.min_length)

    def _counter(self, plan: _Plan, alphabet: int) -> StringCounter | SquareCounter:
        boundary = Boundary(self.boundary, self.shift, self.min_length)
        if self.ndim == 1:
            return StringCounter(alphabet, boundary, plan.numel)
        return SquareCounter(plan.matrices, boundary)

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        check_table(self.ndim, alphabet)
        least = self.min_length if self.boundary == "recursive" else BLOCK[self.ndim]
        plan = _Plan.of(self, shapes, least)
        return BlockAccumulator(self, plan, self._counter(plan, alphabet), alphabet)

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: _Plan) -> _Score:
        """Bits and details, from the blocks and the tables of their shapes."""
        raise NotImplementedError


@register
@dataclasses.dataclass(frozen=True)
class BDM(_BlockEstimator):
    """Block decomposition method; an estimate. Its symbols are binary (quantizer ``sign``), or in
    one dimension of 4, 5, 6 or 9 kinds.

    ``ndim=2``: 4 × 4 blocks; a tensor of more dimensions is flattened to (first, rest).
    ``boundary``: ignore, recursive (``min_length``), correlated (``shift``). ``window=N``: the
    mean over windows of N symbols (N × N in two dimensions), times how many such windows the
    object has: it does not saturate and compares across sizes; with its standard error.
    ``details``: blocks, distinct blocks, the share of possible ones, imputed ones, and BDM
    normalized between the least and the greatest of this shape (not for correlated; None where
    these are equal).
    In model scope, 1-D blocks run on across tensors; 2-D counts all tensors' blocks together and
    leaves out what is no matrix of at least 4 × 4: ``numel`` counts what is left.

    >>> from kolmo import estimate
    >>> estimate(np.zeros(12), "bdm", "sign").bits.__round__(4)
    25.6104
    """

    window: int | None = None
    name = "bdm"
    summary = "block decomposition method on binary or k-ary symbols; 1-D or ndim=2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and self.window < BLOCK[self.ndim]:
            raise InputError(f"bdm: a window is at least a block, {BLOCK[self.ndim]}")
        if self.window is not None and self.boundary != "ignore":
            raise InputError("bdm: windows go with boundary=ignore")

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        if self.window is None:
            return super()._start(shapes, alphabet)
        if alphabet != 2:
            raise NotApplicableError("bdm: windows need binary symbols; use quantizer sign")
        return WindowAccumulator(self, _Plan.of(self, shapes, self.window))

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: _Plan) -> _Score:
        bits, imputed = bdm_bits(blocks, tables)
        details = {**blocks_seen(blocks, tables), "imputed": imputed}
        if self.boundary != "correlated":
            details["normalized"] = normalized_bdm(bits, blocks, tables)
        saturated = details["share_seen"] >= SATURATED
        return _Score(bits, details, saturated=saturated)


@register
@dataclasses.dataclass(frozen=True)
class CTM(_BlockEstimator):
    """Mean CTM of a block, times the number of blocks; an estimate that does not saturate.

    Every block counts as often as it occurs, so that the mean compares across sizes; repetition of
    blocks is what it cannot see. The standard error is that of the mean over blocks.

    >>> from kolmo import estimate
    >>> estimate(np.zeros(24), "ctm", "sign").details["mean_ctm"].__round__(4)
    25.6104
    """

    name = "ctm"
    summary = "mean CTM a block: short-range structure, does not saturate"

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: _Plan) -> _Score:
        total, squares, number, imputed = 0.0, 0.0, 0, 0
        for shape, (codes, counts) in blocks.items():
            values, missing = tables[shape].lookup(codes)
            total += float((values * counts).sum())
            squares += float((values**2 * counts).sum())
            number += int(counts.sum())
            imputed += missing
        mean = total / number if number else math.nan
        variance = max(0.0, squares / number - mean**2) if number else math.nan
        details = {"mean_ctm": mean, "blocks": number, "imputed": imputed}
        return _Score(total, details, standard_error=math.sqrt(variance * number))


@register
@dataclasses.dataclass(frozen=True)
class BlockEntropy(_BlockEstimator):
    """Plug-in entropy of the blocks that BDM counts, times their number; an estimate.

    ``details``: bits a block, and normalized between the least and the greatest of this shape
    (None where these are equal).

    >>> from kolmo import estimate
    >>> estimate(np.repeat([0.0, 1.0], 12), "block-entropy", "sign").bits
    2.0
    """

    name = "block-entropy"
    summary = "plug-in entropy of 12-blocks or 4×4 blocks"

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: _Plan) -> _Score:
        counts = np.concatenate([c for _, c in blocks.values()]).astype(np.float64)
        number = counts.sum()
        each = max(0.0, float(-(counts / number * np.log2(counts / number)).sum())) if number else 0
        details = {**blocks_seen(blocks, tables), "bits_per_block": each}
        if self.boundary != "correlated":
            details["normalized"] = normalized_entropy(each, blocks, tables)
        saturated = details["share_seen"] >= SATURATED
        return _Score(each * float(number), details, saturated=saturated)


@register
@dataclasses.dataclass(frozen=True)
class QuBD(Estimator):
    """BDM of every bit-plane, added up; an estimate (arXiv 2605.15551).

    Plane p holds bit p of every symbol; the natural quantizer is ``affine:8``. Each plane is
    scored by 2-D BDM (4 × 4, boundary ignore), or with ``ndim=1`` by 1-D BDM. ``details``: the
    planes' bits and shares of possible blocks seen, most significant first.
    A tensor with a side under 4, or of one dimension, has no 2-D score.

    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).normal(size=(8, 8))
    >>> len(estimate(weights, "qubd", "affine:8").details["planes"])
    8
    """

    ndim: int = 2
    name = "qubd"
    kind = "estimate"
    summary = "BDM of every bit-plane (quantizer affine:8), 2-D or ndim=1"

    def __post_init__(self) -> None:
        if self.ndim not in (1, 2):
            raise InputError(f"qubd: ndim is 1 or 2, not {self.ndim}")

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        if alphabet > 1 << 16:
            raise NotApplicableError(
                "qubd takes symbols of 1 to 16 bits; use a quantizer such as affine:8"
            )
        return PlaneAccumulator(self, _Plan.of(self, shapes, BLOCK[self.ndim]), alphabet)


# --- what is measured of a list of shapes ---------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which of the tensors have blocks at all.

    ``sizes`` of all tensors in order, ``taken`` whether each is measured; ``matrices`` are the
    shapes of those, flattened to two dimensions.
    """

    sizes: tuple[int, ...]
    taken: tuple[bool, ...]
    matrices: tuple[Matrix, ...]

    @classmethod
    def of(cls, estimator: Any, shapes: Sequence[Shape], least: int) -> _Plan:
        sizes = tuple(math.prod(shape) for shape in shapes)
        if estimator.ndim == 1:
            if sum(sizes) < least:
                raise NotApplicableError(
                    f"{estimator}: {sum(sizes)} symbols hold no whole block of {least}"
                )
            return cls(sizes, (True,) * len(sizes), ())
        flat = [(shape[0], math.prod(shape[1:])) if len(shape) > 1 else (0, 0) for shape in shapes]
        taken = tuple(min(matrix) >= least for matrix in flat)
        if not any(taken):
            described = f"shape {list(shapes[0])}" if len(shapes) == 1 else "none of the tensors"
            raise NotApplicableError(
                f"{estimator}: needs a matrix of at least {least} × {least}; {described} is not "
                f"(ndim=1 takes any)"
            )
        return cls(sizes, taken, tuple(m for m, t in zip(flat, taken, strict=True) if t))

    @property
    def numel(self) -> int:
        return sum(size for size, taken in zip(self.sizes, self.taken, strict=True) if taken)

    @property
    def note(self) -> str:
        left = [size for size, taken in zip(self.sizes, self.taken, strict=True) if not taken]
        if not sum(left):
            return ""
        return f"leaves out {len(left)} tensors that are no matrices ({sum(left):,} weights)"


class _Taken:
    """Passes on the symbols of the tensors that are measured."""

    def __init__(self, plan: _Plan) -> None:
        self._left = [[size, taken] for size, taken in zip(plan.sizes, plan.taken, strict=True)]
        self._all = all(plan.taken)
        self._tensor = 0

    def select(self, symbols: Symbols) -> Symbols:
        if self._all:
            return symbols
        pieces = []
        while symbols.size:
            size, taken = self._left[self._tensor]
            piece, symbols = symbols[:size], symbols[size:]
            self._left[self._tensor][0] -= piece.size
            if self._left[self._tensor][0] == 0:
                self._tensor += 1
            if taken and piece.size:
                pieces.append(piece)
        return np.concatenate(pieces) if pieces else symbols[:0]


@dataclasses.dataclass(frozen=True)
class _Score:
    bits: float
    details: dict[str, Any]
    standard_error: float = math.nan
    saturated: bool = False


def _is_nan(value: Any) -> bool:
    """Whether a detail is undefined; in a report it is null, for JSON has no NaN."""
    return isinstance(value, float) and math.isnan(value)


def _code_length(plan: _Plan, score: _Score, bits_each: int) -> CodeLength:
    return CodeLength(
        score.bits,
        plan.numel,
        plan.numel * bits_each,
        "estimate",
        {name: None if _is_nan(value) else value for name, value in score.details.items()},
        standard_error=score.standard_error,
        note=plan.note,
        saturated=score.saturated,
    )


# --- accumulators ---------------------------------------------------------------------------


class BlockAccumulator:
    """Counts blocks, then lets the estimator score them."""

    def __init__(
        self,
        estimator: _BlockEstimator,
        plan: _Plan,
        counter: StringCounter | SquareCounter,
        alphabet: int,
    ) -> None:
        self._estimator, self._plan, self._alphabet = estimator, plan, alphabet
        self._taken, self._counter = _Taken(plan), counter

    def update(self, symbols: Symbols) -> None:
        self._counter.update(self._taken.select(symbols))

    def merge(self, part: BlockAccumulator) -> None:
        self._counter.merge(part._counter)  # type: ignore[arg-type]

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """Add blocks that were counted elsewhere, by code."""
        self._counter.add_counts(counts)

    def finish(self) -> CodeLength:
        tables = load_table(self._estimator.ndim, self._alphabet)
        score = self._estimator.score(self._counter.finish(), tables, self._plan)
        return _code_length(self._plan, score, symbol_bits(self._alphabet))


class PlaneAccumulator:
    """QuBD: counts the blocks of every bit-plane."""

    def __init__(self, estimator: QuBD, plan: _Plan, alphabet: int) -> None:
        self._plan, self._ndim, self._planes = plan, estimator.ndim, symbol_bits(alphabet)
        self._taken = _Taken(plan)
        self._bands = Bands(plan.matrices, BLOCK[2])
        self._squares = np.zeros((8 * -(-self._planes // 8), 1 << 16), np.int64)
        self._strings = [StringCounter(2, Boundary()) for _ in range(self._planes)]

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
        self._squares += part._squares
        for mine, its in zip(self._strings, part._strings, strict=True):
            mine.merge(its)

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """Add 4 × 4 blocks that were counted elsewhere, by plane (8 of them) and code."""
        self._squares[:8] += counts

    def finish(self) -> CodeLength:
        table = load_table(self._ndim, 2)[(BLOCK[self._ndim],) * self._ndim]
        scores, shares = [], []
        for plane in reversed(range(self._planes)):
            codes, counts = self._blocks(plane)
            scores.append(float((table.lookup(codes)[0] + np.log2(counts)).sum()))
            shares.append(codes.size / table.possible)
        details = {"planes": scores, "share_seen": shares}
        score = _Score(sum(scores), details, saturated=min(shares) >= SATURATED)
        return _code_length(self._plan, score, self._planes)

    def _count(self, rows: Symbols) -> None:
        from kolmo.estimators import kernels

        for first in range(0, self._planes, 8):
            eight = (rows >> rows.dtype.type(first)).astype(np.uint8, copy=False)
            kernels.count_plane_squares(eight, self._squares[first : first + 8])

    def _blocks(self, plane: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._ndim == 1:
            return self._strings[plane].finish()[(BLOCK[1],)]
        codes = np.flatnonzero(self._squares[plane])
        return codes, self._squares[plane][codes]


class WindowAccumulator:
    """BDM of each window, their mean and its standard error."""

    def __init__(self, estimator: BDM, plan: _Plan) -> None:
        assert estimator.window is not None
        self._plan, self._window, self._ndim = plan, estimator.window, estimator.ndim
        self._taken = _Taken(plan)
        self._bands = Bands(plan.matrices, estimator.window)
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
        windows = self._plan.numel / self._window**self._ndim
        spread = float(scores.std(ddof=1)) if scores.size > 1 else math.nan
        score = _Score(
            float(scores.mean()) * windows,
            {"windows": int(scores.size), "bits_per_window": float(scores.mean())},
            standard_error=windows * spread / math.sqrt(scores.size),
        )
        return _code_length(self._plan, score, 1)

    def _score(self, rows: Symbols, height: int) -> None:
        from kolmo.estimators import kernels

        side = BLOCK[self._ndim]
        table = load_table(self._ndim, 2)[(side,) * self._ndim]
        ctm = table.lookup(np.arange(table.possible))[0]
        scores = np.empty((rows.shape[0] // height) * (rows.shape[1] // self._window))
        kernels.score_windows(np.ascontiguousarray(rows), height, self._window, side, ctm, scores)
        self._scores.append(scores)
