"""The mosaic code (docs/formats/codes.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate

import numpy as np

from tests.formats.bits import Reader, demand, symbol_bits

Shapes = list[tuple[int, ...]]
Decode = Callable[[int, bytes, Shapes, int, str], list[int]]


def mosaic(data: bytes, shapes: Shapes, alphabet: int, fmt: str, decode: Decode) -> list[int]:
    reader = Reader(data)
    mode, size = reader.take(2)
    demand(mode < 3 and 1 <= size <= 32, "no mosaic")
    if mode < 2:
        return blocks(reader, shapes, size, alphabet, fmt, mode == 1, decode)
    demand(fmt == "float32", "scales of other weights than float32")
    scales = section(reader, (len(shapes),), 1 << 32, "float32", decode)
    halves = blocks(reader, shapes, size, 1 << 16, "float16", False, decode)
    factors = np.repeat(np.array(scales, np.uint32), list(map(math.prod, shapes)))
    weights = np.array(halves, np.uint16).view(np.float16).astype(np.float32)
    return (weights * factors.view(np.float32)).view(np.uint32).tolist()


def section(
    reader: Reader, shape: tuple[int, ...], alphabet: int, fmt: str, decode: Decode
) -> list[int]:
    size, code = reader.varint(), reader.take(1)[0]
    demand(code != 2, "a mosaic inside a mosaic")
    return decode(code, reader.take(size), [shape], alphabet, fmt)


def blocks(
    reader: Reader,
    shapes: Shapes,
    size: int,
    alphabet: int,
    fmt: str,
    own: bool,
    decode: Decode,
) -> list[int]:
    """The symbols of all parts."""
    tables = [index_table(shape, size) for shape in shapes]
    scopes = [rows * columns for rows, columns in tables]
    scopes = scopes if own else [sum(scopes)]
    counts = [reader.varint() for _ in scopes]
    demand(all(min(1, m) <= k <= m for k, m in zip(counts, scopes, strict=True)), "motifs")
    motifs = read_motifs(reader, sum(counts), size, alphabet, fmt, decode)
    code = reader.take(1)[0]
    demand(code in (0, 8), "indices in another code")
    indices = iter(decode(code, reader.rest(), tables, max(counts, default=1), ""))
    starts = [0, *accumulate(counts)]
    found = []
    for number, (shape, (rows, columns)) in enumerate(zip(shapes, tables, strict=True)):
        first, most = (starts[number], counts[number]) if own else (0, counts[0])
        chosen = [next(indices) for _ in range(rows * columns)]
        demand(all(index < most for index in chosen), "a motif that is not there")
        symbols = [symbol for index in chosen for symbol in motifs[first + index]]
        found += symbols[: math.prod(shape)]
    return found


def read_motifs(
    reader: Reader, count: int, size: int, alphabet: int, fmt: str, decode: Decode
) -> list[list[int]]:
    sums = accumulate(section(reader, (count,), alphabet, "", decode))
    firsts = [in_order(total % alphabet, alphabet, fmt) for total in sums]
    others: list[int] = []
    if size > 1:
        others = section(reader, (count, size - 1), alphabet, fmt, decode)
    width = size - 1
    return [[first, *others[width * i : width * (i + 1)]] for i, first in enumerate(firsts)]


def in_order(place: int, alphabet: int, fmt: str) -> int:
    top = 1 << (symbol_bits(alphabet) - 1)
    if fmt in ("", "float8_e8m0fnu"):
        return place
    return place - top if place >= top else alphabet - 1 - place


def index_table(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    numel = math.prod(shape)
    if len(shape) > 1 and numel and numel // shape[0] % size == 0:
        return shape[0], numel // shape[0] // size
    return 1, -(-numel // size)
