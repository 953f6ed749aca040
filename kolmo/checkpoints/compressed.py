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

from kolmo.checkpoints.allowance import allowance_for
from kolmo.checkpoints.files import fill
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError, MissingExtraError
from kolmo.temporary import nameless_file

_STARTS = {
    "gzip": b"\x1f\x8b\x08",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "lzma": b"\x5d\x00\x00",
    "lz4": b"\x04\x22\x4d\x18",
    "zstandard": b"\x28\xb5\x2f\xfd",
}
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, ZstdError, RuntimeError,
               MemoryError)  # fmt: skip
_CHUNK = 1 << 20
_WINDOW = 1 << 27  # bytes that a zstandard file may ask to look back
_MEMORY = 1 << 28  # bytes that xz and LZMA may take, for the same: four times what xz -9 asks for
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
        If it is damaged, or holds far more than its size.
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
    """All that a file gives, in a temporary file; InputError if that is far more than a checkpoint
    of the size that it has may unpack to; where none is being opened, one of ``packed`` bytes."""
    size, allowance = 0, allowance_for(where, packed)
    with nameless_file() as spool:
        while data := file.read(_CHUNK):
            size += len(data)
            allowance.unpack(len(data), where)
            spool.write(data)
        spool.flush()
        return kept_file(spool, size, where)


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
    return _Lzma(file) if form in ("xz", "lzma") else _Zlib(file)


class _Lzma:
    """Streams of xz or LZMA in a row, which may not ask for any amount of memory."""

    def __init__(self, file: Any) -> None:
        self._file, self._state, self._rest = file, self._begin(), b""

    def __enter__(self) -> _Lzma:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        while True:
            if self._state.eof and not self._next():
                return b""
            packed = self._rest or (self._file.read(_CHUNK) if self._state.needs_input else b"")
            if self._state.needs_input and not packed:
                raise EOFError("it ends early")
            self._rest = b""
            if data := self._state.decompress(packed, size):
                return data

    def _next(self) -> bool:
        """Begin the stream behind one that ended, if there is one: zeros may lie between."""
        rest = self._state.unused_data.lstrip(b"\0")
        while not rest and (more := self._file.read(_CHUNK)):
            rest = more.lstrip(b"\0")
        self._state, self._rest = self._begin(), rest
        return bool(rest)

    def _begin(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=_MEMORY)


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
