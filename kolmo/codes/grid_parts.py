"""The ways in which the grid code writes a tensor, each with what undoes it.

A tensor becomes a head, a few bytes, and arrays of symbols of smaller alphabets; a reader of the
head says which arrays there are, and what makes the tensor of them again.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.forms import form_parts
from kolmo.codes.grid_search import (
    MOST,
    NARROWER,
    TABLE,
    Block,
    Floats,
    Grid,
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
from kolmo.floats import disorder_patterns, mantissa_bits, order_patterns
from kolmo.symbols import Alphabet, Shape, Symbols

PLAIN, SHIFTED, SHIFTED_ROWS, SHIFTED_COLUMNS, SCALED, CODEBOOK = range(6)
"""Ways, as the first byte of a head has them."""

FORMATS = (*NARROWER, "float64")
"""Formats that a product is rounded to, by number."""

CODEBOOK_LIMIT = 1 << 12
"""The most values of a codebook."""


class Piece(NamedTuple):
    """A tensor as its head and its arrays."""

    head: bytes
    arrays: list[tuple[Alphabet, Symbols]]


class Plan(NamedTuple):
    """The arrays that a head asks for, and what makes a tensor of them."""

    needs: list[tuple[Alphabet, Shape]]
    build: Callable[[Sequence[Symbols]], Symbols]


def read_plan(reader: Reader, shape: Shape, alphabet: Alphabet) -> Plan:
    """Read the head of a tensor of a shape and an alphabet."""
    way = reader.take(1)[0]
    if way == PLAIN:
        return Plan([(alphabet, shape)], lambda arrays: arrays[0])
    if way not in _READERS:
        raise InputError(f"there is no way {way} to write a tensor")
    return _READERS[way](reader, shape, alphabet)


def plain(part: Symbols, alphabet: Alphabet) -> Piece:
    """A tensor as it is."""
    return Piece(bytes([PLAIN]), [(alphabet, part)])


# --- mantissas that end in zeros --------------------------------------------------------------


def shifted(part: Symbols, zeros: int, alphabet: Alphabet) -> Piece:
    """A tensor without the last bits of its mantissas."""
    return Piece(bytes([SHIFTED, zeros]), [_shift(part, zeros, alphabet)])


def shifted_lines(part: Symbols, zeros: NDArray[np.int64], axis: int, alphabet: Alphabet) -> Piece:
    """A tensor without the last bits of its rows (axis 0) or its columns, which are not as many in
    each: those of which the same are missing become a table."""
    table = table_of(part)
    tables = [np.compress(zeros == each, table, axis) for each in np.unique(zeros)]
    arrays = [
        _shift(some, int(each), alphabet)
        for some, each in zip(tables, np.unique(zeros), strict=True)
    ]
    return Piece(bytes([SHIFTED_ROWS + axis]) + _runs(zeros), arrays)


def _shift(part: Symbols, zeros: int, alphabet: Alphabet) -> tuple[Alphabet, Symbols]:
    narrow = _narrow(alphabet, zeros)
    return narrow, (part >> part.dtype.type(zeros)).astype(narrow.container)


def _narrow(alphabet: Alphabet, zeros: int) -> Alphabet:
    exponent, mantissa = (form_parts(alphabet.format) or (0, 0))[:2]
    if zeros > mantissa:
        raise InputError("more bits are missing than a mantissa has")
    return floats(exponent, mantissa - zeros) if zeros else alphabet


def floats(exponent: int, mantissa: int) -> Alphabet:
    """The alphabet of a sign and so many bits of exponent and mantissa."""
    return Alphabet(1 << (1 + exponent + mantissa), f"e{exponent}m{mantissa}")


def _runs(numbers: NDArray[np.int64]) -> bytes:
    """Numbers as runs: each number, and how often it comes."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    lengths = np.diff(starts, append=numbers.size)
    pairs = zip(numbers[starts].tolist(), lengths.tolist(), strict=True)
    return b"".join(number_bytes(number) + number_bytes(length) for number, length in pairs)


def _read_runs(reader: Reader, count: int) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.zeros(count, np.int64)
    reached = 0
    while reached < count:
        number, length = reader.number(), reader.number()
        if number > 63 or not 0 < length <= count - reached:
            raise InputError("the code's runs are damaged")
        numbers[reached : reached + length] = number
        reached += length
    return numbers


def _read_shifted(reader: Reader, shape: Shape, alphabet: Alphabet) -> Plan:
    zeros = reader.take(1)[0]
    return Plan([(_narrow(alphabet, zeros), shape)], lambda a: _unshift(a[0], zeros, alphabet))


def _unshift(symbols: Symbols, zeros: int, alphabet: Alphabet) -> Symbols:
    return symbols.astype(alphabet.container) << alphabet.container.type(zeros)


def _read_shifted_lines(axis: int) -> Callable[[Reader, Shape, Alphabet], Plan]:
    def read(reader: Reader, shape: Shape, alphabet: Alphabet) -> Plan:
        table = table_shape(shape)
        zeros = _read_runs(reader, table[axis])
        each, counts = np.unique(zeros, return_counts=True)
        shapes: list[Shape] = [
            (int(n), table[1]) if axis == 0 else (table[0], int(n)) for n in counts
        ]

        def build(arrays: Sequence[Symbols]) -> Symbols:
            whole = np.empty(table, alphabet.container)
            for number, array in zip(each, arrays, strict=True):
                lines = whole if axis == 0 else whole.T
                unshifted = _unshift(array, int(number), alphabet)
                lines[zeros == number] = unshifted if axis == 0 else unshifted.T
            return whole.reshape(shape)

        needs = [(_narrow(alphabet, int(n)), its) for n, its in zip(each, shapes, strict=True)]
        return Plan(needs, build)

    return read


# --- multiples of steps -----------------------------------------------------------------------


def scaled(part: Symbols, grid: Grid, inner: np.dtype[Any], alphabet: Alphabet) -> Piece | None:
    """A tensor as multiples of the steps of a grid; None if too many of its weights are none.

    A product is rounded to the dtype ``inner`` and then to the tensor's. Weights that are no
    products follow as they are.
    """
    outer, table = DTYPES[alphabet.format], table_of(part)
    divides, bits, steps = _steps(grid)
    step = spread(steps, grid.block, table.shape)
    levels = _levels(table.view(outer).astype(np.float64), step, grid, divides)
    exact = _product(levels, step, divides, inner, outer) == table
    if exact.mean() < _EXACT:
        return None
    scale = _scale_of(levels[exact], grid, bool(exact.all()))
    symbols = np.where(exact, scale.symbols(np.where(exact, levels, scale.some)), scale.escape)
    symbols = symbols.astype(scale.alphabet.container).reshape(part.shape)
    signs = np.signbit(levels[exact & (levels == 0)]) if not grid.digits else np.zeros(0, bool)
    has_signs, others = bool(signs.any()), table[~exact]
    head = [SCALED, FORMATS.index(inner.name), grid.digits, bits, has_signs + 2 * divides]
    numbers = [*grid.block, scale.size, signs.size * has_signs, others.size]
    numbers += [scale.escape] if others.size else []
    arrays = [(floats(11, bits), _cut(steps, bits)), *scale.arrays, (scale.alphabet, symbols)]
    arrays += [(Alphabet(2), signs.astype(np.uint8))] if has_signs else []
    arrays += [(alphabet, others)] if others.size else []
    return Piece(bytes(head) + b"".join(map(number_bytes, numbers)), arrays)


_EXACT = 0.95  # share of weights that must be multiples
_FEW_STEPS = 64  # up to so many steps have mantissas as usual, for other tensors have them too
_USUAL = (7, 10, 23, 52)
_SHORTER = 2  # bits by which divisors must be shorter than steps


def _steps(grid: Grid) -> tuple[bool, int, Floats]:
    """The steps, or the numbers that levels are divided by if these have fewer bits; and how many
    bits of mantissa they have."""
    with np.errstate(divide="ignore"):
        ways = [(grid.low, grid.high), (1 / grid.high, 1 / grid.low)]
    (bits, steps), (divisor_bits, divisors) = (simplest(*bounds) for bounds in ways)
    divides = divisor_bits < bits - _SHORTER
    bits, steps = (divisor_bits, divisors) if divides else (bits, steps)
    if steps.size <= _FEW_STEPS:
        bits = next(usual for usual in _USUAL if usual >= bits)
    return divides, bits, steps


def _levels(weights: Floats, step: Floats, grid: Grid, divides: bool) -> Floats:
    """The nearest multiples of the steps; 0, with the weight's sign, where that is none."""
    with np.errstate(all="ignore"):
        levels = weights * step if divides else weights / step
        if grid.digits == TABLE:
            return grid.table[nearest_entry(grid.table, levels)]
        if grid.digits:
            leading, exponent = np.frexp(levels)
            levels = np.ldexp(np.rint(np.ldexp(leading, grid.digits)), exponent - grid.digits)
        else:
            levels = np.rint(levels)
        levels[~(np.abs(levels) <= (np.inf if grid.digits else MOST))] = 0
    return np.copysign(levels, weights)


def _product(
    levels: Floats, step: Floats, divides: bool, inner: np.dtype[Any], outer: np.dtype[Any]
) -> Symbols:
    """The bits of the products, or quotients, rounded to one format, and then to another that may
    be wider.

    Every machine rounds products to the same float64, and these to the same floats.
    """
    with np.errstate(all="ignore"):  # products of a damaged file may be anything
        products = levels / step if divides else levels * step
        if inner != np.float64:
            products = products.astype(np.float32).astype(inner)
        rounded = products.astype(outer)
    return np.ascontiguousarray(rounded).view(f"u{outer.itemsize}")


class _Scale(NamedTuple):
    """How levels are symbols: integers from the middle of an alphabet on, floats, or entries."""

    alphabet: Alphabet
    size: int  # what a head says of the alphabet
    symbols: Callable[[Floats], Values]
    some: float  # a level
    escape: int  # the symbol of weights that are no multiples
    arrays: list[tuple[Alphabet, Symbols]]


def _scale_of(levels: Floats, grid: Grid, exact: bool) -> _Scale:
    if grid.digits == TABLE:
        bits, table = _shortened(grid.table)
        few = Alphabet(table.size + (not exact))
        arrays = [(floats(11, bits), table)]
        size = 64 * table.size + bits
        index = partial(np.searchsorted, grid.table)
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
    zeros = trailing_zeros(np.bitwise_or.reduce(table.view(np.uint64), keepdims=True), 52)
    bits = 52 - int(zeros[0])
    return bits, _cut(table, bits)


def _cut(values: Floats, bits: int) -> Symbols:
    """The bits of float64 numbers without the end of their mantissas, which is 0."""
    container = floats(11, bits).container
    return (np.ascontiguousarray(values).view(np.uint64) >> np.uint64(52 - bits)).astype(container)


def _uncut(symbols: Symbols, bits: int) -> Floats:
    return (symbols.astype(np.uint64) << np.uint64(52 - bits)).view(np.float64)


def _read_scaled(reader: Reader, shape: Shape, alphabet: Alphabet) -> Plan:
    inner, digits, bits, flags = reader.take(4)
    divides, has_signs = divmod(flags, 2)
    block = Block(reader.number(), reader.number())
    size, zeros, others = (reader.number() for _ in range(3))
    escape = reader.number() if others else -1
    table, numel = table_shape(shape), math.prod(shape)
    if inner >= len(FORMATS) or bits > 52 or divides > 1 or zeros > numel or others > numel:
        raise InputError("the head of a grid is damaged")
    if not (1 <= block.rows <= max(1, table[0]) and 1 <= block.columns <= max(1, table[1])):
        raise InputError("the blocks of a grid are not within its table")
    steps_shape = -(-table[0] // block.rows), -(-table[1] // block.columns)
    scale = _read_scale(digits, size, others > 0)
    needs: list[tuple[Alphabet, Shape]] = [(floats(11, bits), steps_shape), *scale.needs]
    needs += [(scale.alphabet, shape)]
    needs += [(Alphabet(2), (zeros,))] if has_signs else []
    needs += [(alphabet, (others,))] if others else []

    def build(arrays: Sequence[Symbols]) -> Symbols:
        steps, symbols = _uncut(arrays[0], bits), arrays[1 + len(scale.needs)].reshape(table)
        others_at = symbols == escape
        levels = scale.levels(symbols, arrays[1])
        if has_signs:
            at = (levels == 0) & ~others_at
            if int(at.sum()) != zeros:
                raise InputError("the zeros of a grid are not as many as its head says")
            levels[at] = np.copysign(0.0, 0.5 - arrays[2 + len(scale.needs)])
        outer, step = DTYPES[alphabet.format], spread(steps, block, table)
        products = _product(levels, step, divides == 1, DTYPES[FORMATS[inner]], outer)
        if int(others_at.sum()) != others:
            raise InputError("the weights beside a grid are not as many as its head says")
        if others:
            products[others_at] = arrays[-1]
        return products.reshape(shape)

    return Plan(needs, build)


class _ReadScale(NamedTuple):
    """Undoes a `_Scale`."""

    alphabet: Alphabet
    needs: list[tuple[Alphabet, Shape]]
    levels: Callable[[Symbols, Symbols], Floats]  # of symbols, and of the array that it needs


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
        return _ReadScale(floats(11, digits - 1), [], lambda some, _: _uncut(some, digits - 1))
    return _ReadScale(Alphabet(1 << size), [], lambda some, _: some - float(1 << size >> 1))


# --- few values -------------------------------------------------------------------------------


def codebook(part: Symbols, alphabet: Alphabet) -> Piece:
    """A tensor as its distinct values, in order, and which one each weight is."""
    values, index = np.unique(order_patterns(part, alphabet.format), return_inverse=True)
    few = Alphabet(values.size)
    indices = index.reshape(part.shape).astype(few.container)
    table = disorder_patterns(values, alphabet.format)
    return Piece(bytes([CODEBOOK]) + number_bytes(values.size), [(alphabet, table), (few, indices)])


def _read_codebook(reader: Reader, shape: Shape, alphabet: Alphabet) -> Plan:
    count = reader.number()
    if not 1 <= count <= CODEBOOK_LIMIT:
        raise InputError("the size of a codebook is damaged")
    needs: list[tuple[Alphabet, Shape]] = [(alphabet, (count,)), (Alphabet(count), shape)]
    return Plan(needs, lambda arrays: arrays[0][arrays[1]])


_READERS: dict[int, Callable[[Reader, Shape, Alphabet], Plan]] = {
    SHIFTED: _read_shifted,
    SHIFTED_ROWS: _read_shifted_lines(0),
    SHIFTED_COLUMNS: _read_shifted_lines(1),
    SCALED: _read_scaled,
    CODEBOOK: _read_codebook,
}


def zeros_by_line(part: Symbols, alphabet: Alphabet) -> tuple[int, list[NDArray[np.int64]]]:
    """Bits that every mantissa of a tensor ends with zeros in, and those of each row and column."""
    mantissa = mantissa_bits(DTYPES[alphabet.format])
    unions = [np.bitwise_or.reduce(table_of(part), axis) for axis in (1, 0)]
    lines = [trailing_zeros(union, mantissa) for union in unions]
    return int(lines[0].min()), lines
