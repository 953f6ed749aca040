"""Files of web servers by ranges (RFC 9110, section 14); of servers without ranges, whole.

A server may ignore a range and answer with the whole file. Its answer is then kept in a temporary
file, once, instead of being sent for every piece.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import re
import threading
import weakref
from collections.abc import Callable
from typing import IO, Any

from kolmo.checkpoints.ranges import BLOCK
from kolmo.errors import InputError
from kolmo.temporary import nameless_file

WHOLE_LIMIT = 1 << 33
"""Bytes at most that are downloaded from a server without ranges."""

_TRIES = 3
_PAUSE = 0.25  # seconds before the second try; twice as many before the third
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")
_PASSING = (408, 429, 500, 502, 503, 504)


@dataclasses.dataclass(frozen=True, eq=False)
class WebFile:
    """A file of a web server.

    Attributes
    ----------
    fetch : callable
        ``fetch(offset, size)`` gets a range of it.
    size : int
    version : str
        Size and ETag.
    head : bytes
        What came with the first answer.
    """

    fetch: Callable[[int, int], bytes]
    size: int
    version: str
    head: bytes = b""

    @classmethod
    def open(cls, fs: Any, url: str, where: str) -> WebFile:
        """The file of a URL, with its first block; ``fs`` is fsspec's file system of the web."""
        first = _Request(fs, url, where, 0, BLOCK, whole=True).send()
        if first.whole is not None:
            return cls(_kept(first.whole), first.size, f"{first.version} downloaded whole")

        def fetch(offset: int, size: int) -> bytes:
            answer = _Request(fs, url, where, offset, size).send()
            if answer.version != first.version:
                raise InputError(f"{where}: it changed on the server while it was read")
            return answer.data

        return cls(fetch, first.size, first.version, first.data)


@dataclasses.dataclass(frozen=True)
class _Answer:
    size: int
    version: str
    data: bytes = b""
    whole: IO[bytes] | None = None


@dataclasses.dataclass(frozen=True)
class _Request:
    """A range of a file; ``whole`` allows the answer to be the whole file."""

    fs: Any
    url: str
    where: str
    offset: int
    size: int
    whole: bool = False

    def send(self) -> _Answer:
        """The answer, in the loop of the file system."""
        sync = importlib.import_module("fsspec.asyn").sync
        answer: _Answer = sync(self.fs.loop, self._tried)
        return answer

    async def _tried(self) -> _Answer:
        """The answer of a server that may be busy, or break off, for a moment."""
        aiohttp = importlib.import_module("aiohttp")
        for attempt in range(_TRIES):
            try:
                return await self._sent(aiohttp)
            except aiohttp.ClientError as error:
                status = getattr(error, "status", None)
                if attempt == _TRIES - 1 or (status and status not in _PASSING):
                    raise
            await asyncio.sleep(_PAUSE * 2**attempt)
        raise AssertionError("the last try returns or raises")

    async def _sent(self, aiohttp: Any) -> _Answer:
        session = await self.fs.set_session()
        options = dict(self.fs.kwargs)
        headers = {
            **options.pop("headers", {}),
            "Range": f"bytes={self.offset}-{self.offset + self.size - 1}",
            "Accept-Encoding": "identity",
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        options = {"timeout": timeout, **options, "headers": headers}
        async with session.get(self.fs.encode_url(self.url), **options) as response:
            if response.status == 416:
                return self._empty(response)
            response.raise_for_status()
            if response.status == 206:
                return await self._part(response)
            return await self._everything(response)

    def _empty(self, response: Any) -> _Answer:
        """The answer that a range of an empty file has."""
        if self.offset or _RANGE.fullmatch(response.headers.get("Content-Range", "")) is None:
            response.raise_for_status()
        return _Answer(0, "size=0")

    async def _part(self, response: Any) -> _Answer:
        told = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if told is None or told[1] is None:
            raise InputError(f"{self.where}: the server does not say how long it is; download it")
        begin, end, size = int(told[1]), int(told[2]) + 1, int(told[3])
        if begin != self.offset or not begin < end <= begin + self.size:
            raise InputError(f"{self.where}: the server sent another range than was asked for")
        data = await _read(response, end - begin)
        return _Answer(size, _version(size, response), data)

    async def _everything(self, response: Any) -> _Answer:
        """The whole file, of a server that ignores ranges."""
        is_packed = response.headers.get("Content-Encoding", "identity") != "identity"
        length = None if is_packed else response.content_length  # that of what is sent
        if not self.whole:
            raise InputError(f"{self.where}: the server answers ranges now and then only")
        if length is not None and length > WHOLE_LIMIT:
            raise self._too_long(length)
        file = nameless_file()
        try:
            size = await self._copied(response, file)
            if length is not None and size != length:
                raise InputError(f"{self.where}: the server broke off after {size:,} bytes")
        except BaseException:
            file.close()
            raise
        return _Answer(size, _version(size, response), whole=file)

    async def _copied(self, response: Any, file: IO[bytes]) -> int:
        size = 0
        async for piece in response.content.iter_chunked(1 << 20):
            size += len(piece)
            if size > WHOLE_LIMIT:
                raise self._too_long(size)
            file.write(piece)
        return size

    def _too_long(self, size: int) -> InputError:
        return InputError(
            f"{self.where}: its server sends whole files only (it ignores ranges), and this one "
            f"has {size:,} bytes or more; download it:  curl -LO {self.where}"
        )


async def _read(response: Any, size: int) -> bytes:
    """The body, if it is no longer than it should be."""
    data = bytearray()
    async for piece in response.content.iter_chunked(1 << 20):
        data += piece
        if len(data) > size:
            break
    return bytes(data)


def _version(size: int, response: Any) -> str:
    etag = response.headers.get("ETag", "")
    return f"size={size}" + (f" ETag={etag}" if etag else "")


def _kept(file: IO[bytes]) -> Callable[[int, int], bytes]:
    lock = threading.Lock()

    def fetch(offset: int, size: int) -> bytes:
        with lock:
            file.seek(offset)
            return file.read(size)

    weakref.finalize(fetch, file.close)
    return fetch
