"""The ways in which the grid code writes a tensor, each with what undoes it.

A tensor becomes a head, a few bytes, and arrays of symbols of smaller alphabets; a reader of the
head says which arrays there are, and what makes the tensor of them again.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.forms import form_parts
from kolmo.codes.grid_copies import COPIED, read_copied
from kolmo.codes.grid_pieces import CODEBOOK_LIMIT, Rebuild, Rewritten, floats
from kolmo.codes.grid_scaled import SCALED, read_scaled
from kolmo.codes.grid_search import table_of, table_shape, trailing_zeros
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError
from kolmo.floats import disorder_patterns, mantissa_bits, order_patterns
from kolmo.symbols import Alphabet, Shape, Symbols

PLAIN, SHIFTED, SHIFTED_ROWS, SHIFTED_COLUMNS, CODEBOOK, APART = 0, 1, 2, 3, 5, 7
"""Ways other than `SCALED` and `COPIED`, as the first byte of a head has them."""


def read_plan(
    reader: Reader, shape: Shape, alphabet: Alphabet, before: Sequence[Shape] = ()
) -> Rebuild:
    """Read the head of a tensor of a shape and an alphabet, after those of other shapes."""
    way = reader.take(1)[0]
    if way == COPIED:
        return read_copied(reader, shape, alphabet, before)
    if way == PLAIN:
        return Rebuild([(alphabet, shape)], lambda arrays: arrays[0])
    if way not in _READERS:
        raise InputError(f"there is no way {way} to write a tensor")
    return _READERS[way](reader, shape, alphabet)


def plain(part: Symbols, alphabet: Alphabet) -> Rewritten:
    """A tensor as it is."""
    return Rewritten(bytes([PLAIN]), [(alphabet, part)])


# --- mantissas that end in zeros --------------------------------------------------------------


def shifted(part: Symbols, zeros: int, alphabet: Alphabet) -> Rewritten:
    """A tensor without the last bits of its mantissas."""
    return Rewritten(bytes([SHIFTED, zeros]), [_shift(part, zeros, alphabet)])


def shifted_lines(
    part: Symbols, zeros: NDArray[np.int64], axis: int, alphabet: Alphabet
) -> Rewritten:
    """A tensor without the last bits of its rows (axis 0) or its columns, which are not as many in
    each: those of which the same are missing become a table."""
    table = table_of(part)
    tables = [np.compress(zeros == each, table, axis) for each in np.unique(zeros)]
    arrays = [
        _shift(some, int(each), alphabet)
        for some, each in zip(tables, np.unique(zeros), strict=True)
    ]
    return Rewritten(bytes([SHIFTED_ROWS + axis]) + _runs(zeros), arrays)


def _shift(part: Symbols, zeros: int, alphabet: Alphabet) -> tuple[Alphabet, Symbols]:
    narrow = _narrow(alphabet, zeros)
    return narrow, (part >> part.dtype.type(zeros)).astype(narrow.container)


def _narrow(alphabet: Alphabet, zeros: int) -> Alphabet:
    exponent, mantissa = (form_parts(alphabet.format) or (0, 0))[:2]
    if zeros > mantissa:
        raise InputError("more bits are missing than a mantissa has")
    return floats(exponent, mantissa - zeros) if zeros else alphabet


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


def _read_shifted(reader: Reader, shape: Shape, alphabet: Alphabet) -> Rebuild:
    zeros = reader.take(1)[0]
    return Rebuild([(_narrow(alphabet, zeros), shape)], lambda a: _unshift(a[0], zeros, alphabet))


def _unshift(symbols: Symbols, zeros: int, alphabet: Alphabet) -> Symbols:
    return np.asarray(symbols.astype(alphabet.container) << alphabet.container.type(zeros))


def _read_shifted_lines(axis: int) -> Callable[[Reader, Shape, Alphabet], Rebuild]:
    def read(reader: Reader, shape: Shape, alphabet: Alphabet) -> Rebuild:
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
        return Rebuild(needs, build)

    return read


# --- few values -------------------------------------------------------------------------------


def codebook(part: Symbols, alphabet: Alphabet) -> Rewritten:
    """A tensor as its distinct values, in order, and which one each weight is."""
    values, index = np.unique(order_patterns(part, alphabet.format), return_inverse=True)
    few = Alphabet(values.size)
    indices = index.reshape(part.shape).astype(few.container)
    table = disorder_patterns(values, alphabet.format)
    return Rewritten(
        bytes([CODEBOOK]) + number_bytes(values.size), [(alphabet, table), (few, indices)]
    )


def _read_codebook(reader: Reader, shape: Shape, alphabet: Alphabet) -> Rebuild:
    count = reader.number()
    if not 1 <= count <= CODEBOOK_LIMIT:
        raise InputError("the size of a codebook is damaged")
    needs: list[tuple[Alphabet, Shape]] = [(alphabet, (count,)), (Alphabet(count), shape)]
    return Rebuild(needs, lambda arrays: arrays[0][arrays[1]])


# --- zeros ------------------------------------------------------------------------------------


def apart(part: Symbols, alphabet: Alphabet) -> Rewritten:
    """A tensor as which weights are not 0, and these."""
    nonzero = part != 0
    others = part[nonzero]
    arrays = [(Alphabet(2), nonzero.astype(np.uint8)), (alphabet, others)]
    return Rewritten(bytes([APART]) + number_bytes(others.size), arrays)


def _read_apart(reader: Reader, shape: Shape, alphabet: Alphabet) -> Rebuild:
    count = reader.number()
    if count > math.prod(shape):
        raise InputError("the code has more weights than the tensor")

    def build(arrays: Sequence[Symbols]) -> Symbols:
        nonzero = arrays[0].astype(bool)
        if np.count_nonzero(nonzero) != count:
            raise InputError("the code's count of zeros is damaged")
        whole = np.zeros(shape, alphabet.container)
        whole[nonzero] = arrays[1]
        return whole

    return Rebuild([(Alphabet(2), shape), (alphabet, (count,))], build)


_READERS: dict[int, Callable[[Reader, Shape, Alphabet], Rebuild]] = {
    SHIFTED: _read_shifted,
    SHIFTED_ROWS: _read_shifted_lines(0),
    SHIFTED_COLUMNS: _read_shifted_lines(1),
    SCALED: read_scaled,
    CODEBOOK: _read_codebook,
    APART: _read_apart,
}


def zeros_by_line(part: Symbols, alphabet: Alphabet) -> tuple[int, list[NDArray[np.int64]]]:
    """Bits that every mantissa of a tensor ends with zeros in, and those of each row and column."""
    mantissa = mantissa_bits(DTYPES[alphabet.format])
    unions = [np.bitwise_or.reduce(table_of(part), axis) for axis in (1, 0)]
    lines = [trailing_zeros(union, mantissa) for union in unions]
    return int(lines[0].min()), lines
