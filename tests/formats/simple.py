"""The codes raw, constant, 3 to 7, byteplanes and counts (docs/formats/codes.md)."""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Iterator
from itertools import pairwise

import brotli
import numpy as np
import zstandard

from tests.formats.bits import Decoder, Reader, clamp, demand, packed_bits, symbol_bits, width_of

Shapes = list[tuple[int, ...]]


def total(shapes: Shapes) -> int:
    return sum(map(math.prod, shapes))


def raw(data: bytes, shapes: Shapes, alphabet: int, fmt: str) -> list[int]:
    if alphabet == 1:
        return [0] * total(shapes)
    return packed_bits(data, total(shapes), symbol_bits(alphabet))


def constant(data: bytes, shapes: Shapes, alphabet: int, fmt: str) -> list[int]:
    demand(len(data) == -(-(alphabet - 1).bit_length() // 8), "a constant of another size")
    return [int.from_bytes(data, "little")] * total(shapes)


# --- compressors ----------------------------------------------------------------------------


def unzstd(data: bytes, size: int) -> bytes:
    frame = b"\x28\xb5\x2f\xfd" + data
    with zstandard.ZstdDecompressor().stream_reader(frame) as reader:
        return reader.read(size + 1)


def unxz(data: bytes, size: int) -> bytes:
    window = min(max(4096, size), 1 << 27)
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": window}]
    return lzma.decompress(data, lzma.FORMAT_RAW, filters=filters)


EXPAND = {
    3: unzstd,
    4: unxz,
    5: lambda data, size: brotli.decompress(data),
    6: lambda data, size: bz2.decompress(data),
    7: lambda data, size: zlib.decompress(data, -15),
}


def general(number: int, data: bytes, shapes: Shapes, alphabet: int) -> list[int]:
    count, width = total(shapes), width_of(alphabet)
    expanded = EXPAND[number](data[1:], count * width)
    demand(len(expanded) == count * width and data[0] < 2, "a stream of another size")
    raw_bytes = np.frombuffer(expanded, np.uint8)
    if data[0] == 0:
        return raw_bytes.view(f"<u{width}").tolist()
    found = []
    for first in range(0, count, 1 << 22):
        last = min(first + (1 << 22), count)
        planes = raw_bytes[first * width : last * width].reshape(width, last - first)
        found += np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(-1).tolist()
    return found


# --- byteplanes -----------------------------------------------------------------------------


def byteplanes(data: bytes, shapes: Shapes, alphabet: int, fmt: str) -> list[int]:
    reader, count = Reader(data), total(shapes)
    per_byte = symbols_per_byte(alphabet)
    ends = list(np.cumsum([math.prod(shape) for shape in shapes]))
    size = -(-count // per_byte)
    borders = [0, *(int(end) // per_byte for end in ends[:-1]), size]
    stretches = [after - before for before, after in pairwise(borders)]
    width = 1 if alphabet <= 16 else width_of(alphabet)
    heads = [reader.varint() for _ in range(width)]
    planes = [plane(head % 4, reader.take(head // 4), size, stretches) for head in heads]
    if alphabet <= 16:
        return unpacked(planes[0], alphabet, per_byte)[:count]
    symbols = [int.from_bytes(row, "little") for row in zip(*planes, strict=True)]
    if not fmt:
        return symbols
    return [(symbol >> 1) | (symbol & 1) << (8 * width - 1) for symbol in symbols]


def symbols_per_byte(alphabet: int) -> int:
    if alphabet > 16:
        return 1
    return next(c for c in range(8, 0, -1) if max(2, alphabet) ** c <= 256)


def unpacked(plane: bytes, alphabet: int, per_byte: int) -> list[int]:
    found = []
    for value in plane:
        demand(value < alphabet**per_byte, "a byte that holds no symbols")
        found += [value // alphabet**place % alphabet for place in range(per_byte - 1, -1, -1)]
    return found


def plane(way: int, data: bytes, size: int, stretches: list[int]) -> bytes:
    demand(way < 3, "an unknown way")
    found = rans(data, size, stretches) if way == 2 else unzstd(data, size) if way == 1 else data
    demand(len(found) == size, "a plane of another size")
    return found


def rans(data: bytes, size: int, stretches: list[int]) -> bytes:
    reader, found, share = Reader(data), bytearray(), [0] * 256
    for length in blocks(size, stretches):
        table = reader.take(reader.varint())
        if table:
            share = shares(zlib.decompress(table, -15))
        found += rans_block(reader, share, length)
    demand(not reader.rest(), "bytes after the last block")
    return bytes(found)


def blocks(size: int, stretches: list[int]) -> Iterator[int]:
    start = stop = 0
    for stretch in stretches:
        stop += stretch
        if stop - start < 2048 and stop < size:
            continue
        pieces = max(1, round((stop - start) / 131072))
        borders = [start + (stop - start) * i // pieces for i in range(pieces + 1)]
        yield from (b - a for a, b in pairwise(borders) if a < b)
        start = stop


def shares(level: bytes) -> list[int]:
    demand(len(level) == 256 and 0 < max(level) <= 29, "no table of levels")
    weight = [math.isqrt(1 << (value + 7)) if value else 0 for value in level]
    share = [max(w * 16384 // sum(weight), int(w > 0)) for w in weight]
    while (over := sum(share) - 16384) > 0:
        largest = share.index(max(share))
        share[largest] -= min(over, share[largest] // 2)
    share[share.index(max(share))] -= over
    return share


def rans_block(reader: Reader, share: list[int], length: int) -> bytes:
    size = reader.varint()
    states = [int.from_bytes(reader.take(4), "little") for _ in range(4)]
    words = iter(np.frombuffer(reader.take(size), "<u2").tolist())
    start = [sum(share[:value]) for value in range(256)]
    named = [value for value in range(256) for _ in range(share[value])]
    found = bytearray()
    for i in range(length):
        state = states[i % 4]
        slot = state & 16383
        value = named[slot]
        state = share[value] * (state >> 14) + slot - start[value]
        states[i % 4] = (state << 16) | next(words) if state < 65536 else state
        found.append(value)
    demand(next(words, None) is None, "words after the last byte")
    return bytes(found)


# --- counts ---------------------------------------------------------------------------------


def counts(data: bytes, shapes: Shapes, alphabet: int, fmt: str) -> list[int]:
    bits, prior = symbol_bits(alphabet), data[0]
    coder, known = Decoder(data[1:]), prior_counts(alphabet, prior)
    trust = 65536 if prior == 2 else 256
    symbols = []
    for shape in shapes:
        own = [[0, 0] for _ in known]
        for _ in range(math.prod(shape)):
            node = 1
            for _ in range(bits):
                node = 2 * node + count_digit(coder, known[node], own[node], trust)
            symbols.append(node - (1 << bits))
    coder.check_end()
    return symbols


def prior_counts(alphabet: int, prior: int) -> list[list[int]]:
    bits, found = symbol_bits(alphabet), [[1, 1]]
    for depth in range(bits):
        weight = (256, 256 * (depth + 1) ** 2, 65536 * (depth + 1) ** 2)[prior]
        size = 1 << (bits - depth - 1)
        for node in range(1 << depth):
            firsts = [2 * node * size, (2 * node + 1) * size]
            each = [max(0, min(first + size, alphabet) - first) for first in firsts]
            found.append([1 + weight * number // max(1, sum(each)) for number in each])
    return found


def count_digit(coder: Decoder, known: list[int], own: list[int], trust: int) -> int:
    p = ((own[1] << 16) + trust * ((known[1] << 16) // sum(known))) // (sum(own) + trust)
    y = coder.bit(clamp(p, 1, 65535))
    known[y] += 256
    own[y] += 1
    return y
