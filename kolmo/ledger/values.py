"""How many distinct values there are: in all of a tensor, in each of its rows, in groups of a row.

Dequantized weights look like any others, but each row or group of them holds a few values alone,
or multiples of one step: a scale was stored for it, and a code for each weight.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.dtypes import bits_of
from kolmo.floats import bit_patterns, is_float, mantissa_bits

MOST_VALUES = 1 << 16
"""Distinct values that are counted, at most."""

FEW = 256
"""Distinct values of a tensor, a row or a group that are few: those of a code of 8 bits."""

GROUPS = (256, 128, 64, 32)
"""Weights of a group that are tried, where a row is a multiple of them."""

_BLOCK = 1 << 14  # weights that are looked at together
_LONGEST_ROW = 1 << 20  # weights of a row that is given whole
_LEAST_ROW = 16  # weights from which a row says anything
_LEAST_WEIGHTS = 64  # of a tensor that is looked at
_MOST_STEPS = 255  # of a group's largest weight
_TENSOR_STEPS = 32767  # of a tensor's
_SURE = 0.25  # of a step: weights that are written too coarsely to be told from any others

Patterns = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Grouped:
    """The largest part of a tensor that holds few values, or multiples of a step.

    Attributes
    ----------
    group : str
        ``tensor``, ``row`` (a slice of the first axis), or the weights of a group in a row; empty
        if there is none.
    values : int or None
        The most distinct values other than zero of any group; of a tensor all distinct values.
    levels : int or None
        If the weights of each group are multiples of a step of its own, the largest multiple.
    """

    group: str = ""
    values: int | None = None
    levels: int | None = None


class ValueCounter:
    """Counts distinct values of a tensor that is given piece by piece, in whole rows if they fit.

    >>> from kolmo.checkpoints import array_tensor
    >>> codes = np.random.default_rng(0).integers(-7, 8, size=(99, 64))
    >>> scales = np.random.default_rng(1).random(size=(99, 1))
    >>> tensor = array_tensor("w", (codes * scales).astype(np.float32))
    >>> counter = ValueCounter(tensor)
    >>> counter.update(tensor.load(0, tensor.numel))
    >>> counter.finish()
    (1371, Grouped(group='row', values=14, levels=7))
    """

    def __init__(self, tensor: WeightTensor) -> None:
        wide = bits_of(tensor.dtype) > 16
        self._distinct = _Distinct(tensor) if wide else None
        row, widths = _row(tensor), _widths(tensor)
        self._numel = tensor.numel
        self._block = max(1, _BLOCK // row) * row if row else _BLOCK
        self._counted = [_Counted(name, width, tensor) for name, width in widths]
        self._stepped = [_Stepped(name, width) for name, width in widths]
        self._slack: float | None = None if is_float(tensor.dtype) else 0.0

    def update(self, weights: NDArray[Any]) -> None:
        """Take the next weights."""
        if self._distinct:
            self._distinct.update(bit_patterns(weights))
        for start in range(0, weights.size, self._block):
            if not self._counted and not self._stepped:
                return
            self._update_groups(weights[start : start + self._block])

    def _update_groups(self, weights: NDArray[Any]) -> None:
        patterns = bit_patterns(weights)
        if self._slack is None and weights.any():
            self._slack = _slack(patterns, weights.dtype)
        wide = patterns if patterns.itemsize > 4 else patterns.astype(np.uint32, copy=False)
        self._counted = [group for group in self._counted if group.update(wide)]
        if self._slack is not None:  # before it zeros alone were seen, which are of any step
            fine = weights if weights.dtype.itemsize > 2 else weights.astype(np.float32)
            self._step(fine, self._slack)

    def _step(self, weights: NDArray[Any], slack: float) -> None:
        """Keep the widest groups that are multiples; narrower ones so far were parts of them."""
        while self._stepped and not self._stepped[0].update(weights, slack):
            failed = self._stepped.pop(0)
            for group in self._stepped[:1]:
                group.levels = failed.levels

    def finish(self, values: NDArray[np.float64] | None = None) -> tuple[int | None, Grouped]:
        """How many distinct values the tensor has (None of more than `MOST_VALUES`), and the group.

        ``values`` are all distinct values, where they are known already.
        """
        if self._distinct:
            values = self._distinct.values()
        found = None if values is None else values.size
        whole, parts = self._whole(values), self._parts()
        return found, parts if whole is None or (parts.levels and not whole.levels) else whole

    def _whole(self, values: NDArray[np.float64] | None) -> Grouped | None:
        """The tensor as one group."""
        if values is None or 2 * values.size > self._numel:
            return None
        if values.size < 2:
            return Grouped()
        levels = _levels(values, values.size, _TENSOR_STEPS, self._slack or 0.0)
        if values.size > FEW and levels < 1:
            return None
        return Grouped("tensor", values.size, levels if levels > 0 else None)

    def _parts(self) -> Grouped:
        counted = {group.name: group for group in self._counted if group.values}
        if self._stepped and self._stepped[0].levels:
            name = self._stepped[0].name
            return Grouped(name, counted[name].values if name in counted else None,
                           self._stepped[0].levels)  # fmt: skip
        few = min(counted.values(), key=lambda group: group.cost, default=None)
        return Grouped(few.name, few.values) if few else Grouped()


class _Distinct:
    """The distinct patterns of a tensor, in a hash table that is at most half full."""

    def __init__(self, tensor: WeightTensor) -> None:
        self._dtype, self._found = tensor.dtype, 0
        self._most = min(MOST_VALUES, tensor.numel)
        slots = 2 << (self._most - 1).bit_length()
        self._table = np.zeros(slots, f"u{tensor.dtype.itemsize}")
        self._used = np.zeros(slots, np.uint8)

    def update(self, patterns: Patterns) -> None:
        from kolmo.ledger import kernels

        if self._found <= self._most:
            state = self._table, self._used, self._found, self._most
            self._found = kernels.gather_distinct(patterns, *state)

    def values(self) -> NDArray[np.float64] | None:
        if self._found > self._most:
            return None
        return self._table[self._used > 0].view(self._dtype).astype(np.float64)


class _Counted:
    """Groups of one width, as long as each so far holds few values."""

    def __init__(self, name: str, width: int, tensor: WeightTensor) -> None:
        self.name, self._width, self.values = name, width, 0
        self._table = np.zeros(4 * FEW, np.uint64 if tensor.dtype.itemsize > 4 else np.uint32)
        sign = 1 << (bits_of(tensor.dtype) - 1) if is_float(tensor.dtype) else 0
        self._sign = self._table.dtype.type(sign)
        self._used, self._first = np.zeros(4 * FEW, np.int64), 1

    @property
    def cost(self) -> float:
        """Bits of a weight: of the number of its value, and of a table of values for each group."""
        return math.log2(self.values) + 32 * self.values / self._width

    def update(self, patterns: Patterns) -> bool:
        """Count; whether each group holds few."""
        from kolmo.ledger import kernels

        state = self._table, self._used, self._first
        found = kernels.distinct_of_groups(patterns, self._width, self._sign, FEW, *state)
        self._first += -(-patterns.size // self._width)
        self.values = max(self.values, found)
        return bool(found >= 0)


class _Stepped:
    """Groups of one width, as long as the weights of each so far are multiples of a step."""

    def __init__(self, name: str, width: int) -> None:
        self.name, self._width, self.levels = name, width, 0

    def update(self, weights: NDArray[Any], slack: float) -> bool:
        """Whether the groups are multiples too; a group of zeros is of any step."""
        levels = _levels(weights, self._width, _MOST_STEPS, slack, self.levels)
        self.levels = max(self.levels, levels)
        return levels >= 0


def _row(tensor: WeightTensor) -> int:
    """Weights of a slice of the first axis; of a vector all."""
    return tensor.numel // tensor.shape[0] if len(tensor.shape) > 1 and tensor.numel else 0


def _widths(tensor: WeightTensor) -> list[tuple[str, int]]:
    """Names and widths of groups, the widest first; none where they can say nothing."""
    if bits_of(tensor.dtype) <= 8 or tensor.numel < _LEAST_WEIGHTS:
        return []
    row = _row(tensor)
    rows = [("row", row)] if _LEAST_ROW <= row <= _LONGEST_ROW else []
    row = row or tensor.numel
    return rows + [(str(width), width) for width in GROUPS if row > width and row % width == 0]


def _slack(patterns: Patterns, dtype: np.dtype[Any]) -> float:
    """How far weights of so many digits may be off, as a share of the largest of them."""
    digits = mantissa_bits(dtype)
    used = int(np.bitwise_or.reduce(patterns)) & ((1 << digits) - 1)
    unused = (used & -used).bit_length() - 1 if used else 0
    return float(2.0 ** (1 - digits + unused))


def _levels(weights: NDArray[Any], width: int, most: int, slack: float, before: int = 0) -> int:
    """The largest multiple of a step in any group, −1 if there is none."""
    from kolmo.ledger import kernels

    sure = min(most, int(_SURE / slack)) if slack else 0
    if sure < 2:
        return -1
    levels: int = kernels.levels_of_groups(weights, width, sure, slack, before)
    return levels
