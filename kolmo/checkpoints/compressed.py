"""Compressed files, unpacked to a temporary file without a name, within a limit."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import weakref
import zlib
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from zstandard import ZstdDecompressor, ZstdError

from kolmo.checkpoints.files import fill
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError, MissingExtraError
from kolmo.temporary import nameless_file

EXPANSION = 64
"""Times its size that a compressed file may hold, or `LEAST` where that is more."""

LEAST = 1 << 28
"""Bytes that a compressed file may always hold."""

_STARTS = {
    "gzip": b"\x1f\x8b\x08",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "lzma": b"\x5d\x00\x00",
    "lz4": b"\x04\x22\x4d\x18",
    "zstandard": b"\x28\xb5\x2f\xfd",
}
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, ZstdError, RuntimeError)
_CHUNK = 1 << 20
_WINDOW = 1 << 27  # bytes that a zstandard file may ask to look back
_FEED = 1 << 10  # packed bytes of zstandard at a time, of which 4 may become 131,072


def compression_of(head: bytes) -> str | None:
    """What a file is compressed by, by how it begins; None if it is not."""
    for form, start in _STARTS.items():
        if head.startswith(start):
            return form
    is_zlib = head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0
    return "zlib" if is_zlib else None


def unpacked(stored: Stored, form: str) -> Stored:
    """What a compressed file holds, in a temporary file that goes when it is no longer used.

    Raises
    ------
    InputError
        If it is damaged, or holds more than `EXPANSION` times its size.
    MissingExtraError
        If it is compressed by lz4, and the package for it is not installed.
    """
    if form == "lz4" and find_spec("lz4") is None:
        raise MissingExtraError(f"opening {stored.where}, which lz4 compressed,", "lz4", "lz4")
    try:
        with stored.open() as file, _opened(file, form) as packed:
            return spooled(packed, stored.where, stored.size)
    except _UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{stored.where}: a {form} file that is damaged or truncated; download or copy it again"
        ) from None


def spooled(file: Any, where: str, packed: int) -> Stored:
    """All that a file gives, in a temporary file; InputError if it is far more than ``packed``."""
    size = 0
    with nameless_file() as spool:
        while data := file.read(_CHUNK):
            size += len(data)
            check_expansion(where, packed, size)
            spool.write(data)
        spool.flush()
        return kept_file(spool, size, where)


def check_expansion(where: str, packed: int, size: int) -> None:
    """InputError if ``size`` bytes are far more than the ``packed`` ones that hold them."""
    if size > (limit := max(LEAST, EXPANSION * packed)):
        raise InputError(
            f"{where}: it holds more than {limit:,} bytes, over {EXPANSION} times its size; "
            f"unpack it yourself if you trust it"
        )


def kept_file(file: Any, size: int, where: str) -> Stored:
    """The bytes of an open file, which may then be closed: it goes when nothing reads from it."""
    return Stored(_Kept(os.dup(file.fileno())), 0, size, where)


class _Kept:
    """A file without a name, open as long as something reads from it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def __call__(self, offset: int, size: int) -> bytes:
        """These bytes, from any thread."""
        data = memoryview(bytearray(size))
        return bytes(data[: self.into(offset, data)])

    def into(self, offset: int, out: memoryview) -> int:
        """Fill ``out`` with the bytes from ``offset``; how many there were."""
        return fill(self._descriptor, offset, out)


def _opened(file: Any, form: str) -> Any:
    if form == "gzip":
        return gzip.GzipFile(fileobj=file)
    if form == "bzip2":
        return bz2.BZ2File(file)
    if form == "zstandard":
        return _Zstandard(file)
    if form == "lz4":
        return import_module("lz4.frame").LZ4FrameFile(file)
    return lzma.LZMAFile(file) if form in ("xz", "lzma") else _Zlib(file)


class _Zlib:
    """A zlib stream, read in pieces of bounded size."""

    def __init__(self, file: Any) -> None:
        self._file, self._state = file, zlib.decompressobj()

    def __enter__(self) -> _Zlib:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        while not self._state.eof:
            packed = self._state.unconsumed_tail or self._file.read(_CHUNK)
            data = self._state.decompress(packed, size)
            if data:
                return data
            if not packed:
                raise EOFError("it ends early")
        return b""


class _Zstandard:
    """Frames of zstandard in a row; the library's own reader would take a cut one as whole."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, b""
        self._state = self._begin()

    def __enter__(self) -> _Zstandard:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, _: int) -> bytes:
        """Some bytes; none at the end."""
        while packed := self._left or self._file.read(_FEED):
            if self._state.eof:
                self._state = self._begin()
            data: bytes = self._state.decompress(packed)
            self._left = self._state.unused_data
            if data:
                return data
        if not self._state.eof:
            raise EOFError("it ends early")
        return b""

    def _begin(self) -> Any:
        return ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
