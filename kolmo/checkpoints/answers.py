"""What web servers are asked, and their answers: tried, timed, and taken at no word.

A server may stall, send without end, pack a little that unpacks to much, or send what it was not
asked for. Each answer must begin in time and keep coming, and is held against what was asked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any

from kolmo.errors import InputError
from kolmo.temporary import nameless_file

_EXPANSION, _EXPANDED = 64, 1 << 28  # times its bytes, or bytes, that a packed answer unpacks to
_SLOWEST = 1 << 10  # bytes a second that an answer keeps up
_TRIES = 3
_PAUSE = 0.25  # seconds before the second try; twice as many before the third
_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})")
_PASSING = (408, 429, 500, 502, 503, 504)
_FINAL = ("InvalidURL", "RedirectClientError", "TooManyRedirects", "ClientSSLError")


def patience() -> float:
    """Seconds that a server has until its answer begins, and for each piece of it.

    60, or what the environment's ``KOLMO_TIMEOUT`` says.
    """
    given = os.environ.get("KOLMO_TIMEOUT") or "60"
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise InputError(f"KOLMO_TIMEOUT is seconds, over 0 and up to a day, not {given!r}")
    return seconds


@dataclasses.dataclass(frozen=True)
class Answer:
    """Bytes of a file, or the whole of it; ``size`` and ``version`` are of the file."""

    size: int
    version: str
    data: bytes = b""
    whole: IO[bytes] | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """A range of a file; the answer may be the whole file if that has ``whole`` bytes at most."""

    fs: Any
    url: str
    where: str
    offset: int
    size: int
    whole: int = 0

    def send(self) -> Answer:
        """The answer, in the loop of the file system."""
        sync = importlib.import_module("fsspec.asyn").sync
        answer: Answer = sync(self.fs.loop, self._tried)
        return answer

    async def _tried(self) -> Answer:
        """The answer of a server that may be busy, or break off, for a moment."""
        aiohttp = importlib.import_module("aiohttp")
        final = tuple(getattr(aiohttp, name) for name in _FINAL if hasattr(aiohttp, name))
        for attempt in range(_TRIES):
            try:
                return await self._sent(aiohttp)
            except (aiohttp.ClientError, TimeoutError) as error:
                status = getattr(error, "status", None)
                is_final = isinstance(error, final) or (status and status not in _PASSING)
                if attempt == _TRIES - 1 or is_final:
                    raise
            await asyncio.sleep(_PAUSE * 2**attempt)
        raise AssertionError("the last try returns or raises")

    async def _sent(self, aiohttp: Any) -> Answer:
        async with self._answered(aiohttp) as response:
            if response.status == 416:
                return self._empty(response)
            response.raise_for_status()
            if response.status == 206:
                return await self._part(response)
            if response.status not in (200, 203):
                raise InputError(
                    f"{self.where}: the server answers with HTTP status {response.status}, not "
                    f"with the file; is the URL right?"
                )
            return await self._everything(response)

    @asynccontextmanager
    async def _answered(self, aiohttp: Any) -> AsyncIterator[Any]:
        """The response, as soon as its head is there."""
        session, seconds = await self.fs.set_session(), patience()
        options = dict(self.fs.kwargs)
        headers = {
            **options.pop("headers", {}),
            "Range": f"bytes={self.offset}-{self.offset + self.size - 1}",
            "Accept-Encoding": "identity",
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        options = {"timeout": timeout, **options, "headers": headers}
        async with asyncio.timeout(seconds):  # a head may come byte by byte
            response = await session.get(self.fs.encode_url(self.url), **options)
        async with response:
            yield response

    def _empty(self, response: Any) -> Answer:
        """The answer that a range of an empty file has."""
        if self.offset or _RANGE.fullmatch(response.headers.get("Content-Range", "")) is None:
            response.raise_for_status()
        return Answer(0, "size=0")

    async def _part(self, response: Any) -> Answer:
        told = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if told is None or told[1] is None:
            raise InputError(f"{self.where}: the server does not say how long it is; download it")
        begin, end, size = int(told[1]), int(told[2]) + 1, int(told[3])
        if begin != self.offset or not begin < end <= min(begin + self.size, size):
            raise InputError(f"{self.where}: the server sent another range than was asked for")
        if _is_packed(response):
            raise InputError(f"{self.where}: the server packs its ranges; download it")
        data = bytearray()
        async for piece in self._pieces(response):
            data += piece
            if len(data) > end - begin:
                break
        if len(data) != end - begin:
            raise InputError(
                f"{self.where}: the server sent other bytes than the {end - begin:,} it tells of"
            )
        return Answer(size, _version(size, response), bytes(data))

    async def _everything(self, response: Any) -> Answer:
        """The whole file, of a server that ignores ranges."""
        length = response.content_length  # of what is sent
        if not self.whole:
            raise InputError(f"{self.where}: the server answers ranges now and then only")
        if length is not None and length > self.whole:
            raise self._too_long(length)
        file = nameless_file()
        try:
            size = await self._copied(response, file)
            if length is not None and size != length and not _is_packed(response):
                raise InputError(f"{self.where}: the server broke off after {size:,} bytes")
        except BaseException:
            file.close()
            raise
        return Answer(size, _version(size, response), whole=file)

    async def _copied(self, response: Any, file: IO[bytes]) -> int:
        size, most = 0, self.whole
        if _is_packed(response):
            most = min(most, max(_EXPANSION * (response.content_length or 0), _EXPANDED))
        async for piece in self._pieces(response):
            size += len(piece)
            if size > most:
                raise self._too_long(size)
            file.write(piece)
        return size

    async def _pieces(self, response: Any) -> AsyncIterator[bytes]:
        """The body of an answer that does not come too slowly."""
        begun, taken, seconds = time.monotonic(), 0, patience()
        async for piece in response.content.iter_chunked(1 << 20):
            taken += len(piece)
            if time.monotonic() - begun > seconds + taken / _SLOWEST:
                raise TimeoutError
            yield piece

    def _too_long(self, size: int) -> InputError:
        return InputError(
            f"{self.where}: its server sends whole files only (it ignores ranges), and this one "
            f"has {size:,} bytes or more; download it:  curl -LO {self.where}"
        )


def _is_packed(response: Any) -> bool:
    return bool(response.headers.get("Content-Encoding", "identity") != "identity")


def _version(size: int, response: Any) -> str:
    """The size of a file and, of what the server says, what tells this version from another."""
    for key in ("ETag", "Last-Modified"):
        if told := response.headers.get(key):
            return f"size={size} {key}={told}"
    return f"size={size}"
