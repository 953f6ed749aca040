"""Files of web servers by ranges (RFC 9110, section 14); of servers without ranges, whole.

A server may ignore a range and answer with the whole file. Its answer is then kept in a temporary
file, once, instead of being sent for every piece.
"""

from __future__ import annotations

import dataclasses
import html
import re
import threading
import urllib.parse
import weakref
from collections.abc import Callable
from typing import IO, Any

from kolmo.checkpoints.answers import Request
from kolmo.checkpoints.ranges import BLOCK
from kolmo.errors import InputError

WHOLE_LIMIT = 1 << 33
"""Bytes at most that are downloaded from a server without ranges."""

_PAGE_LIMIT = 1 << 24  # bytes of a page of links
_LINK = re.compile(rb"""<a\s[^<>]*?href\s*=\s*["']([^"'<>]+)["']""", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, eq=False)
class WebFile:
    """A file of a web server.

    Attributes
    ----------
    fetch : callable
        ``fetch(offset, size)`` gets a range of it.
    size : int
    version : str
        Size and ETag; without an ETag, when it was changed.
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
        first = Request(fs, url, where, 0, BLOCK, whole=WHOLE_LIMIT).send()
        if first.whole is not None:
            return cls(_kept(first.whole), first.size, f"{first.version} downloaded whole")

        def fetch(offset: int, size: int) -> bytes:
            answer = Request(fs, url, where, offset, size).send()
            if answer.version != first.version:
                raise InputError(f"{where}: it changed on the server while it was read")
            return answer.data

        return cls(fetch, first.size, first.version, first.data)


def linked(fs: Any, url: str, where: str) -> set[str]:
    """The files in the folder of a URL, whose path ends in a slash, that its page links."""
    page = Request(fs, url, where, 0, _PAGE_LIMIT, whole=_PAGE_LIMIT).send()
    if page.size > _PAGE_LIMIT:
        raise InputError(f"{where}: its page has {page.size:,} bytes; name the file that you mean")
    text = page.data if page.whole is None else _kept(page.whole)(0, page.size)
    links = (html.unescape(link.decode("utf-8", "replace")) for link in _LINK.findall(text))
    names = {_below(url.partition("?")[0], link) for link in links}
    return {name for name in names if name and "/" not in name}


def _below(folder: str, link: str) -> str:
    """The name in a folder that a link on its page leads to; empty if it leads elsewhere."""
    try:
        path = re.split("[?#]", urllib.parse.urljoin(folder, link), maxsplit=1)[0]
    except ValueError:  # no URL at all
        return ""
    return urllib.parse.unquote(path.removeprefix(folder)) if path.startswith(folder) else ""


def _kept(file: IO[bytes]) -> Callable[[int, int], bytes]:
    lock = threading.Lock()

    def fetch(offset: int, size: int) -> bytes:
        with lock:
            file.seek(offset)
            return file.read(size)

    weakref.finalize(fetch, file.close)
    return fetch
