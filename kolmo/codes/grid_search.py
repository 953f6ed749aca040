"""Finding what makes weights need fewer bits than they have: zeros at their ends, grids."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kolmo.dtypes import DTYPES
from kolmo.floats import mantissa_bits, neighbours
from kolmo.symbols import Shape, Symbols

Floats = NDArray[np.float64]
Values = NDArray[Any]

NARROWER = ("float8_e5m2", "float8_e4m3fn", "bfloat16", "float16", "float32")
"""Formats that weights may have had before, the one of the fewest mantissa bits first."""

MOST = 1 << 16
"""Largest multiple of a step."""

AFFINE = -1
"""In the place of digits: differences of weights are integers times a step."""

DIGITS = (0, 4, 3, 8, 11)
"""Multiples that are tried: integers; numbers of so many binary digits, as 8-bit floats are."""

TABLE = 255
"""In the place of digits: multiples are entries of a table."""

MULTIPLY, DIVIDE, THEN_ADD, FUSED, ADD_FIRST = range(5)
"""How weights are made of levels: level × step; level / step; (level × step) + offset, rounded
twice, or once; (level + offset) × step."""

LEAST = 64  # weights of a tensor that may be a grid
_SAMPLES = 8  # groups that are looked at before all are
_SAMPLE = 2048  # weights of each
RUN = 16  # weights that surely have one step, if any have
_INSIDE = 2.0**-48  # what keeps a quotient of a bound within it
_MARGIN = 0.5  # bits of a weight by which smaller blocks must be better than larger ones
_SCANS = 1 << 25  # steps that are tried in all groups
SURE = 30  # bits that a run must save
LONG = 1 << 14  # weights of a tensor whose first runs are searched for large multiples


class StepBlock(NamedTuple):
    """The weights that share a step: so many rows and columns of a table."""

    rows: int
    columns: int


class StepGrid(NamedTuple):
    """Which multiples weights are: bounds of the step of each block."""

    block: StepBlock
    digits: int
    low: Floats
    high: Floats
    table: Floats = np.zeros(0)
    how: int = 0
    offsets: Floats = np.zeros(0)


def table_of(part: Values) -> Values:
    """A tensor as a table: axes after the first are flattened, a vector is one row."""
    return part.reshape(table_shape(part.shape))


def table_shape(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a tensor's table.

    >>> table_shape((8, 3, 3, 3)), table_shape((7,)), table_shape(())
    ((8, 27), (1, 7), (1, 1))
    """
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def combine(
    levels: Floats, how: int, inner: np.dtype[Any], step: Floats, offset: Floats | None = None
) -> Floats:
    """Levels with their steps and offsets, as float64; what is rounded twice is rounded to float32
    first, unless weights were float64.

    >>> combine(np.array([3.0]), FUSED, np.dtype(np.float32), np.array([0.5]), np.array([1.0]))
    array([2.5])
    """

    def rounded(some: Floats) -> Floats:
        return some if inner == np.float64 else some.astype(np.float32).astype(np.float64)

    with np.errstate(all="ignore"):  # damaged files have steps of any kind
        if offset is None:
            return levels / step if how == DIVIDE else levels * step
        if how == ADD_FIRST:
            return rounded(levels + offset) * step
        product = levels * step
        return (product if how == FUSED else rounded(product)) + offset


# --- zeros at the ends of mantissas -----------------------------------------------------------


def trailing_zeros(union: Symbols, mantissa: int) -> NDArray[np.int64]:
    """How many of the last bits are 0, at most ``mantissa``.

    >>> trailing_zeros(np.uint32([0b1000, 1, 0]), 23).tolist()
    [3, 0, 23]
    """
    wide = union.astype(np.uint64) | np.uint64(1 << mantissa)
    lowest = wide & (~wide + np.uint64(1))
    return np.frexp(lowest.astype(np.float64))[1].astype(np.int64) - 1


def narrowest(values: Values) -> np.dtype[Any]:
    """The narrowest format that holds all of these floats.

    >>> narrowest(np.float32([0.5, 1.25, -0.0]))
    dtype(float8_e5m2)
    """
    with np.errstate(all="ignore"):
        for name in NARROWER:
            dtype, own = DTYPES[name], values.dtype
            if mantissa_bits(dtype) < mantissa_bits(own) and _same(values, dtype):
                return dtype
    return values.dtype


def _same(values: Values, dtype: np.dtype[Any]) -> bool:
    """Whether all values survive in a dtype; a few are looked at before all are."""
    for some in (values.reshape(-1)[:64], values):
        back = some.astype(dtype).astype(values.dtype)
        if not np.array_equal(_bits(back), _bits(some)):
            return False
    return True


def _bits(values: Values) -> Symbols:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def count_distinct(values: Values) -> int:
    """How many values there are of a few; zeros of two signs are two.

    >>> count_distinct(np.float32([1, 3, 1, -0.0, 0.0]))
    4
    """
    ordered = np.sort(_bits(values))  # of a few values quicker than np.unique
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + min(1, ordered.size)


# --- grids ------------------------------------------------------------------------------------


def differences_of(groups: Floats, mantissa: NDArray[np.int64] | int) -> tuple[Floats, Floats]:
    """Bounds of the differences to the least weight of a group, each rounded up to three times."""
    largest = np.abs(groups).max(-1, keepdims=True)
    near = np.ldexp(2.0, np.frexp(largest)[1] - 1 - mantissa)
    apart = groups - groups.min(-1, keepdims=True)
    known = apart > near
    return np.where(known, apart - near, 0.0), np.where(known, apart + near, 0.0)


def digits_of(dtype: np.dtype[Any]) -> list[int]:
    return [digits for digits in DIGITS if digits + 3 <= mantissa_bits(dtype)]


def scan_of(table: Values) -> int:
    """The largest multiple that is tried for the largest weight: more need many digits."""
    return 1 << min(16, mantissa_bits(table.dtype) - 2, 16 if table.size > LONG else 12)


def find_grid(table: Values, affine: bool = False) -> StepGrid | None:
    """The coarsest grid, of the largest blocks, on which nearly all weights of a table lie, or
    their differences.

    >>> steps = np.float32([[0.3], [0.7]])
    >>> grid = find_grid(np.arange(-64, 64).astype(np.float32).reshape(2, 64) * steps)
    >>> grid.block, bool(np.all((grid.low <= steps) & (grid.high >= steps)))
    (StepBlock(rows=1, columns=64), True)
    """
    scan, best, found = scan_of(table), 0.0, None
    for digits in [AFFINE] if affine else digits_of(table.dtype):
        runs = [_sampled(table, StepBlock(1, RUN)), _sampled(table, StepBlock(RUN, 1))]
        fits = [_fitted(run, digits, decimals(), scan) for run in runs]
        if not any(map(_fits, fits)):
            continue
        hints = np.concatenate([steps[(saved > 0)] for steps, saved in fits])
        hints = hints[np.argsort(-hints[:, 0])]
        for block in _blocks(table.shape):
            gain = _gain(_sampled(table, block), digits, hints, scan, block)
            if gain > best + _MARGIN:
                best, found = gain, (block, digits, hints)
    return _whole(table, *found, scan) if found else None


def _gain(sample: Values, digits: int, hints: Floats, scan: int, block: StepBlock) -> float:
    """Bits that are saved of a weight other than 0, if steps are those of such blocks."""
    steps, saved = _fitted(sample, digits, hints, scan)
    fits = saved >= 0
    nonzero = int(np.count_nonzero(sample[fits]))
    if not _fits((steps, saved)) or not nonzero:
        return 0.0
    step_bits = mantissa_bits(sample.dtype) + 2
    blocks = sample[fits].size / (block.rows * block.columns)
    return (float(saved[fits].sum()) - step_bits * blocks) / nonzero


def _whole(table: Values, block: StepBlock, digits: int, hints: Floats, scan: int) -> StepGrid:
    groups = blocked(table, block)
    scan = min(scan, max(256, _SCANS // len(groups)))
    steps, saved = _fitted(groups, digits, hints, scan)
    shape = -(-table.shape[0] // block.rows), -(-table.shape[1] // block.columns)
    steps[saved < 0] = 0, np.inf
    return StepGrid(block, digits, steps[:, 0].reshape(shape), steps[:, 1].reshape(shape))


def _blocks(shape: tuple[int, int]) -> Iterator[StepBlock]:
    """Blocks that may share a step, the largest first."""
    rows, columns = shape
    sizes = [1 << size for size in range(10, 3, -1)]
    yield StepBlock(rows, columns)
    yield StepBlock(1, columns)
    yield StepBlock(rows, 1)
    yield from (StepBlock(min(rows, size), size) for size in (128,) if size < columns)
    yield from (StepBlock(1, size) for size in sizes if size < columns)
    yield from (StepBlock(size, 1) for size in sizes if size < rows)


def blocked(table: Values, block: StepBlock) -> Values:
    """The weights of each block as a row; its last weights fill a block at the edge."""
    rows, columns = -(-table.shape[0] // block.rows), -(-table.shape[1] // block.columns)
    padded = table
    if table.shape != (rows * block.rows, columns * block.columns):
        missing = rows * block.rows - table.shape[0], columns * block.columns - table.shape[1]
        padded = np.pad(table, [(0, missing[0]), (0, missing[1])], "edge")
    four = padded.reshape(rows, block.rows, columns, block.columns)
    return four.transpose(0, 2, 1, 3).reshape(rows * columns, -1)


def spread(steps: Values, block: StepBlock, shape: tuple[int, int]) -> Values:
    """The step of each weight of a table.

    >>> spread(np.array([[1, 2]]), StepBlock(1, 2), (1, 3))
    array([[1, 1, 2]])
    """
    whole = np.repeat(np.repeat(steps, block.rows, 0), block.columns, 1)
    return whole[: shape[0], : shape[1]]


def _sampled(table: Values, block: StepBlock) -> Values:
    """A few blocks as rows, each of at most `_SAMPLE` of its weights."""
    rows, columns = -(-table.shape[0] // block.rows), -(-table.shape[1] // block.columns)
    places = np.unique(np.linspace(0, rows * columns - 1, _SAMPLES).astype(np.int64) * 0x9E3779B1)
    places = np.unique(places % (rows * columns))
    chosen = []
    for row, column in zip(places // columns, places % columns, strict=True):
        top, left = row * block.rows, column * block.columns
        whole = table[top : top + block.rows, left : left + block.columns].reshape(-1)
        chosen.append(whole[:: -(-whole.size // _SAMPLE)])
    size = max(each.size for each in chosen)
    sample = np.zeros((len(chosen), size), table.dtype)
    for each, row in zip(chosen, sample, strict=True):
        row[: each.size] = each
    return sample


def _fitted(groups: Values, digits: int, hints: Floats, scan: int) -> tuple[Floats, Floats]:
    if digits == AFFINE:
        wide = np.nan_to_num(groups.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        return fit_groups(*differences_of(wide, mantissa_bits(groups.dtype)), 0, hints[:0], 0)
    return fit_groups(*bounds_of(groups), digits, hints, scan)


def fit_groups(
    low: Floats, high: Floats, digits: int, hints: Floats, scan: int
) -> tuple[Floats, Floats]:
    """Bounds of the step of each group, and the bits that it saves; −1 if there is none."""
    from kolmo.codes import kernels_grid as kernels

    steps, saved = np.zeros((len(low), 2)), np.zeros(len(low))
    low, high, hints = map(np.ascontiguousarray, (low, high, hints))
    kernels.fit_groups(low, high, digits, MOST, hints, scan, steps, saved)
    return steps, saved


def _fits(found: tuple[Floats, Floats]) -> bool:
    """Whether a sample of groups is on a grid: some surely, few not."""
    _, saved = found
    return bool((saved > SURE).any() and (saved < 0).mean() <= 0.25)


def decimals() -> Floats:
    """Decimal fractions."""
    steps = 10.0 ** -np.arange(1, 7)
    return np.stack([steps * (1 - 2**-51), steps * (1 + 2**-51)], 1)


def bounds_of(values: Values) -> tuple[Floats, Floats]:
    """Between which numbers a magnitude was before it was rounded; from 0 if that says nothing."""
    with np.errstate(all="ignore"):
        sizes = np.abs(values)
        low, high = neighbours(sizes)
        if values.dtype != np.float64:
            wide = sizes.astype(np.float64)
            low, high = (low + wide) / 2, (high + wide) / 2
            # What lies in the middle between two numbers is rounded to the even one.
            odd = _bits(values) & 1 == 1
            low[odd] *= 1 + _INSIDE
            high[odd] *= 1 - _INSIDE
    known = np.isfinite(high) & np.isfinite(low) & (low > 0)
    return np.where(known, low, 0.0), np.where(known, high, 0.0)


def simplest(low: Floats, high: Floats) -> tuple[int, Floats]:
    """The fewest mantissa bits of which there is a float in each interval, and these floats.

    >>> simplest(np.array([0.29, 1.9]), np.array([0.33, 2.1]))
    (2, array([0.3125, 2.    ]))
    """
    known = np.isfinite(high) & (low > 0)
    least, most = low[known], high[known]
    steps = np.ones(low.shape)
    for bits in range(53):
        unit = np.ldexp(1.0, np.frexp(most)[1] - 1 - bits)
        found = np.ceil(least / unit) * unit
        if np.all(found <= most) or bits == 52:
            break
    steps[known] = found
    return bits, _filled(steps, known)


def _filled(steps: Floats, known: NDArray[np.bool_]) -> Floats:
    """Steps that are not known are those before them."""
    if known.all() or not known.any():
        return steps
    flat, places = steps.reshape(-1), np.where(known.reshape(-1), np.arange(known.size), -1)
    last = np.maximum.accumulate(places)
    last[last < 0] = places.max()
    return flat[last].reshape(steps.shape)
