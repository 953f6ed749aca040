"""The grid code (docs/formats/codes.md)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.formats.bits import Reader, demand
from tests.formats.cases import FLOATS
from tests.formats.scans import order_of, scanned

Shape = tuple[int, ...]
Need = tuple[int, str, Shape]  # alphabet, format, shape
Build = Callable[[Iterator[list[int]]], list[int]]
Decode = Callable[[int, bytes, list[Shape], int, str], list[int]]
INNER = ("float8_e5m2", "float8_e4m3fn", "bfloat16", "float16", "float32", "float64")
SPLIT = {
    "float64": (11, 52),
    "float32": (8, 23),
    "float16": (5, 10),
    "bfloat16": (8, 7),
    "float8_e4m3fn": (4, 3),
    "float8_e5m2": (5, 2),
}


def grid(data: bytes, shapes: list[Shape], alphabet: int, fmt: str, decode: Decode) -> list[int]:
    reader = Reader(data)
    heads = [
        head(reader, shape, alphabet, fmt, shapes[:number]) for number, shape in enumerate(shapes)
    ]
    wanted: dict[tuple[int, str], list[Shape]] = {}
    for size, its, shape in (need for needs, _ in heads for need in needs):
        if math.prod(shape):
            wanted.setdefault((size, its), []).append(shape)
    found = {}
    for (size, its), some in wanted.items():
        length, code = reader.varint(), reader.take(1)[0]
        demand(code not in (2, 12, 13), "a code that sections do not have")
        found[size, its] = iter(decode(code, reader.take(length), some, size, its))
    demand(not reader.rest(), "something after the last section")
    parts: list[list[int]] = []
    for needs, build in heads:
        arrays = [
            [next(found[size, its]) for _ in range(math.prod(shape))] for size, its, shape in needs
        ]
        parts.append(build(iter([*arrays, *parts])))
    return [symbol for part in parts for symbol in part]


def as_format(exponent: int, mantissa: int) -> tuple[int, str]:
    return 1 << (1 + exponent + mantissa), f"e{exponent}m{mantissa}"


def table_of(shape: Shape) -> tuple[int, int]:
    if len(shape) < 2:
        return 1, math.prod(shape)
    return shape[0], math.prod(shape[1:])


def head(
    reader: Reader, shape: Shape, alphabet: int, fmt: str, before: list[Shape]
) -> tuple[list[Need], Build]:
    way = reader.take(1)[0]
    demand(way < 8, "an unknown way")
    if way == 6:
        return [], copy_of(reader, shape, fmt, before)
    if way == 0:
        return [(alphabet, fmt, shape)], next
    if way == 1:
        zeros = reader.take(1)[0]
        return [(*shortened(alphabet, fmt, zeros), shape)], lambda a: [v << zeros for v in next(a)]
    if way == 7:
        count = reader.varint()
        demand(count <= math.prod(shape), "more weights than there are")
        return [(2, "", shape), (alphabet, fmt, (count,))], lambda a: beside_zeros(*a)
    if way == 5:
        count = reader.varint()
        demand(1 <= count <= 4096, "a codebook of another size")
        needs = [(alphabet, fmt, (count,)), (count, "", shape)]
        return needs, lambda arrays: chosen(next(arrays), next(arrays))
    return (
        levels(reader, shape, alphabet, fmt)
        if way == 4
        else lines(reader, shape, alphabet, fmt, way - 2)
    )


def copy_of(reader: Reader, shape: Shape, fmt: str, before: list[Shape]) -> Build:
    """Given the symbols of all parts before it."""
    source, numbers = reader.varint(), (reader.varint(), reader.varint())
    (scan, turned), (half, odd) = (divmod(number, 2) for number in numbers)
    demand(source < len(before), "a copy of nothing")
    demand(math.prod(before[source]) == math.prod(shape), "a copy of another size")
    order_of(before[source], scan)
    exponent, mantissa = SPLIT[fmt]
    demand(half < 1 << exponent, "a power of two")
    power, last = -half - 1 if odd else half, (1 << exponent) - 1

    def times(symbol: int) -> int:
        mine = symbol >> mantissa & last
        if power and 0 < mine < last:
            demand(0 < mine + power < last, "an exponent that the format has not")
            symbol += power << mantissa
        return symbol ^ turned << (exponent + mantissa)

    def build(parts: Iterator[list[int]]) -> list[int]:
        symbols = next(itertools.islice(parts, source, None))
        return [times(symbol) for symbol in scanned(symbols, before[source], scan)]

    return build


def beside_zeros(flags: list[int], others: list[int], *_: list[int]) -> list[int]:
    demand(sum(flags) == len(others), "another number of zeros")
    left = iter(others)
    return [next(left) if flag else 0 for flag in flags]


def chosen(entries: list[int], places: list[int]) -> list[int]:
    return [entries[place] for place in places]


def shortened(alphabet: int, fmt: str, zeros: int) -> tuple[int, str]:
    exponent, mantissa = SPLIT[fmt]
    demand(zeros <= mantissa, "more zeros than mantissa bits")
    return as_format(exponent, mantissa - zeros) if zeros else (alphabet, fmt)


def lines(
    reader: Reader, shape: Shape, alphabet: int, fmt: str, axis: int
) -> tuple[list[Need], Build]:
    table = table_of(shape)
    zeros: list[int] = []
    while len(zeros) < table[axis]:
        number, length = reader.varint(), reader.varint()
        demand(number < 64 and length >= 1, "a run that is none")
        zeros += [number] * length
    demand(len(zeros) == table[axis], "runs that are too long")
    needs = []
    for each in sorted(set(zeros)):
        its = (zeros.count(each), table[1]) if axis == 0 else (table[0], zeros.count(each))
        needs.append((*shortened(alphabet, fmt, each), its))

    def build(arrays: Iterator[list[int]]) -> list[int]:
        by_zeros = {each: iter(next(arrays)) for each in sorted(set(zeros))}
        found = []
        for row in range(table[0]):
            for column in range(table[1]):
                each = zeros[(row, column)[axis]]
                found.append(next(by_zeros[each]) << each)
        return found

    return needs, build


def levels(reader: Reader, shape: Shape, alphabet: int, fmt: str) -> tuple[list[Need], Build]:
    inner, digits, bits, flags = reader.take(4)
    how, signed = divmod(flags, 2)
    rows, columns, size, zeros, others = (reader.varint() for _ in range(5))
    offset_bits = reader.varint() if how > 1 else 0
    escape = reader.varint() if others else -1
    table = table_of(shape)
    demand(inner < 6 and (digits <= 24 or digits == 255) and how < 5, "the head of a grid")
    demand(SPLIT[INNER[inner]][1] <= SPLIT[fmt][1], "rounded to more digits")
    demand(1 <= rows <= max(1, table[0]) and 1 <= columns <= max(1, table[1]), "the blocks")
    steps = -(-table[0] // rows), -(-table[1] // columns)
    needs: list[Need] = [(*as_format(11, bits), steps)]
    if how > 1:
        needs.append((*as_format(11, offset_bits), steps))
    if digits == 255:
        count, entry_bits = divmod(size, 64)
        needs.append((*as_format(11, entry_bits), (count,)))
        needs.append((count + (others > 0), "", shape))
    elif digits:
        needs.append((*as_format(11, digits - 1), shape))
    else:
        needs.append((1 << size, "", shape))
    if signed:
        needs.append((2, "", (zeros,)))
    if others:
        needs.append((alphabet, fmt, (others,)))

    def build(arrays: Iterator[list[int]]) -> list[int]:
        step = spread(next(arrays), bits, rows, columns, table)
        offset = spread(next(arrays), offset_bits, rows, columns, table) if how > 1 else step
        entries = longer(next(arrays), entry_bits) if digits == 255 else np.zeros(0)
        symbols = np.array(next(arrays), np.uint64)
        beside = symbols == escape if others else np.zeros(symbols.size, bool)
        demand(int(beside.sum()) == others, "others")
        if digits == 255:
            values = np.append(entries, 0.0)[symbols.astype(np.int64)]
        elif digits:
            values = longer(symbols.tolist(), digits - 1)
        else:
            values = symbols.astype(np.float64) - 2.0 ** (size - 1)
        if signed:
            signs = next(arrays)
            demand(int(((values == 0) & ~beside).sum()) == zeros, "zeros")
            values[(values == 0) & ~beside] = np.where(signs, -0.0, 0.0)
        found = rounded(made(values, how, step, offset, inner == 5), INNER[inner], fmt)
        left = next(arrays) if others else []
        found[beside] = left
        return found.tolist()

    return needs, build


def spread(symbols: list[int], bits: int, rows: int, columns: int, table: Shape) -> Any:
    blocks = longer(symbols, bits).reshape(-(-table[0] // rows), -(-table[1] // columns))
    row, column = np.divmod(np.arange(table[0] * table[1]), max(1, table[1]))
    return blocks[row // rows, column // columns]


def longer(symbols: list[int], bits: int) -> Any:
    return np.array([symbol << (52 - bits) for symbol in symbols], np.uint64).view(np.float64)


def made(values: Any, how: int, step: Any, offset: Any, wide: bool) -> Any:
    def single(some: Any) -> Any:
        return some if wide else some.astype(np.float32).astype(np.float64)

    ways = (
        lambda: values * step,
        lambda: values / step,
        lambda: single(values * step) + offset,
        lambda: values * step + offset,
        lambda: single(values + offset) * step,
    )
    return ways[how]()


def rounded(values: Any, inner: str, fmt: str) -> Any:
    if inner != "float64":
        values = values.astype(np.float32).astype(FLOATS[inner])
    outer = values.astype(FLOATS[fmt])
    return outer.view(f"u{outer.itemsize}")
