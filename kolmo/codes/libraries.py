"""The libraries of general compressors: one class each, for estimators and codes alike.

An estimator counts the bytes of a library's *stream*, in the file format that its own tool reads. A
code uses `Library.compress`: as few bytes as the library can write, without the headers and
checksums that a container has already.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from kolmo.errors import MissingExtraError

_PIECE = 1 << 16  # bytes that a decoder writes at a time
_WINDOW = 1 << 27  # how far back a match may reach


class Stream(Protocol):
    """The methods that the compressing objects of all libraries have in common."""

    def compress(self, data: Any, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Streaming(Protocol):
    """A library that writes streams."""

    @property
    def levels(self) -> range:
        """Compression levels, from the quickest to the strongest."""
        ...

    def memory(self, level: int, size: int) -> int:
        """Bytes that a stream of ``size`` bytes takes at most."""
        ...

    def stream(self, level: int, size: int) -> Stream:
        """A fresh compressing object, for ``size`` bytes.

        Raises
        ------
        MissingExtraError
            If the library is not installed.
        """
        ...

    def reach(self, level: int, size: int) -> float:
        """Bytes back that a stream of ``size`` bytes can make use of, at most."""
        ...

    def part(self, level: int, size: int, whole: int) -> Stream:
        """A stream for ``size`` bytes, with the settings that one of ``whole`` bytes has."""
        ...


class Library(Streaming, Protocol):
    """A library whose bytes a container may hold: every installation has it."""

    def compress(self, data: bytes, period: int) -> bytes:
        """Compress items of ``period`` bytes each, as much as the library can."""
        ...

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        """Undo `compress`; returns at most ``size`` + 1 bytes: one more shows that there are more.

        Raises
        ------
        ValueError, OSError, EOFError, MemoryError
            If the data is damaged; or what the library itself raises, zlib's or liblzma's error.
        """
        ...


class Zlib:
    """DEFLATE (RFC 1951); its stream is that of gzip (RFC 1952)."""

    levels = range(10)

    def memory(self, level: int, size: int) -> int:
        return 1 << 19

    def stream(self, level: int, size: int) -> Stream:
        return zlib.compressobj(level, zlib.DEFLATED, 31)

    def reach(self, level: int, size: int) -> float:
        return 1 << 15

    def part(self, level: int, size: int, whole: int) -> Stream:
        return self.stream(level, size)

    def compress(self, data: bytes, period: int) -> bytes:
        encoder = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
        return encoder.compress(data) + encoder.flush()

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        return zlib.decompressobj(-15).decompress(data, size + 1)


class Bzip2Library:
    """bzip2: Burrows–Wheeler transform and Huffman codes."""

    levels = range(1, 10)

    def memory(self, level: int, size: int) -> int:
        return 10 << 20

    def stream(self, level: int, size: int) -> Stream:
        return bz2.BZ2Compressor(level)

    def reach(self, level: int, size: int) -> float:
        return 100_000 * level

    def part(self, level: int, size: int, whole: int) -> Stream:
        return self.stream(level, size)

    def compress(self, data: bytes, period: int) -> bytes:
        return bz2.compress(data, 9)

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        decoder = bz2.BZ2Decompressor()
        return _limited(decoder.decompress, decoder, data, size)


class Lzma:
    """LZMA2; its stream is an xz file with a CRC64, its bytes are raw.

    The raw form has separate contexts for each byte of a symbol.
    """

    levels = range(10)

    def memory(self, level: int, size: int) -> int:
        return 23 * _xz_window(level, size) // 2 + (6 << 20)

    def stream(self, level: int, size: int) -> Stream:
        """With no larger tables than the data need: those of level 9 take 16 MiB to clear.

        From level 4 on, matches are found by trees that hold all of the data; tables of a few times
        their size divide them as finely as the largest. Below, chains are cut short, and what they
        find depends on the size.
        """
        if level < 4:
            return lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC64, level)
        window = _xz_window(level, size)
        filters = [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": window}]
        return lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC64, filters=filters)

    def reach(self, level: int, size: int) -> float:
        return 1 << _XZ_BITS[level]

    def part(self, level: int, size: int, whole: int) -> Stream:
        return self.stream(level, size)

    def compress(self, data: bytes, period: int) -> bytes:
        return lzma.compress(data, lzma.FORMAT_RAW, filters=_lzma_filters(len(data), period))

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_lzma_filters(size, period))
        return _limited(decoder.decompress, decoder, data, size)


_XZ_BITS = (18, 20, 21, 22, 22, 23, 23, 24, 25, 26)
"""Bits of the window of each level, as xz has them."""


def _xz_window(level: int, size: int) -> int:
    most = 1 << _XZ_BITS[level]
    return most if level < 4 else min(1 << max(18, (8 * size).bit_length()), most)


def _lzma_filters(size: int, period: int) -> list[dict[str, Any]]:
    align = period.bit_length() - 1
    window = min(max(4096, size), _WINDOW)
    preset = 9 | lzma.PRESET_EXTREME
    contexts = {"lp": align, "lc": 3 - align, "pb": align}
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": window, **contexts}]


def _limited(take: Callable[[bytes, int], bytes], decoder: Any, data: bytes, size: int) -> bytes:
    """Decode all data, to at most ``size`` + 1 bytes."""
    pieces, room = [take(data, size + 1)], size + 1
    while pieces[-1] and not decoder.eof:
        room -= len(pieces[-1])
        if room == 0:
            break
        pieces.append(take(b"", room))
    return b"".join(pieces)


class Zstandard:
    """Zstandard (RFC 8878), one frame, one thread; its bytes have no magic number."""

    levels = range(1, 23)

    def memory(self, level: int, size: int) -> int:
        its = self._settings(level, size)
        tables = int(its.estimated_compression_context_size())
        return tables + (2 << int(its.window_log)) + (1 << 20)

    def stream(self, level: int, size: int) -> Stream:
        import zstandard

        return zstandard.ZstdCompressor(level=level).compressobj(size=size)

    def reach(self, level: int, size: int) -> float:
        return float(1 << self._settings(level, size).window_log)

    def part(self, level: int, size: int, whole: int) -> Stream:
        """Level and size choose the tables and the search together."""
        import zstandard

        settings = self._settings(level, whole)
        return zstandard.ZstdCompressor(compression_params=settings).compressobj()

    def _settings(self, level: int, size: int) -> Any:
        import zstandard

        return zstandard.ZstdCompressionParameters.from_level(level, source_size=size)

    def compress(self, data: bytes, period: int) -> bytes:
        import zstandard

        from_level = zstandard.ZstdCompressionParameters.from_level
        return zstd_frame(data, partial(from_level, self.levels[-1], source_size=len(data)))

    def decompress(self, data: bytes, size: int, period: int) -> bytes:
        return read_zstd_frame(data, size, _WINDOW)


def zstd_frame(data: Any, settings: Callable[..., Any]) -> bytes:
    """A frame without magic number, size and checksum.

    Parameters
    ----------
    data : bytes or buffer
    settings : callable
        Makes the compression parameters; is given those of the frame as keywords.

    >>> import zstandard
    >>> frame = zstd_frame(bytes(1000), zstandard.ZstdCompressionParameters)
    >>> len(frame) < 20, read_zstd_frame(frame, 1000, 1 << 10) == bytes(1000)
    (True, True)
    """
    import zstandard

    parameters = settings(
        format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False, write_checksum=False
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def read_zstd_frame(data: bytes, size: int, window: int) -> bytes:
    """Undo `zstd_frame`; returns at most ``size`` + 1 bytes: one more shows that there are more.

    Raises
    ------
    ValueError
        If the frame is damaged, or needs a larger window.
    """
    import zstandard

    decoder = zstandard.ZstdDecompressor(
        format=zstandard.FORMAT_ZSTD1_MAGICLESS, max_window_size=window
    )
    try:
        with decoder.stream_reader(data) as reader:
            return reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


class BrotliLibrary:
    """Brotli (RFC 7932), generic mode; the window is 2^22 in its stream, 2^24 in its bytes."""

    levels = range(12)

    def memory(self, level: int, size: int) -> int:
        return 96 << 20

    def stream(self, level: int, size: int) -> Stream:
        return _BrotliStream(level)

    def reach(self, level: int, size: int) -> float:
        return 1 << 22

    def part(self, level: int, size: int, whole: int) -> Stream:
        return self.stream(level, size)

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


class _BrotliStream:
    """Gives brotli's object the method names that other libraries use."""

    def __init__(self, level: int) -> None:
        import brotli

        self._compressor = brotli.Compressor(quality=level)

    def compress(self, data: Any) -> bytes:
        return bytes(self._compressor.process(data))

    def flush(self) -> bytes:
        return bytes(self._compressor.finish())


class Ppmd8:
    """PPMd, variant I with restart (Shkarin 2002), with its end mark; levels are orders."""

    levels = range(2, 65)

    def __init__(self, memory: int) -> None:
        self._memory = memory

    def memory(self, level: int, size: int) -> int:
        return self._memory + (2 << 20)

    def stream(self, level: int, size: int) -> Stream:
        try:
            import pyppmd
        except ImportError:
            raise MissingExtraError("ppmd", "pyppmd", "ppmd") from None
        return _PpmdStream(pyppmd.Ppmd8Encoder(level, self._memory))

    def reach(self, level: int, size: int) -> float:
        return math.inf

    def part(self, level: int, size: int, whole: int) -> Stream:
        return self.stream(level, size)


class _PpmdStream:
    """Gives pyppmd's object the method names that other libraries use."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def compress(self, data: Any) -> bytes:
        return bytes(self._encoder.encode(bytes(data)))

    def flush(self) -> bytes:
        return bytes(self._encoder.flush(True))
