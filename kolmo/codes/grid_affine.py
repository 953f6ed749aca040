"""Finding grids that do not go through zero: level × step + offset, and (level + offset) × step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.grid_scaled import rounded_bits
from kolmo.codes.grid_search import (
    ADD_FIRST,
    FUSED,
    THEN_ADD,
    Floats,
    StepGrid,
    Values,
    blocked,
    bounds_of,
    combine,
)

_EXACT = 0.9  # share of the blocks all of whose weights must be found
_TRIES = 16  # steps that are tried of a block, all float32 numbers within its bounds
_UNSURE = 2.0**-25  # half a unit in the last place of a float32


def with_offsets(table: Values, grid: StepGrid) -> StepGrid | None:
    """The steps and offsets that give the weights of a grid whose steps are known about; None if
    those of too many blocks are not found.

    Parameters
    ----------
    table : float ndarray of two dimensions
    grid : StepGrid
        Bounds of the steps that `find_grid` found from differences of weights.
    """
    groups = blocked(table, grid.block)
    found = [_solved(groups, grid, how) for how in (THEN_ADD, FUSED, ADD_FIRST)]
    exact, steps, offsets, how = max(found, key=lambda each: float(each[0].mean()))
    if exact.mean() < _EXACT:
        return None
    shape = grid.low.shape
    steps, offsets = steps.reshape(shape), offsets.reshape(shape)
    return StepGrid(grid.block, 0, steps, steps, how=how, offsets=offsets)


_Solved = tuple[NDArray[np.bool_], Floats, Floats, int]


def _solved(groups: Values, grid: StepGrid, how: int) -> _Solved:
    """Whether a step and an offset of each block are found, these, and how they are combined."""
    low, high = _signed_bounds(groups)
    first, last = grid.low.reshape(-1, 1), grid.high.reshape(-1, 1)
    wide = groups.astype(np.float64)
    least = wide.min(1, keepdims=True)
    with np.errstate(all="ignore"):
        levels = np.nan_to_num(np.rint((wide - least) / ((first + last) / 2)))
        if how != ADD_FIRST:
            first, last = _step_bounds(low - least, high - least, levels, how)
    exact = np.zeros(len(groups), bool)
    steps, offsets = np.ones((len(groups), 1)), least.copy()
    for tried in range(_TRIES + 1):
        left = np.flatnonzero(~exact)
        step = _step(first[left], last[left], tried)
        offset = least[left]
        if how == ADD_FIRST:
            offset = _added_first(low[left], high[left], levels[left], step)
        made = combine(levels[left], how, groups.dtype, step, offset)
        bits = rounded_bits(made, groups.dtype, groups.dtype)
        right = (bits == groups[left].view(bits.dtype)).all(1)
        steps[left[right]], offsets[left[right]] = step[right], offset[right]
        exact[left[right]] = True
        if exact.all() or exact.mean() < tried / _TRIES / 2:
            break
    return exact, steps, offsets, how


def _signed_bounds(groups: Values) -> tuple[Floats, Floats]:
    """Between which numbers each weight was; any, of weights that say nothing."""
    low, high = bounds_of(groups)
    low, high = np.where(groups > 0, low, -high), np.where(groups > 0, high, -low)
    return np.where(low == high, -np.inf, low), np.where(low == high, np.inf, high)


def _step_bounds(low: Floats, high: Floats, levels: Floats, how: int) -> tuple[Floats, Floats]:
    """Bounds of steps whose products lie within these; they may have been rounded themselves."""
    wider = _UNSURE if how == THEN_ADD else 0.0
    low, high = low - np.abs(low) * 2 * wider, high + np.abs(high) * 2 * wider
    first = np.where(levels > 0, low / levels, -np.inf).max(1, keepdims=True)
    last = np.where(levels > 0, high / levels, np.inf).min(1, keepdims=True)
    return first, last


def _step(first: Floats, last: Floats, tried: int) -> Floats:
    """The simplest step within bounds, then the float32 numbers there, one after the other."""
    known = np.isfinite(first) & np.isfinite(last) & (first > 0) & (first <= last)
    first, last = np.where(known, first, 1.0), np.where(known, last, 1.0)
    if not tried:
        return _simplest_each(first, last)
    unit = np.ldexp(1.0, np.frexp(first)[1] - 24)
    return np.asarray(np.minimum((np.ceil(first / unit) + tried - 1) * unit, last))


def _simplest_each(low: Floats, high: Floats) -> Floats:
    """`simplest` of each interval alone, which may be below zero."""
    signs = np.where(high < 0, -1.0, 1.0)
    least = np.where(signs > 0, np.maximum(low, 0.0), -high)
    most = np.where(signs > 0, high, -low)
    found = (least + most) / 2
    open_ = least > 0
    for bits in range(24):
        unit = np.ldexp(1.0, np.frexp(most)[1] - 1 - bits)
        each = np.ceil(least / unit) * unit
        now = open_ & (each <= most)
        found[now], open_ = each[now], open_ & ~now
    return np.asarray(signs * found)


def _added_first(low: Floats, high: Floats, levels: Floats, step: Floats) -> Floats:
    """Offsets whose sums with the levels, rounded, are within bounds divided by the step."""
    with np.errstate(all="ignore"):
        first, last = low / step, high / step
        first = (first - np.abs(first) * 2 * _UNSURE - levels).max(1, keepdims=True)
        last = (last + np.abs(last) * 2 * _UNSURE - levels).min(1, keepdims=True)
    first, last = np.nan_to_num(first), np.nan_to_num(last)
    return _simplest_each(np.minimum(first, last), np.maximum(first, last))
