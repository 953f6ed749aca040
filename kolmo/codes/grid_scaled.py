"""Tensors as multiples of steps: levels, and the step of each block of weights.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.grid_pieces import CODEBOOK_LIMIT, Rebuild, Rewritten, floats
from kolmo.codes.grid_search import (
    ADD_FIRST,
    DIVIDE,
    FUSED,
    MOST,
    MULTIPLY,
    NARROWER,
    TABLE,
    THEN_ADD,
    Floats,
    StepBlock,
    StepGrid,
    combine,
    simplest,
    spread,
    table_of,
    table_shape,
    trailing_zeros,
)
from kolmo.codes.grid_tables import nearest_entry
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError
from kolmo.floats import mantissa_bits
from kolmo.symbols import Alphabet, Shape, Symbols

_NONE = np.zeros(0)

SCALED = 4
"""The first byte of the head."""

FORMATS = (*NARROWER, "float64")
"""Formats that a product is rounded to, by number."""

_EXACT = 0.95  # share of weights that must be multiples
_FEW_STEPS = 64  # up to so many steps have mantissas as usual, for other tensors have them too
_USUAL = (7, 10, 23, 52)
_SHORTER = 2  # bits by which divisors must be shorter than steps


def scaled(
    part: Symbols, grid: StepGrid, inner: np.dtype[Any], alphabet: Alphabet
) -> Rewritten | None:
    """A tensor as multiples of the steps of a grid; None if too many of its weights are none.

    A product is rounded to the dtype ``inner`` and then to the tensor's. Weights that are no
    products follow as they are.
    """
    outer, table = DTYPES[alphabet.format], table_of(part)
    how, bits, steps = _steps(grid)
    both = [steps, grid.offsets] if grid.offsets.size else [steps]
    step, *offset = (spread(each, grid.block, table.shape) for each in both)
    levels = _levels(table.view(outer).astype(np.float64), grid, how, step, *offset)
    exact = rounded_bits(combine(levels, how, inner, step, *offset), inner, outer) == table
    if exact.mean() < _EXACT:
        return None
    scale = _scale_of(levels[exact], grid, bool(exact.all()))
    symbols = np.where(exact, scale.symbols(np.where(exact, levels, scale.some)), scale.escape)
    symbols = symbols.astype(scale.alphabet.container).reshape(part.shape)
    zeros = levels[exact & (levels == 0)] if grid.digits == 0 and how <= DIVIDE else levels[:0, 0]
    signs, others = np.signbit(zeros), table[~exact]
    has_signs = bool(signs.any())
    head = [SCALED, FORMATS.index(inner.name), grid.digits, bits, has_signs + 2 * how]
    numbers = [*grid.block, scale.size, signs.size * has_signs, others.size]
    arrays = [(floats(11, bits), _cut(steps, bits))]
    if grid.offsets.size:
        offset_bits, offsets = _shortened(grid.offsets)
        numbers.append(offset_bits)
        arrays.append((floats(11, offset_bits), offsets))
    numbers += [scale.escape] if others.size else []
    arrays += [*scale.arrays, (scale.alphabet, symbols)]
    arrays += [(Alphabet(2), signs.astype(np.uint8))] if has_signs else []
    arrays += [(alphabet, others)] if others.size else []
    return Rewritten(bytes(head) + b"".join(map(number_bytes, numbers)), arrays)


def _steps(grid: StepGrid) -> tuple[int, int, Floats]:
    """How levels are combined with steps, the mantissa bits of the steps, and these; or with the
    numbers that levels are divided by, if these have fewer bits."""
    bits, steps = simplest(grid.low, grid.high)
    how = grid.how
    if how == MULTIPLY:
        with np.errstate(divide="ignore"):
            divisor_bits, divisors = simplest(1 / grid.high, 1 / grid.low)
        if divisor_bits < bits - _SHORTER:
            how, bits, steps = DIVIDE, divisor_bits, divisors
    if steps.size <= _FEW_STEPS:
        bits = next(usual for usual in _USUAL if usual >= bits)
    return how, bits, steps


def _levels(
    weights: Floats, grid: StepGrid, how: int, step: Floats, offset: Floats = _NONE
) -> Floats:
    """The nearest multiples of the steps; 0, with the weight's sign, where that is none."""
    with np.errstate(all="ignore"):
        if how in (THEN_ADD, FUSED):
            weights = weights - offset
        levels = weights * step if how == DIVIDE else weights / step
        if how == ADD_FIRST:
            levels = levels - offset
        if grid.digits == TABLE:
            return grid.table[nearest_entry(grid.table, levels)]
        if grid.digits:
            leading, exponent = np.frexp(levels)
            levels = np.ldexp(np.rint(np.ldexp(leading, grid.digits)), exponent - grid.digits)
        else:
            levels = np.rint(levels)
        levels[~(np.abs(levels) <= (np.inf if grid.digits else MOST))] = 0
    return np.copysign(levels, weights) if how <= DIVIDE else levels


def rounded_bits(products: Floats, inner: np.dtype[Any], outer: np.dtype[Any]) -> Symbols:
    """The bits of numbers, rounded to one format, and then to another that may be wider.

    Every machine rounds them to the same float32, and this to the same floats.
    """
    with np.errstate(all="ignore"):  # products of a damaged file may be anything
        if inner != np.float64:
            products = products.astype(np.float32).astype(inner)
        rounded = products.astype(outer)
    return np.ascontiguousarray(rounded).view(f"u{outer.itemsize}")


class _Scale(NamedTuple):
    """How levels are symbols: integers from the middle of an alphabet on, floats, or entries."""

    alphabet: Alphabet
    size: int  # what a head says of the alphabet
    symbols: Callable[[Floats], NDArray[Any]]
    some: float  # a level
    escape: int  # the symbol of weights that are no multiples
    arrays: list[tuple[Alphabet, Symbols]]


def _scale_of(levels: Floats, grid: StepGrid, exact: bool) -> _Scale:
    if grid.digits == TABLE:
        bits, table = _shortened(grid.table)
        few = Alphabet(table.size + (not exact))
        arrays = [(floats(11, bits), table)]
        size = 64 * table.size + bits
        index = partial(nearest_entry, grid.table)
        return _Scale(few, size, index, grid.table[0], table.size, arrays)
    if grid.digits:
        bits = grid.digits - 1
        largest = int(_cut(np.abs(levels).max(keepdims=True), bits)[0])
        above = ((largest >> bits) + 1) << bits
        return _Scale(floats(11, bits), 0, lambda some: _cut(some, bits), 0.0, above, [])
    least, most = int(levels.min()), int(levels.max())
    width = 1 + max(0, most, -least - exact).bit_length()
    return _Scale(Alphabet(1 << width), width, lambda some: some + (1 << width >> 1), 0.0, 0, [])


def _shortened(table: Floats) -> tuple[int, Symbols]:
    """Floats without the zeros at the ends of all mantissas, and how many bits are left."""
    zeros = trailing_zeros(np.bitwise_or.reduce(table.reshape(-1).view("<u8"), keepdims=True), 52)
    bits = 52 - int(zeros[0])
    return bits, _cut(table, bits)


def _cut(values: Floats, bits: int) -> Symbols:
    """The bits of float64 numbers without the end of their mantissas, which is 0."""
    container = floats(11, bits).container
    return (np.ascontiguousarray(values).view("<u8") >> np.uint64(52 - bits)).astype(container)


def _uncut(symbols: Symbols, bits: int) -> Floats:
    return (symbols.astype(np.uint64) << np.uint64(52 - bits)).view("<f8")


def read_scaled(reader: Reader, shape: Shape, alphabet: Alphabet) -> Rebuild:
    """Read the head of `scaled`, after its first byte."""
    inner, digits, bits, flags = reader.take(4)
    how, has_signs = divmod(flags, 2)
    block = StepBlock(reader.number(), reader.number())
    size, zeros, others = (reader.number() for _ in range(3))
    offset_bits = reader.number() if how > DIVIDE else 0
    escape = reader.number() if others else -1
    table, numel = table_shape(shape), math.prod(shape)
    if inner >= len(FORMATS) or max(bits, offset_bits) > 52 or how > ADD_FIRST:
        raise InputError("the head of a grid is damaged")
    wide = mantissa_bits(DTYPES[FORMATS[inner]]) > mantissa_bits(DTYPES[alphabet.format])
    if wide or zeros > numel or others > numel:
        raise InputError("the head of a grid is damaged")
    if not (1 <= block.rows <= max(1, table[0]) and 1 <= block.columns <= max(1, table[1])):
        raise InputError("the blocks of a grid are not within its table")
    steps_shape = -(-table[0] // block.rows), -(-table[1] // block.columns)
    scale = _read_scale(digits, size, others > 0)
    needs: list[tuple[Alphabet, Shape]] = [(floats(11, bits), steps_shape)]
    needs += [(floats(11, offset_bits), steps_shape)] if how > DIVIDE else []
    needs += [*scale.needs, (scale.alphabet, shape)]
    needs += [(Alphabet(2), (zeros,))] if has_signs else []
    needs += [(alphabet, (others,))] if others else []

    def build(arrays: Sequence[Symbols]) -> Symbols:
        given = iter(arrays)
        both = [_uncut(next(given), each) for each in (bits, offset_bits)[: 1 + (how > DIVIDE)]]
        entries = [next(given) for _ in scale.needs]
        symbols = next(given).reshape(table)
        others_at = symbols == escape
        levels = scale.levels(symbols, *entries)
        if has_signs:
            at = (levels == 0) & ~others_at
            _check_count(at, zeros)
            levels[at] = np.copysign(0.0, 0.5 - next(given))
        inner_dtype, outer = DTYPES[FORMATS[inner]], DTYPES[alphabet.format]
        spreads = [spread(each, block, table) for each in both]
        weights = rounded_bits(combine(levels, how, inner_dtype, *spreads), inner_dtype, outer)
        _check_count(others_at, others)
        if others:
            weights[others_at] = next(given)
        return weights.reshape(shape)

    return Rebuild(needs, build)


def _check_count(where: NDArray[np.bool_], count: int) -> None:
    if int(where.sum()) != count:
        raise InputError("the weights of a grid are not as its head says")


class _ReadScale(NamedTuple):
    """Undoes a `_Scale`."""

    alphabet: Alphabet
    needs: list[tuple[Alphabet, Shape]]
    levels: Callable[..., Floats]  # of symbols, and of the array that it needs


def _read_scale(digits: int, size: int, escapes: bool) -> _ReadScale:
    if digits == TABLE:
        count, bits = divmod(size, 64)
        if not 1 <= count <= CODEBOOK_LIMIT or bits > 52:
            raise InputError("the table of a grid is damaged")

        def entries(symbols: Symbols, table: Symbols) -> Floats:
            return np.append(_uncut(table, bits), 0.0)[symbols]

        return _ReadScale(Alphabet(count + escapes), [(floats(11, bits), (count,))], entries)
    if digits > 24 or (not digits and not 1 <= size <= 40):
        raise InputError("the levels of a grid are damaged")
    if digits:
        return _ReadScale(floats(11, digits - 1), [], lambda some: _uncut(some, digits - 1))
    return _ReadScale(Alphabet(1 << size), [], lambda some: some - float(1 << size >> 1))
