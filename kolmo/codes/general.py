"""General compressors as codes, on the symbols' bytes or on their byte-planes.

The first byte says which of the two layouts of `kolmo.layout` it is; what follows is the library's
stream, without headers and checksums where it can do without. A decoder is given no more room than
the symbols take, whatever the stream would expand to.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from kolmo.codes.base import register_code
from kolmo.codes.plain import flat, split
from kolmo.errors import InputError
from kolmo.layout import laid_out_size, lay_out, read_back
from kolmo.symbols import Alphabet, Shape, Symbols

LAYOUTS = ("bytes", "shuffle")

_PIECE = 1 << 16  # bytes that a decoder is given, or gives, at a time


class General:
    """Base of the codes that a library makes."""

    name: str
    number: int

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        """The shorter of the two layouts."""
        symbols = flat(parts, alphabet)
        layouts = LAYOUTS[: symbols.dtype.itemsize]  # bytes have no planes
        return min((self.encode_in(symbols, alphabet, layout) for layout in layouts), key=len)

    def encode_in(self, symbols: Symbols, alphabet: Alphabet, layout: str) -> bytes:
        """Flat symbols in one layout."""
        data = lay_out(symbols, alphabet, layout)
        return bytes([LAYOUTS.index(layout)]) + self.compress(data, _period(alphabet, layout))

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        numel = sum(map(math.prod, shapes))
        if not data or data[0] >= len(LAYOUTS):
            raise InputError(f"the code is not one of {self.name}")
        layout = LAYOUTS[data[0]]
        size, period = laid_out_size(numel, alphabet, layout), _period(alphabet, layout)
        try:
            laid_out = self.decompress(data[1:], size, period)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError) as error:
            raise InputError(f"damaged {self.name} code ({error})") from None
        if len(laid_out) != size:
            raise InputError(f"a {self.name} code of {len(laid_out):,} bytes, not {size:,}")
        return split(read_back(laid_out, numel, alphabet, layout), shapes, alphabet)

    def compress(self, data: bytes, period: int) -> bytes:
        """Bytes, every so many of which are alike, compressed as much as the library can."""
        raise NotImplementedError

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        """Undo `compress`; a byte more than ``size``, at most, where there are more."""
        raise NotImplementedError


def _period(alphabet: Alphabet, layout: str) -> int:
    return alphabet.container.itemsize if layout == "bytes" else 1


class Zstd(General):
    """Zstandard (RFC 8878) at its highest level, its frame without magic number.

    >>> import numpy as np
    >>> symbols = np.arange(4000, dtype=np.uint32) % 7
    >>> data = Zstd().encode([symbols], Alphabet(2**32))
    >>> len(data) < 60, (Zstd().decode(data, [(4000,)], Alphabet(2**32))[0] == symbols).all()
    (True, np.True_)
    """

    name = "zstd"
    number = 3
    level = 22

    def compress(self, data: bytes, period: int) -> bytes:
        import zstandard

        settings = zstandard.ZstdCompressionParameters.from_level(
            self.level,
            source_size=len(data),
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            write_content_size=False,
            write_checksum=False,
        )
        return zstandard.ZstdCompressor(compression_params=settings).compress(data)

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        import zstandard

        decoder = zstandard.ZstdDecompressor(
            format=zstandard.FORMAT_ZSTD1_MAGICLESS, max_window_size=1 << 27
        )
        try:
            with decoder.stream_reader(data) as reader:
                return reader.read(size + 1)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None


class Xz(General):
    """LZMA2, the xz tool's method, raw; its contexts tell the bytes of a symbol apart."""

    name = "xz"
    number = 4

    def compress(self, data: bytes, period: int) -> bytes:
        return lzma.compress(data, lzma.FORMAT_RAW, filters=_lzma_filters(len(data), period))

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_lzma_filters(size, period))
        return _limited(lambda piece, room: decoder.decompress(piece, room), decoder, data, size)


def _lzma_filters(size: int, period: int) -> list[dict[str, Any]]:
    align = period.bit_length() - 1
    window = min(max(4096, size), 1 << 27)
    preset = 9 | lzma.PRESET_EXTREME
    contexts = {"lp": align, "lc": 3 - align, "pb": align}
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": window, **contexts}]


class Bzip2(General):
    """bzip2: Burrows–Wheeler transform and Huffman codes."""

    name = "bz2"
    number = 6

    def compress(self, data: bytes, period: int) -> bytes:
        return bz2.compress(data, 9)

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        decoder = bz2.BZ2Decompressor()
        return _limited(lambda piece, room: decoder.decompress(piece, room), decoder, data, size)


def _limited(take: Callable[[bytes, int], bytes], decoder: Any, data: bytes, size: int) -> bytes:
    """What a decoder makes of all data, and no more than ``size`` + 1 bytes."""
    pieces, room = [take(data, size + 1)], size + 1
    while pieces[-1] and not decoder.eof:
        room -= len(pieces[-1])
        if room == 0:
            break
        pieces.append(take(b"", room))
    return b"".join(pieces)


class Deflate(General):
    """DEFLATE (RFC 1951), gzip's method, without gzip's header and trailer."""

    name = "deflate"
    number = 7

    def compress(self, data: bytes, period: int) -> bytes:
        encoder = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
        return encoder.compress(data) + encoder.flush()

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        return zlib.decompressobj(-15).decompress(data, size + 1)


class Brotli(General):
    """Brotli (RFC 7932) at its highest quality, with the largest standard window."""

    name = "brotli"
    number = 5

    def compress(self, data: bytes, period: int) -> bytes:
        import brotli

        return bytes(brotli.compress(data, quality=11, lgwin=24))

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        import brotli

        decoder, pieces, room = brotli.Decompressor(), [], size + 1
        try:
            while room > 0 and not decoder.is_finished():
                piece = decoder.process(data, output_buffer_limit=min(room, _PIECE))
                if not piece and decoder.can_accept_more_data() and not data:
                    break  # the stream is cut off
                pieces.append(piece)
                room, data = room - len(piece), b""
        except brotli.error as error:
            raise ValueError(str(error)) from None
        return b"".join(pieces)[: size + 1]


for _code in (Zstd(), Xz(), Bzip2(), Deflate(), Brotli()):
    register_code(_code)
