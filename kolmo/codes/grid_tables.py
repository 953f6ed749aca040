"""Finding codebooks that each group of weights scales by its largest weight, such as NF4."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.grid_search import (
    TABLE,
    Floats,
    StepBlock,
    StepGrid,
    Values,
    blocked,
    bounds_of,
    count_distinct,
    simplest,
)
from kolmo.floats import mantissa_bits

_MOST = 256  # entries of a codebook
_SIZES = (64, 128, 32, 256, 512, 1024, 16)  # weights of a group
_LOOK = 1 << 14  # weights that are looked at
_RUNS = (64, 512)  # weights that are looked at before others
_TIMES = 4  # weights for each entry, at least
_LEAST = 1 << 10  # weights of a tensor whose codebook is worth a search

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""The quantiles of Dettmers et al., "QLoRA", arXiv 2305.14314, which a few digits cannot tell."""


def find_table(table: Values) -> StepGrid | None:
    """A codebook of which each group's weights are products with one step; None if there is none.

    >>> random, book = np.random.default_rng(0), np.float32([-1, -0.3, 0.1, 0.45, 1])
    >>> scales = np.float32(random.random((64, 1)) + 1)
    >>> weights = book[random.integers(0, 5, (64, 64))] * scales
    >>> np.allclose(find_table(weights).table, book)
    True
    """
    if table.size < _LEAST:
        return None
    blocks = _blocks(table)
    counts = {block: _clusters(_some(table, block, 2 * _MOST)).size for block in blocks}
    fits = [block for block in blocks if counts[block]]
    if not fits:
        return None
    block = min(fits, key=lambda block: counts[block])
    book = _book(_some(table, block, _LOOK))
    return None if book is None else _stepped(table, block, book)


def may_have_table(table: Values) -> bool:
    """Whether a run of a row or a column has few distinct weights; quickly."""
    if table.size < _LEAST:
        return False
    lines = table[len(table) // 2], table[:, table.shape[1] // 2]
    runs = [line[line != 0][:size] for line in lines for size in _RUNS]
    return any(2 * count_distinct(run) <= run.size for run in runs)


def _blocks(table: Values) -> list[StepBlock]:
    rows, columns = table.shape
    blocks = [StepBlock(1, size) for size in _SIZES if size < columns]
    return [*blocks, StepBlock(1, columns), StepBlock(rows, 1)]


def _some(table: Values, block: StepBlock, numel: int) -> Values:
    """Some blocks, as rows."""
    rows = max(1, numel // (block.columns if block.rows == 1 else block.rows))
    if block.rows == 1:
        width = table.shape[1] // block.columns * block.columns
        whole = table[:, :width].reshape(-1, block.columns)
    else:
        whole = table.T
    return whole[:: -(-len(whole) // rows)]


def _clusters(groups: Values) -> NDArray[np.int64]:
    """Where the clusters of the sorted ratios to the largest weights begin; none if they are wide,
    or too many."""
    ratios, near = _ratios(groups)[0], _near(groups)
    flat = np.sort(ratios[ratios != 0])
    if flat.size < 2 * _TIMES or not np.isfinite(flat).all():
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.diff(flat, prepend=-np.inf) > near * np.abs(flat))
    ends = np.append(starts[1:], flat.size) - 1
    wide = flat[ends] - flat[starts] > 2 * near * np.abs(flat[starts])
    many = starts.size > min(_MOST, flat.size // _TIMES)
    return np.zeros(0, np.int64) if many or wide.any() else starts


def _near(groups: Values) -> float:
    """Relative difference of two ratios that two roundings each may make."""
    return float(2.0 ** (1 - mantissa_bits(groups.dtype)))


def _ratios(groups: Values) -> tuple[Floats, Floats]:
    """Weights as multiples of their group's largest magnitude, and this."""
    wide = groups.astype(np.float64)
    largest = np.abs(wide).max(1, keepdims=True)
    with np.errstate(all="ignore"):
        return np.where(largest > 0, wide / largest, 0.0), largest


def _book(groups: Values) -> Floats | None:
    """The entries, in order: known ones if they fit, else the simplest ones that do."""
    starts = _clusters(groups)
    if not starts.size:
        return None
    ratios, largest = _ratios(groups)
    flat = ratios.reshape(-1)
    kept = np.flatnonzero(flat)
    order = kept[np.argsort(flat[kept], kind="stable")]
    low, high = bounds_of(groups)
    with np.errstate(all="ignore"):
        low, high = ((bound / largest).reshape(-1)[order] for bound in (low, high))
    near = _near(groups)
    middles = flat[order][starts]
    nearest = np.array(NF4)[np.abs(np.subtract.outer(middles, NF4)).argmin(1)]
    least, most = np.maximum.reduceat(low, starts), np.minimum.reduceat(high, starts)
    known = np.all(np.abs(nearest - middles) <= 2 * near * np.abs(middles))
    if known and np.all((least <= np.abs(nearest)) & (np.abs(nearest) <= most)):
        return np.array(NF4)
    if not np.all(least <= most):
        return np.array(NF4) if known else None
    entries = simplest(least, most)[1] * np.sign(middles)
    return np.unique(np.append(entries, 0.0) if kept.size < flat.size else entries)


def _stepped(table: Values, block: StepBlock, book: Floats) -> StepGrid:
    """The bounds of each block's step, given the codebook."""
    groups = blocked(table, block)
    entries = np.abs(book[nearest_entry(book, _ratios(groups)[0])])
    low, high = bounds_of(groups)
    with np.errstate(all="ignore"):
        low = np.where(entries > 0, low / entries, 0.0).max(1)
        high = np.where((entries > 0) & (high > 0), high / entries, np.inf).min(1)
    low[low > high] = 0
    shape = -(-table.shape[0] // block.rows), -(-table.shape[1] // block.columns)
    return StepGrid(block, TABLE, low.reshape(shape), high.reshape(shape), book)


def nearest_entry(book: Floats, values: Floats) -> NDArray[np.int64]:
    """The place of the entry of an ordered codebook that is nearest to each value.

    >>> nearest_entry(np.array([-1.0, 0.5, 1.0]), np.array([-3.0, 0.7]))
    array([0, 1])
    """
    return np.searchsorted((book[1:] + book[:-1]) / 2, values)
