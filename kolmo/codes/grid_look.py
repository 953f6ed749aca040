"""A quick look at tensors, which says of most in no time that they lie on no grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.grid_search import (
    AFFINE,
    LEAST,
    LONG,
    RUN,
    SURE,
    Floats,
    Values,
    decimals,
    differences_of,
    digits_of,
    fit_groups,
    scan_of,
    trailing_zeros,
)
from kolmo.floats import mantissa_bits

_RUNS = 4  # runs of rows, and of columns, that are looked at first
_SCREEN = 1 << 17  # steps that are tried in such runs, in all


def may_be_grids(tables: Sequence[Values]) -> list[bool]:
    """Which tables may lie on a grid, by a few short runs of rows and columns; quickly.

    >>> noise = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    >>> may_be_grids([noise, np.round(noise, 2)])
    [False, True]
    """
    runs = np.zeros((len(tables), 2 * _RUNS, RUN))
    for table, its in zip(tables, runs, strict=True):
        if table.size >= LEAST:
            its[:] = _short_runs(table)
    runs[~np.isfinite(runs)] = 0
    known = _about(runs, mantissa_bits(tables[0].dtype))
    found, long = np.zeros(len(tables), bool), np.array([table.size > LONG for table in tables])
    for digits in [*digits_of(tables[0].dtype), AFFINE]:
        # Steps that are no fraction of the smallest weight take long to find: in two runs alone.
        slow = digits in (8, 11)
        places = [0, -1] if slow else list(range(2 * _RUNS))
        which = ~found & long if slow else ~found
        low, high = known[digits == AFFINE]
        found |= _on_steps(low[:, places], high[:, places], which, digits, 0)
    tried = min(_SCREEN, sum(table.size for table in tables) // 2)
    scan = min(scan_of(tables[0]), tried // max(1, int((~found).sum())))
    low, high = known[0]
    found |= _on_steps(low[:, [0, -1]], high[:, [0, -1]], ~found, 0, scan)
    return [bool(each) for each in found]


def _on_steps(
    low: Floats, high: Floats, which: NDArray[np.bool_], digits: int, scan: int
) -> NDArray[np.bool_]:
    """Which of some tables have a run that is surely on a grid."""
    found, runs = np.zeros(len(low), bool), low.shape[1]
    some = [np.ascontiguousarray(bounds[which]).reshape(-1, RUN) for bounds in (low, high)]
    saved = fit_groups(some[0], some[1], max(digits, 0), decimals(), scan)[1]
    found[which] = (saved.reshape(int(which.sum()), runs) > SURE).any(1)
    return found


def _short_runs(table: Values) -> Floats:
    """Runs along rows, then runs along columns."""
    runs = np.zeros((2 * _RUNS, RUN))
    for place in range(_RUNS):
        row = (2 * place + 1) * table.shape[0] // (2 * _RUNS)
        column = (2 * place + 1) * table.shape[1] // (2 * _RUNS)
        left, top = column // RUN * RUN, row // RUN * RUN
        along, down = table[row, left : left + RUN], table[top : top + RUN, column]
        runs[place, : along.size], runs[_RUNS + place, : down.size] = along, down
    return runs


def _about(runs: Floats, mantissa: int) -> list[tuple[Floats, Floats]]:
    """Bounds of magnitudes as `bounds_of` has them, a little wider, and of differences; the format
    that runs had before is told by the zeros at the ends of their mantissas."""
    bits = np.ascontiguousarray(runs).view("<u8")
    zeros = trailing_zeros(np.bitwise_or.reduce(bits, (1, 2)), 52)
    known = np.array([7, 10, 23, 52])
    before = np.minimum(known[np.searchsorted(known, np.minimum(52 - zeros, 52))], mantissa)
    before, sizes = before[:, None, None], np.abs(runs)
    half = np.ldexp(0.5, np.frexp(runs)[1] - 1 - before)
    bounds = np.where(sizes > 0, sizes - half, 0.0), np.where(sizes > 0, sizes + half, 0.0)
    low, high = differences_of(runs, before)
    low[np.count_nonzero(runs, -1) < RUN // 2] = 0  # short runs end in zeros
    return [bounds, (low, high)]
