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

from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.accumulators import (
    AGGREGATES,
    SATURATED,
    BlockAccumulator,
    PlaneAccumulator,
    Score,
    SumAccumulator,
    WindowAccumulator,
)
from kolmo.estimators.base import Accumulator, Estimator, register
from kolmo.estimators.blocks import Blocks, Boundary, SquareCounter, StringCounter
from kolmo.estimators.ctm import BLOCK, ShapeTable, check_table
from kolmo.estimators.plans import BlockPlan, flattened
from kolmo.estimators.scores import bdm_bits, blocks_seen, normalized_bdm, normalized_entropy
from kolmo.symbols import Alphabet, Shape


@dataclasses.dataclass(frozen=True)
class _Aggregated(Estimator):
    """What all estimators here share: dimensions, and how tensors make the figure of a model."""

    ndim: int = 1
    aggregate: str = "pooled"
    kind = "estimate"
    software = ("pybdm",)

    def __post_init__(self) -> None:
        if self.ndim not in (1, 2):
            raise InputError(f"{self.name}: ndim is 1 or 2, not {self.ndim}")
        if self.aggregate not in AGGREGATES:
            raise InputError(f"{self.name}: aggregate is sum or pooled, not {self.aggregate!r}")

    def grain(self, shapes: Sequence[Shape], alphabet: Alphabet | int) -> int | None:
        if self.ndim == 1:
            return 1
        columns = {flattened(shape)[1] for shape in shapes}
        return max(1, BLOCK[2] * columns.pop()) if len(columns) == 1 else None

    def _start_part(
        self, shape: Shape, alphabet: Alphabet, start: int, stop: int, before: int
    ) -> Accumulator:
        self._check(alphabet)
        before = before if self.aggregate == "pooled" else 0
        plan = BlockPlan.of_part(self, shape, self._least, start, stop, before)
        return self.pooled(plan, alphabet)

    @property
    def _least(self) -> int:
        """Side of the smallest object that has a block."""
        return BLOCK[self.ndim]

    def _check(self, alphabet: Alphabet) -> None:
        """NotApplicableError for an alphabet without blocks."""
        raise NotImplementedError

    def _aggregated(self, plan: BlockPlan, alphabet: Alphabet) -> Accumulator:
        if self.aggregate == "sum" and len(plan.singles) > 1:
            return SumAccumulator(self, plan, alphabet)
        return self.pooled(plan, alphabet)

    @property
    def joins(self) -> bool:
        return self.aggregate == "pooled"  # a sum needs each tensor's own

    def pooled(self, plan: BlockPlan, alphabet: Alphabet) -> Accumulator:
        """Counts the blocks of all tensors together."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _BlockEstimator(_Aggregated):
    """What the estimators that score counted blocks share: the boundary."""

    boundary: str = "ignore"
    shift: int = 1
    min_length: int = 2

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        return 1 << (24 if alphabet.size == 2 else 27)  # counts of all blocks there are, or occur

    def __post_init__(self) -> None:
        super().__post_init__()
        Boundary(self.boundary, self.shift, self.min_length)

    def _counter(self, plan: BlockPlan, alphabet: Alphabet) -> StringCounter | SquareCounter:
        boundary = Boundary(self.boundary, self.shift, self.min_length)
        if self.ndim == 1:
            return StringCounter(alphabet.size, boundary, plan.numel, plan.before)
        return SquareCounter(plan.matrices, boundary)

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        self._check(alphabet)
        return self._aggregated(BlockPlan.of(self, shapes, self._least), alphabet)

    def _check(self, alphabet: Alphabet) -> None:
        check_table(self.ndim, alphabet.size)

    def grain(self, shapes: Sequence[Shape], alphabet: Alphabet | int) -> int | None:
        overlapping = self.ndim == 2 and self.boundary == "correlated"
        return None if overlapping else super().grain(shapes, alphabet)

    @property
    def _least(self) -> int:
        return self.min_length if self.boundary == "recursive" else BLOCK[self.ndim]

    def pooled(self, plan: BlockPlan, alphabet: Alphabet) -> Accumulator:
        return BlockAccumulator(self, plan, self._counter(plan, alphabet), alphabet)

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: BlockPlan) -> Score:
        """Bits and details, from the blocks and the tables of their shapes."""
        raise NotImplementedError

    def _seen(self, blocks: Blocks, tables: dict[Shape, ShapeTable]) -> dict[str, Any]:
        return {**blocks_seen(blocks, tables), "aggregate": self.aggregate}


@register
@dataclasses.dataclass(frozen=True)
class BDM(_BlockEstimator):
    """Block decomposition method; an estimate. Its symbols are binary (quantizer ``sign``), or in
    one dimension of 4, 5, 6 or 9 kinds.

    ``ndim=2``: 4 × 4 blocks; a tensor of more dimensions is flattened to (first, rest).
    ``boundary``: ignore, recursive (``min_length``), correlated (``shift``). ``window=N``: the
    mean over windows of N symbols (N × N in two dimensions), times how many such windows the
    object has, of which it takes 8 at least: it does not saturate and compares across sizes; with
    its standard error.
    ``details``: blocks, distinct blocks, the share of possible ones, imputed ones, and BDM
    normalized between the least and the greatest of this shape (not for correlated; None where
    these are equal).
    ``aggregate``: in model scope the blocks of all tensors are ``pooled`` (1-D blocks run on across
    tensors), or each tensor has a BDM of its own and the figure is their ``sum``, which saturates
    later and is not normalized. 2-D leaves out what is no matrix of at least 4 × 4: ``numel``
    counts what is left.

    >>> from kolmo import estimate
    >>> estimate(np.zeros(12), "bdm", "sign").bits.__round__(4)
    25.6104
    """

    window: int | None = None
    name = "bdm"
    summary = (
        "block decomposition method on binary or k-ary symbols; 1-D or ndim=2; the blocks of a "
        "model pooled, or aggregate=sum of its tensors"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and self.window < BLOCK[self.ndim]:
            raise InputError(f"bdm: a window is at least a block, {BLOCK[self.ndim]}")
        if self.window is not None and self.boundary != "ignore":
            raise InputError("bdm: windows go with boundary=ignore")
        if self.window is not None and self.aggregate != "pooled":
            raise InputError("bdm: windows have a mean of their own, of all tensors")

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        if self.window is None:
            return super()._start(shapes, alphabet)
        if alphabet.size != 2:
            raise NotApplicableError("bdm: windows need binary symbols; use quantizer sign")
        return WindowAccumulator(self.ndim, self.window, BlockPlan.of(self, shapes, self.window))

    def grain(self, shapes: Sequence[Shape], alphabet: Alphabet | int) -> int | None:
        return super().grain(shapes, alphabet) if self.window is None else None

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: BlockPlan) -> Score:
        bits, imputed = bdm_bits(blocks, tables)
        details = {**self._seen(blocks, tables), "imputed": imputed}
        if self.boundary != "correlated":
            details["normalized"] = normalized_bdm(bits, blocks, tables)
        saturated = details["share_seen"] >= SATURATED
        return Score(bits, details, saturated=saturated)


@register
@dataclasses.dataclass(frozen=True)
class CTM(_BlockEstimator):
    """Mean CTM of a block, times the number of blocks; an estimate that does not saturate.

    Every block counts as often as it occurs, so that the mean compares across sizes; repetition of
    blocks is what it cannot see. The standard error is that of the mean over blocks, as if they
    were drawn; a single block has none.

    >>> from kolmo import estimate
    >>> estimate(np.zeros(24), "ctm", "sign").details["mean_ctm"].__round__(4)
    25.6104
    """

    name = "ctm"
    summary = "mean CTM a block: short-range structure, does not saturate"

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: BlockPlan) -> Score:
        total, squares, number, imputed = 0.0, 0.0, 0, 0
        for shape, (codes, counts) in blocks.items():
            values, missing = tables[shape].lookup(codes)
            total += float((values * counts).sum())
            squares += float((values**2 * counts).sum())
            number += int(counts.sum())
            imputed += missing
        mean = total / number if number else math.nan
        degrees = number - 1 if number > 1 else math.nan
        variance = max(0.0, squares - number * mean**2) / degrees if number > 1 else math.nan
        details = {
            "mean_ctm": mean,
            "blocks": number,
            "imputed": imputed,
            "aggregate": self.aggregate,
        }
        return Score(total, details, math.sqrt(variance * number), degrees=degrees)


@register
@dataclasses.dataclass(frozen=True)
class BlockEntropy(_BlockEstimator):
    """Plug-in entropy of the blocks that BDM counts, times their number; an estimate.

    ``aggregate``: of the blocks of all tensors ``pooled``, or the ``sum`` over tensors.
    ``details``: bits a block, and normalized between the least and the greatest of this shape
    (None where these are equal).

    >>> from kolmo import estimate
    >>> estimate(np.repeat([0.0, 1.0], 12), "block-entropy", "sign").bits
    2.0
    """

    name = "block-entropy"
    summary = "plug-in entropy of 12-blocks or 4×4 blocks"

    def score(self, blocks: Blocks, tables: dict[Shape, ShapeTable], plan: BlockPlan) -> Score:
        counts = np.concatenate([c for _, c in blocks.values()]).astype(np.float64)
        number = counts.sum()
        each = max(0.0, float(-(counts / number * np.log2(counts / number)).sum())) if number else 0
        details = {**self._seen(blocks, tables), "bits_per_block": each}
        if self.boundary != "correlated":
            details["normalized"] = normalized_entropy(each, blocks, tables)
        saturated = details["share_seen"] >= SATURATED
        return Score(each * float(number), details, saturated=saturated)


@register
@dataclasses.dataclass(frozen=True)
class QuBD(_Aggregated):
    """BDM of every bit-plane, added up; an estimate (arXiv 2605.15551).

    Plane p holds bit p of every symbol; the natural quantizer is ``affine:8``. Each plane is
    scored by 2-D BDM (4 × 4, boundary ignore), or with ``ndim=1`` by 1-D BDM. ``details``: the
    planes' bits and shares of possible blocks seen, most significant first.
    ``aggregate``: in model scope the ``sum`` over tensors, each of which has a figure of its own,
    as published; or the blocks of all tensors ``pooled``, which costs less and saturates sooner.
    The share of blocks seen of a sum is the largest of a tensor.
    A tensor with a side under 4, or of one dimension, has no 2-D score.

    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).normal(size=(8, 8))
    >>> len(estimate(weights, "qubd", "affine:8").details["planes"])
    8
    """

    ndim: int = 2
    aggregate: str = "sum"
    name = "qubd"
    summary = (
        "BDM of every bit-plane (quantizer affine:8), 2-D or ndim=1; of a model the sum of its "
        "tensors (as published), or aggregate=pooled"
    )

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        self._check(alphabet)
        return self._aggregated(BlockPlan.of(self, shapes, self._least), alphabet)

    def _check(self, alphabet: Alphabet) -> None:
        if alphabet.size > 1 << 16:
            raise NotApplicableError(
                "qubd takes symbols of 1 to 16 bits; use a quantizer such as affine:8"
            )

    def pooled(self, plan: BlockPlan, alphabet: Alphabet) -> Accumulator:
        return PlaneAccumulator(self, plan, alphabet)
