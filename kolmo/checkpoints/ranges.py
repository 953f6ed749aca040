"""Ranges of a far file: each request costs a round trip, so that small reads are cut from blocks.

A header that is read field by field costs one request, and a tensor its own bytes.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

BLOCK = 1 << 16
"""Bytes that a small read at the beginning or the end fetches, where headers are."""

PAGE = 1 << 12
"""Bytes that a small read anywhere else fetches."""

_WIDEST = 1 << 22  # bytes that one block grows to where a file is read from front to back
_KEPT = 1 << 25  # bytes of blocks that are kept
_AT_ONCE = 16  # requests
_GAP = 512  # bytes between two ranges that are fetched as one


class Ranges:
    """The reads of a file, of which ``fetch(offset, size)`` gets ranges; safe in threads.

    Attributes
    ----------
    size : int
        Bytes of the file.

    Examples
    --------
    >>> asked = []
    >>> def fetch(offset, size):
    ...     asked.append((offset, size))
    ...     return bytes(size)
    >>> read = Ranges(fetch, 1 << 30)
    >>> [len(read(offset, 8)) for offset in (0, 8, 16)], asked
    ([8, 8, 8], [(0, 65536)])
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, head: bytes = b"") -> None:
        self._fetch, self.size = fetch, size
        self._blocks: list[tuple[int, bytes]] = [(0, head)] if head else []
        self._expected: tuple[list[int], list[bytes]] = ([], [])
        self._lock = threading.Lock()

    def expect(self, places: list[tuple[int, int]]) -> None:
        """Get small ranges (offset, size) that are read soon: neighbours at once, many together."""
        wanted = _merged([place for place in places if self._kept(*place) is None])
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            pieces = list(pool.map(lambda place: self._fetch(*place), wanted))
        begins = [begin for begin, _ in wanted]
        with self._lock:
            self._expected = (begins, pieces)

    def __call__(self, offset: int, size: int) -> bytes:
        """These bytes, of a block if they are few."""
        found = self._kept(offset, size)
        if found is not None:
            return found
        begin, width = self._place(offset)
        if size > begin + width - offset:
            return self._fetch(offset, size)
        data = self._fetch(begin, width)
        self._keep(begin, data)
        return data[offset - begin : offset - begin + size]

    def _kept(self, offset: int, size: int) -> bytes | None:
        with self._lock:
            begins, pieces = self._expected
            at = bisect.bisect_right(begins, offset) - 1
            expected = [(begins[at], pieces[at])] if at >= 0 else []
            for begin, block in (*expected, *reversed(self._blocks)):
                if begin <= offset and offset + size <= begin + len(block):
                    return block[offset - begin : offset - begin + size]
        return None

    def _place(self, offset: int) -> tuple[int, int]:
        """Where a block begins and how wide it is: wider after one that it continues."""
        with self._lock:
            begin, last = self._blocks[-1] if self._blocks else (0, b"")
        if last and begin < offset <= begin + len(last):
            return offset, min(2 * len(last), _WIDEST, self.size - offset)
        if offset >= self.size - BLOCK:  # the end of a file is read backwards
            begin = max(0, self.size - BLOCK)
            return begin, self.size - begin
        return offset, min(BLOCK if offset < BLOCK else PAGE, self.size - offset)

    def _keep(self, begin: int, data: bytes) -> None:
        with self._lock:
            self._blocks.append((begin, data))
            while sum(len(block) for _, block in self._blocks) > _KEPT:
                del self._blocks[0]


def _merged(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges (offset, size) in order, neighbours as one."""
    merged: list[tuple[int, int]] = []
    for offset, size in sorted(places):
        begin, width = merged[-1] if merged else (0, -_GAP - 1)
        if offset - begin - width > _GAP:
            merged.append((offset, size))
        else:
            merged[-1] = (begin, max(width, offset + size - begin))
    return merged
