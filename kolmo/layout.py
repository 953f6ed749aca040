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
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kolmo.gathering import Gatherer
from kolmo.registry import Registry
from kolmo.symbols import Alphabet, Symbols

SEGMENT = 1 << 22
"""Symbols within which ``shuffle`` and ``bitplanes`` reorder."""

Bytes = NDArray[np.uint8]


class Layout:
    """Base of the layouts: takes symbols in chunks of any size, gives bytes when they are known."""

    name: ClassVar[str]

    def __init__(self, alphabet: Alphabet) -> None:
        self._dtype, self._bits = alphabet.container, alphabet.bits

    def update(self, symbols: Symbols) -> Iterator[Bytes]:
        """Take symbols; gives the bytes that these complete."""
        raise NotImplementedError

    def finish(self) -> Iterator[Bytes]:
        """The bytes that are left."""
        return iter(())

    def size(self, numel: int) -> int:
        """Size in bytes of ``numel`` symbols."""
        return numel * self._dtype.itemsize

    def read(self, data: Bytes, numel: int) -> Symbols:
        """The symbols that these bytes hold."""
        raise NotImplementedError


def start_layout(name: str, alphabet: Alphabet) -> Layout:
    """A layout for symbols of an alphabet, before the first of them.

    Raises
    ------
    InputError
        For an unknown layout.
    """
    return _LAYOUTS.get(name)(alphabet)


def check_layout(name: str) -> None:
    """InputError unless this is the name of a layout."""
    _LAYOUTS.get(name)


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
    return start_layout(layout, alphabet).size(numel)


def read_back(data: bytes, numel: int, alphabet: Alphabet, layout: str) -> Symbols:
    """The inverse of ``lay_out``: the symbols again.

    >>> read_back(bytes.fromhex("4c"), 3, Alphabet(4), "packed")
    array([1, 0, 3], dtype=uint8)
    """
    return start_layout(layout, alphabet).read(np.frombuffer(data, np.uint8), numel)


# --- the layouts ----------------------------------------------------------------------------


class _PlainBytes(Layout):
    name = "bytes"

    def update(self, symbols: Symbols) -> Iterator[Bytes]:
        yield np.ascontiguousarray(symbols, dtype=self._dtype).view(np.uint8)

    def read(self, data: Bytes, numel: int) -> Symbols:
        return data.view(self._dtype)


class _Packed(Layout):
    """Symbols in groups of 8 fill whole bytes; what is left waits for the next chunk."""

    name = "packed"

    def __init__(self, alphabet: Alphabet) -> None:
        super().__init__(alphabet)
        self._left = np.empty(0, self._dtype)

    def update(self, symbols: Symbols) -> Iterator[Bytes]:
        symbols = symbols.astype(self._dtype, copy=False)
        if self._left.size:
            symbols = np.concatenate([self._left, symbols])
        whole = symbols.size // 8 * 8
        self._left = symbols[whole:].copy()
        for start in range(0, whole, 1 << 19):
            yield self._pack(symbols[start : min(start + (1 << 19), whole)])

    def finish(self) -> Iterator[Bytes]:
        yield self._pack(self._left)

    def size(self, numel: int) -> int:
        return -(-numel * self._bits // 8)

    def read(self, data: Bytes, numel: int) -> Symbols:
        bits = np.unpackbits(data)[: numel * self._bits]
        return _from_bits(bits.reshape(numel, self._bits), self._dtype)

    def _pack(self, symbols: Symbols) -> Bytes:
        if self._bits == 8 * self._dtype.itemsize:
            return symbols.astype(symbols.dtype.newbyteorder(">")).view(np.uint8)
        if self._bits == 1:
            return np.packbits(symbols & symbols.dtype.type(1))
        return np.packbits(_to_bits(symbols, self._bits))


class _Segmented(Layout):
    """Gathers whole segments, then reorders each."""

    def __init__(self, alphabet: Alphabet) -> None:
        super().__init__(alphabet)
        self._segments = Gatherer(repeat((SEGMENT,)), self._dtype)

    def update(self, symbols: Symbols) -> Iterator[Bytes]:
        return map(self._reorder, self._segments.take(symbols))

    def finish(self) -> Iterator[Bytes]:
        rest = self._segments.rest()
        if rest.size:
            yield self._reorder(rest)

    def size(self, numel: int) -> int:
        segments, rest = divmod(numel, SEGMENT)
        return segments * self._segment_size(SEGMENT) + self._segment_size(rest)

    def read(self, data: Bytes, numel: int) -> Symbols:
        pieces, offset = [np.empty(0, self._dtype)], 0
        for start in range(0, numel, SEGMENT):
            size = min(SEGMENT, numel - start)
            end = offset + self._segment_size(size)
            pieces.append(self._restore(data[offset:end], size))
            offset = end
        return np.concatenate(pieces)

    def _segment_size(self, numel: int) -> int:
        raise NotImplementedError

    def _reorder(self, segment: Symbols) -> Bytes:
        raise NotImplementedError

    def _restore(self, data: Bytes, numel: int) -> Symbols:
        raise NotImplementedError


class _Shuffle(_Segmented):
    name = "shuffle"

    def _segment_size(self, numel: int) -> int:
        return numel * self._dtype.itemsize

    def _reorder(self, segment: Symbols) -> Bytes:
        planes = segment.view(np.uint8).reshape(segment.size, self._dtype.itemsize)
        return np.array(planes.T, order="C").reshape(-1)

    def _restore(self, data: Bytes, numel: int) -> Symbols:
        planes = data.reshape(self._dtype.itemsize, numel)
        return np.ascontiguousarray(planes.T).view(self._dtype).reshape(-1)


class _BitPlanes(_Segmented):
    name = "bitplanes"

    def _segment_size(self, numel: int) -> int:
        return self._bits * -(-numel // 8)

    def _reorder(self, segment: Symbols) -> Bytes:
        planes = (
            np.packbits((segment >> self._dtype.type(plane)).astype(np.uint8) & np.uint8(1))
            for plane in reversed(range(self._bits))
        )
        return np.concatenate(list(planes))

    def _restore(self, data: Bytes, numel: int) -> Symbols:
        planes = np.unpackbits(data.reshape(self._bits, -1), axis=1)[:, :numel]
        return _from_bits(np.ascontiguousarray(planes.T), self._dtype)


_LAYOUTS: Registry[type[Layout]] = Registry("layout")

LAYOUTS = tuple(
    _LAYOUTS.register(layout).name for layout in (_PlainBytes, _Shuffle, _Packed, _BitPlanes)
)


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
