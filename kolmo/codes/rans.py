"""The static code of bytes: range asymmetric numeral systems (rANS; Duda, "Asymmetric numeral
systems", arXiv 1311.2540), with fixed frequencies in each block.

A block has a table of its own, or uses that of the block before, whichever is shorter. A table
gives the frequency of each byte, rounded to a multiple of half an octave: the rounding costs under
.02 bits a byte.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.numbers import Reader, number_bytes
from kolmo.errors import InputError

Bytes = NDArray[np.uint8]
Shares = NDArray[np.uint64]

_SMALLEST, _USUAL = 1 << 11, 1 << 17  # bytes of a block
_SIZE = 1 << 14  # sum of the shares of a table
_POWERS = np.array([0, *(math.isqrt(1 << (level + 8)) for level in range(29))])
_STATES = 16  # bytes of a block's last states


def encode_bytes(data: Bytes, sizes: Sequence[int]) -> bytes:
    """The code of bytes that consist of stretches of these sizes, one for each tensor.

    >>> data = np.random.default_rng(0).binomial(4, 0.5, 10_000).astype(np.uint8)
    >>> code = encode_bytes(data, [6000, 4000])
    >>> len(code), np.array_equal(decode_bytes(code, [6000, 4000]), data)
    (2580, True)
    """
    return b"".join(_blocks(data, sizes))


def decode_bytes(code: bytes, sizes: Sequence[int]) -> Bytes:
    """Undo `encode_bytes`.

    Raises
    ------
    InputError
        If the code is damaged, or does not hold the bytes of these sizes.
    """
    reader, shares = Reader(code), np.zeros(0, np.uint64)
    data = np.empty(sum(sizes), np.uint8)
    for part in _parts(data, sizes):
        shares = _read_table(reader, shares)
        _read_block(reader, shares, part)
    if reader.rest():
        raise InputError("the code is longer than its symbols need")
    return data


def least_bytes(data: Bytes, sizes: Sequence[int]) -> int:
    """About the size of `encode_bytes` without its tables, computed from counts."""
    counts = map(_count, _parts(data, sizes))
    return sum(int(_bits(_shares_of(_levels(count)), count) / 8) for count in counts)


def _parts(data: Bytes, sizes: Sequence[int]) -> Iterator[Bytes]:
    """The blocks: pieces of a stretch, or several stretches too small for tables of their own."""
    start = stop = 0
    for size in sizes:
        stop += size
        if stop - start < _SMALLEST and stop < data.size:
            continue
        pieces = max(1, round((stop - start) / _USUAL))
        borders = [start + (stop - start) * piece // pieces for piece in range(pieces + 1)]
        yield from (data[first:last] for first, last in pairwise(borders) if first < last)
        start = stop


def _blocks(data: Bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    last: Shares | None = None
    for part in _parts(data, sizes):
        counts = _count(part)
        levels = _levels(counts)
        own, table = _shares_of(levels), _table_bytes(levels)
        if last is not None and _bits(last, counts) <= _bits(own, counts) + 8 * len(table):
            own, table = last, b""
        yield number_bytes(len(table)) + table + _block(part, own)
        last = own


def _count(part: Bytes) -> NDArray[np.int64]:
    from kolmo.codes import kernels_rans as kernels

    counts = np.zeros(256, np.int64)
    kernels.count(part, counts)
    return counts


def _levels(counts: NDArray[np.int64]) -> Bytes:
    """A level for each byte: 0 if it does not occur, else 1 + twice log2 of its share of 2^14."""
    used = counts > 0
    shares = np.maximum(counts[used] / counts.sum() * _SIZE, 1)
    levels = np.zeros(256, np.uint8)
    levels[used] = 1 + np.rint(2 * np.log2(shares))
    return levels


def _shares_of(levels: Bytes) -> Shares:
    """Integer shares by level, at least 1 for bytes that occur, that add up to 2^14."""
    parts = _POWERS[levels]
    shares = np.maximum(parts * _SIZE // parts.sum(), levels > 0)
    while (over := int(shares.sum()) - _SIZE) > 0:
        largest = int(shares.argmax())
        shares[largest] -= min(over, int(shares[largest]) // 2)
    shares[shares.argmax()] -= over
    whole: Shares = shares.astype(np.uint64)
    return whole


def _bits(shares: Shares, counts: NDArray[np.int64]) -> float:
    """Bits of symbols with these counts; infinite if one that occurs has no share."""
    used = counts > 0
    if not shares[used].all():
        return np.inf
    return float((counts[used] * (14 - np.log2(shares[used]))).sum())


def _table_bytes(levels: Bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(levels.tobytes()) + deflate.flush()


def _read_table(reader: Reader, last: Shares) -> Shares:
    packed = reader.take(reader.number())
    if not packed and last.size:
        return last
    inflate = zlib.decompressobj(-15)
    try:
        levels = np.frombuffer(inflate.decompress(packed, 257), np.uint8)
    except zlib.error as error:
        raise InputError(f"damaged table of shares ({error})") from None
    if levels.size != 256 or not levels.any() or levels.max() >= len(_POWERS):
        raise InputError("damaged table of shares")
    return _shares_of(levels)


def _starts(shares: Shares) -> Shares:
    starts: Shares = np.cumsum(shares) - shares
    return starts


def _block(part: Bytes, shares: Shares) -> bytes:
    from kolmo.codes import kernels_rans as kernels

    words, states = np.empty(part.size + 1, "<u2"), np.empty(4, np.uint64)
    first = kernels.encode(part, shares, _starts(shares), words, states)
    data = words[first:].tobytes()
    return number_bytes(len(data)) + states.astype("<u4").tobytes() + data


def _read_block(reader: Reader, shares: Shares, part: Bytes) -> None:
    from kolmo.codes import kernels_rans as kernels

    size = reader.number()
    states = np.frombuffer(reader.take(_STATES), "<u4").astype(np.uint64)
    words = np.frombuffer(reader.take(size & ~1), "<u2")
    if size % 2 or not kernels.decode(words, states, shares, _starts(shares), part):
        raise InputError("the code ends before its symbols do, or after")
