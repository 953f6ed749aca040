"""Undoing what chunks of arrays are packed by: deflate, zstd, LZF, shuffle, checksums.

No filter gives more bytes than the chunk holds, whatever the packed bytes claim.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import zstandard

_PIECE = 1 << 20

Undo = Callable[[bytes, int, int], bytes]
"""``undo(data, size, item)``: the bytes before the filter, at most ``size`` of them (a chunk's),
for entries of ``item`` bytes; ValueError if they are not sound."""


def inflate(data: bytes, size: int, item: int = 1) -> bytes:
    """Deflate, with the header of zlib or gzip."""
    state = zlib.decompressobj(wbits=47)
    try:
        found = state.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"not sound deflate ({error})") from None
    return _whole(found, size, state.eof)


def unzstd(data: bytes, size: int, item: int = 1) -> bytes:
    """Zstandard, one frame or several."""
    state = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    try:
        with state.stream_reader(data, read_across_frames=True) as reader:
            found = b"".join(_pieces(reader, size + 1))
    except zstandard.ZstdError as error:
        raise ValueError(f"not sound zstd ({error})") from None
    return _whole(found, size, True)


def _pieces(reader: BinaryIO, most: int) -> Iterator[bytes]:
    """What a reader gives, up to so many bytes: memory grows with what is there."""
    while most and (piece := reader.read(min(most, _PIECE))):
        most -= len(piece)
        yield piece


def unlzf(data: bytes, size: int, item: int = 1) -> bytes:
    """LZF, as h5py packs by it: runs of literals, and references to what came before."""
    found, at = bytearray(), 0
    while at < len(data) and len(found) <= size:
        control, at = data[at], at + 1
        if control < 32:
            found += data[at : at + control + 1]
            at += control + 1
            continue
        length, high = control >> 5, control & 31
        if length == 7:
            length, at = length + _byte(data, at), at + 1
        back, at = (high << 8 | _byte(data, at)) + 1, at + 1
        if back > len(found):
            raise ValueError("not sound LZF: a reference to before its start")
        piece = bytes(found[-back:][: length + 2])
        found += (piece * -(-(length + 2) // len(piece)))[: length + 2]
    return _whole(bytes(found), size, True)


def unshuffle(data: bytes, size: int, item: int) -> bytes:
    """Bytes of all entries, first bytes first; what is left over at the end lies as it is."""
    whole = len(data) // item * item
    planes = np.frombuffer(data, np.uint8, whole).reshape(item, -1)
    return np.ascontiguousarray(planes.T).tobytes() + data[whole:]


def uncheck(data: bytes, size: int, item: int = 1) -> bytes:
    """A checksum of four bytes at the end, which is not looked at."""
    return data[:-4]


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("not sound LZF: it ends early")
    return data[at]


def _whole(found: bytes, size: int, ended: bool) -> bytes:
    if len(found) > size or not ended:
        raise ValueError(f"it holds other than the {size:,} bytes of a chunk")
    return found
