"""Layouts: symbols → bytes, the form in which a byte compressor sees them.

``bytes``      each symbol in the smallest little-endian unsigned container; native as stored
``shuffle``    byte-planes: all first (least significant) bytes, then all second ones, ...
``packed``     ceil(log2 alphabet) bits a symbol, most significant bit first, no gaps
``bitplanes``  packed plane by plane, the most significant plane first

``shuffle`` and ``bitplanes`` reorder within segments of 4,194,304 symbols (the last one is
shorter), so that memory stays bounded and a decoder can stream. The final byte of ``packed``,
and of each plane, is padded with zero bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kolmo import specs
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Symbols

SEGMENT = 1 << 22
"""Symbols within which ``shuffle`` and ``bitplanes`` reorder."""

Bytes = NDArray[np.uint8]


class LayoutEncoder(Protocol):
    """Takes symbols in any chunks, gives bytes as they become known."""

    def update(self, symbols: Symbols) -> Iterator[Bytes]: ...

    def finish(self) -> Iterator[Bytes]: ...


def start_layout(name: str, alphabet: Alphabet) -> LayoutEncoder:
    """An encoder for symbols of an alphabet.

    Raises
    ------
    InputError
        For an unknown layout.
    """
    check_layout(name)
    encoder: LayoutEncoder = _ENCODERS[name](alphabet)
    return encoder


def check_layout(name: str) -> None:
    """InputError unless this is the name of a layout."""
    if name not in _ENCODERS:
        raise specs.unknown("layout", name, _ENCODERS)


def lay_out(symbols: Symbols, alphabet: Alphabet, layout: str) -> bytes:
    """All bytes of an array of symbols.

    >>> lay_out(np.uint8([1, 0, 3]), Alphabet(4), "packed").hex()  # 01 00 11 and two zero bits
    '4c'
    """
    encoder = start_layout(layout, alphabet)
    pieces = [*encoder.update(np.asarray(symbols).reshape(-1)), *encoder.finish()]
    return b"".join(piece.tobytes() for piece in pieces)


def laid_out_size(numel: int, alphabet: Alphabet, layout: str) -> int:
    """Bytes that ``lay_out`` makes of ``numel`` symbols.

    >>> laid_out_size(3, Alphabet(4), "packed"), laid_out_size(9, Alphabet(4), "bitplanes")
    (1, 4)
    """
    check_layout(layout)
    bits = alphabet.bits
    if layout == "packed":
        return -(-numel * bits // 8)
    if layout == "bitplanes":
        segments, rest = divmod(numel, SEGMENT)
        return bits * (segments * (SEGMENT // 8) + -(-rest // 8))
    return numel * alphabet.container.itemsize


def read_back(data: bytes, numel: int, alphabet: Alphabet, layout: str) -> Symbols:
    """The symbols of which ``lay_out`` made the bytes.

    >>> read_back(bytes.fromhex("4c"), 3, Alphabet(4), "packed")
    array([1, 0, 3], dtype=uint8)
    """
    check_layout(layout)
    dtype, bits = alphabet.container, alphabet.bits
    raw = np.frombuffer(data, np.uint8)
    if layout == "bytes":
        return raw.view(dtype)
    if layout == "packed":
        return _from_bits(np.unpackbits(raw)[: numel * bits].reshape(numel, bits), dtype)
    read_segment = _unshuffle if layout == "shuffle" else _unplane
    pieces, offset = [], 0
    for start in range(0, numel, SEGMENT):
        size = min(SEGMENT, numel - start)
        width = size * dtype.itemsize if layout == "shuffle" else bits * -(-size // 8)
        pieces.append(read_segment(raw[offset : offset + width], size, dtype, bits))
        offset += width
    return np.concatenate(pieces) if pieces else np.empty(0, dtype)


# --- encoders -------------------------------------------------------------------------------


class _PlainBytes:
    def __init__(self, alphabet: Alphabet) -> None:
        self._dtype = alphabet.container

    def update(self, symbols: Symbols) -> Iterator[Bytes]:
        yield np.ascontiguousarray(symbols, dtype=self._dtype).view(np.uint8)

    def finish(self) -> Iterator[Bytes]:
        return iter(())


class _Packed:
    """Symbols in groups of 8 fill whole bytes; what is left waits for the next chunk."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._dtype, self._bits = alphabet.container, alphabet.bits
        self._left = np.empty(0, self._dtype)

    def update(self, symbols: Symbols) -> Iterator[Bytes]:
        symbols = np.concatenate([self._left, symbols.astype(self._dtype, copy=False)])
        whole = symbols.size // 8 * 8
        self._left = symbols[whole:]
        for start in range(0, whole, 1 << 19):
            yield self._pack(symbols[start : min(start + (1 << 19), whole)])

    def finish(self) -> Iterator[Bytes]:
        yield self._pack(self._left)

    def _pack(self, symbols: Symbols) -> Bytes:
        if self._bits == 8 * self._dtype.itemsize:
            return symbols.astype(symbols.dtype.newbyteorder(">")).view(np.uint8)
        return np.packbits(_to_bits(symbols, self._bits))


class _Segmented:
    """Gathers whole segments, then reorders each."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._dtype, self._bits = alphabet.container, alphabet.bits
        self._segments = Gatherer(repeat((SEGMENT,)), self._dtype)

    def update(self, symbols: Symbols) -> Iterator[Bytes]:
        return map(self._reorder, self._segments.take(symbols))

    def finish(self) -> Iterator[Bytes]:
        rest = self._segments.rest()
        if rest.size:
            yield self._reorder(rest)

    def _reorder(self, segment: Symbols) -> Bytes:
        raise NotImplementedError


class _Shuffle(_Segmented):
    def _reorder(self, segment: Symbols) -> Bytes:
        planes = segment.view(np.uint8).reshape(segment.size, self._dtype.itemsize)
        return planes.T.reshape(-1).copy()


class _BitPlanes(_Segmented):
    def _reorder(self, segment: Symbols) -> Bytes:
        planes = (
            np.packbits((segment >> self._dtype.type(plane)).astype(np.uint8) & np.uint8(1))
            for plane in reversed(range(self._bits))
        )
        return np.concatenate(list(planes))


_ENCODERS: dict[str, type[Any]] = {
    "bytes": _PlainBytes,
    "shuffle": _Shuffle,
    "packed": _Packed,
    "bitplanes": _BitPlanes,
}

LAYOUTS = tuple(_ENCODERS)


# --- bits -----------------------------------------------------------------------------------


def _to_bits(symbols: Symbols, bits: int) -> Bytes:
    """Shape (n, bits): the low bits of each symbol, most significant first."""
    width = symbols.dtype.itemsize
    big = symbols.astype(symbols.dtype.newbyteorder(">"), copy=False).view(np.uint8)
    return np.unpackbits(big.reshape(symbols.size, width), axis=1)[:, 8 * width - bits :]


def _from_bits(bits: Bytes, dtype: np.dtype[Any]) -> Symbols:
    width = 8 * dtype.itemsize
    padded = np.zeros((bits.shape[0], width), np.uint8)
    padded[:, width - bits.shape[1] :] = bits
    return np.packbits(padded, axis=1).reshape(-1).view(dtype.newbyteorder(">")).astype(dtype)


def _unshuffle(raw: Bytes, size: int, dtype: np.dtype[Any], bits: int) -> Symbols:
    return np.ascontiguousarray(raw.reshape(dtype.itemsize, size).T).view(dtype).reshape(-1)


def _unplane(raw: Bytes, size: int, dtype: np.dtype[Any], bits: int) -> Symbols:
    planes = np.unpackbits(raw.reshape(bits, -1), axis=1)[:, :size]
    return _from_bits(np.ascontiguousarray(planes.T), dtype)
