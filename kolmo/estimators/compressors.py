"""General compressors: the length of what they write is a bound, since they decompress.

A code length here is 8 × the length of the very bytes that the library returns for the layout,
container framing included. With ``sample=N`` a larger object is measured on windows only: 8 or
more, of 65,536 symbols at most, evenly spaced over it, N symbols in all, each compressed alone.
The mean over windows, extrapolated, is then an *estimate* of compression in windows, with its
standard error. That error is of the choice of windows only: what a compressor gains from repeats
that lie farther apart, or loses by a slow start, it does not hold.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kolmo.codes import libraries
from kolmo.codes.libraries import Streaming
from kolmo.errors import InputError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.intervals import FEWEST
from kolmo.layout import SEGMENT, check_layout, laid_out_size, start_layout
from kolmo.symbols import Alphabet, Shape, Symbols

WINDOW = 1 << 16
"""Symbols in a window of a sample, at most."""

LEAST_WINDOW = 1 << 12
"""And at least: in fewer symbols a compressor has hardly started."""

PIECE = 1 << 20
"""Bytes that a library is given at a time."""


@dataclasses.dataclass(frozen=True)
class Compressor(Estimator):
    """Base of the byte compressors. Levels are those of the libraries."""

    level: int = 9
    sample: int | None = None
    layout: str = "bytes"
    value_field = "level"
    kind = "bound"
    library: ClassVar[Streaming]

    def __post_init__(self) -> None:
        check_layout(self.layout)
        levels = self.library.levels
        if self.level not in levels:
            least, most = levels[0], levels[-1]
            raise InputError(f"{self.name}: the level is {least} to {most}, not {self.level}")
        if self.sample is not None and self.sample < FEWEST * LEAST_WINDOW:
            raise InputError(
                f"{self.name}: a sample has at least {FEWEST} windows of {LEAST_WINDOW}, "
                f"{FEWEST * LEAST_WINDOW} symbols; not {self.sample}"
            )

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        numel = sum(math.prod(shape) for shape in shapes)
        if self.sample is not None:
            numel = min(numel, self.sample)  # its windows are compressed one by one
        size = laid_out_size(numel, alphabet, self.layout)
        segment = min(numel, SEGMENT) * (4 * alphabet.container.itemsize + 8)
        return self.library.memory(self.level, size) + segment + 4 * PIECE + (16 << 20)

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        numel = sum(math.prod(shape) for shape in shapes)
        if self.sample is not None and numel > self.sample:
            return _Sampled(self, numel, alphabet)
        return _Whole(self, numel, alphabet)


class _Whole:
    """Feeds the library pieces of one size, since some of them cut blocks where their input
    happens to end, and counts what comes out."""

    def __init__(self, compressor: Compressor, numel: int, alphabet: Alphabet) -> None:
        size = laid_out_size(numel, alphabet, compressor.layout)
        self._stream = compressor.library.stream(compressor.level, size)
        self._layout = start_layout(compressor.layout, alphabet)
        self._numel, self._raw_bits = numel, numel * alphabet.bits
        self._waiting = bytearray()
        self._written = 0

    def update(self, symbols: Symbols) -> None:
        for piece in self._layout.update(symbols):
            self._take(piece.data)

    def finish(self) -> CodeLength:
        if self._numel == 0:  # nothing to describe: the shape says so already
            return CodeLength(0, 0, 0, "bound")
        for piece in self._layout.finish():
            self._take(piece.data)
        self._written += len(self._stream.compress(bytes(self._waiting)))
        self._written += len(self._stream.flush())
        return CodeLength(8 * self._written, self._numel, self._raw_bits, "bound")

    def _take(self, data: memoryview) -> None:
        position = 0
        while len(self._waiting) + len(data) - position >= PIECE:
            end = position + PIECE - len(self._waiting)
            piece = (
                bytes(self._waiting) + data[position:end] if self._waiting else data[position:end]
            )
            self._written += len(self._stream.compress(piece))
            self._waiting.clear()
            position = end
        self._waiting += data[position:]


class _Sampled:
    """Compresses evenly spaced windows, each alone, and extrapolates their mean."""

    def __init__(self, compressor: Compressor, numel: int, alphabet: Alphabet) -> None:
        assert compressor.sample is not None
        self._compressor, self._numel, self._alphabet = compressor, numel, alphabet
        self._size = min(WINDOW, compressor.sample // FEWEST)
        count = compressor.sample // self._size
        self._starts = np.linspace(0, numel - self._size, count).astype(np.int64)
        self._bits: list[int] = []
        self._window: list[Symbols] = []
        self._offset = 0

    def update(self, symbols: Symbols) -> None:
        end = self._offset + symbols.size
        while len(self._bits) < self._starts.size:
            start = int(self._starts[len(self._bits)])
            if start >= end:
                break
            first = max(start, self._offset) - self._offset
            piece = symbols[first : start + self._size - self._offset]
            self._window.append(piece.copy())
            if start + self._size > end:
                break
            self._close_window()
        self._offset = end

    def finish(self) -> CodeLength:
        bits = np.array(self._bits, dtype=np.float64)
        scale = self._numel / self._size
        share = bits.size * self._size / self._numel
        # Standard error of a total from a sample without replacement.
        error = scale * bits.std(ddof=1) / math.sqrt(bits.size) * math.sqrt(max(0.0, 1 - share))
        return CodeLength(
            float(bits.mean()) * scale,
            self._numel,
            self._numel * self._alphabet.bits,
            "estimate",
            details={"windows": int(bits.size), "window": self._size},
            sampled=share,
            standard_error=float(error),
            degrees=bits.size - 1,
        )

    def _close_window(self) -> None:
        window = np.concatenate(self._window)
        whole = _Whole(self._compressor, window.size, self._alphabet)
        whole.update(window)
        self._bits.append(int(whole.finish().bits))
        self._window = []


@register
@dataclasses.dataclass(frozen=True)
class Gzip(Compressor):
    """gzip (RFC 1952): DEFLATE with its 10-byte header and 8-byte trailer; bound.

    >>> code = Gzip().start((1000,), 2); code.update(np.zeros(1000, np.uint8)); code.finish().bits
    232
    """

    name = "gzip"
    library = libraries.Zlib()
    software = ("zlib",)
    summary = "DEFLATE; levels 0 to 9"


@register
@dataclasses.dataclass(frozen=True)
class Bzip2(Compressor):
    """bzip2: Burrows–Wheeler transform and Huffman codes; bound."""

    name = "bz2"
    library = libraries.Bzip2Library()
    software = ("libbzip2",)
    summary = "Burrows–Wheeler transform; levels 1 to 9"


@register
@dataclasses.dataclass(frozen=True)
class Xz(Compressor):
    """xz: LZMA2 with a CRC64 integrity check; bound."""

    name = "xz"
    library = libraries.Lzma()
    software = ("liblzma",)
    summary = "LZMA2; levels 0 to 9"


@register
@dataclasses.dataclass(frozen=True)
class Zstd(Compressor):
    """Zstandard (RFC 8878), one frame, one thread; bound."""

    level: int = 19
    name = "zstd"
    library = libraries.Zstandard()
    software = ("libzstd",)
    summary = "Zstandard; levels 1 to 22"


@register
@dataclasses.dataclass(frozen=True)
class Brotli(Compressor):
    """Brotli (RFC 7932), generic mode, window 2^22; bound."""

    level: int = 11
    name = "brotli"
    library = libraries.BrotliLibrary()
    software = ("brotli",)
    summary = "Brotli; levels 0 to 11"
