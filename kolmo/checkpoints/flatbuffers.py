"""Flatbuffers, read from the bytes: tables, vectors and strings, without any schema.

A table points back to a list of the offsets of its fields; vectors have their length before them
(https://flatbuffers.dev/internals). Only the pages that are touched are read; a length that a file
claims is checked against its size, and tables are counted (`kolmo.checkpoints.allowance`).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import ENTRY, allowance_for
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

_PAGE = 1 << 12
_KEPT = 256  # pages that stay in memory


class _Pages:
    """Pages of a file, the latest of them kept; ``charge`` counts tables."""

    def __init__(self, stored: Stored) -> None:
        self.stored, self.charge = stored, allowance_for(stored.where, stored.size).charge
        self._pages: OrderedDict[int, bytes] = OrderedDict()

    def damaged(self) -> InputError:
        return InputError(f"{self.stored.where}: its flatbuffer is malformed; the file is damaged")

    def read(self, at: int, size: int) -> bytes:
        """These bytes, of which there are few; InputError if they are not there."""
        if at < 0 or size < 0 or at + size > self.stored.size:
            raise self.damaged()
        first, last = at // _PAGE, max(at, at + size - 1) // _PAGE
        if first == last:
            return self._page(first)[at - first * _PAGE :][:size]
        return bytes(self.stored.read(at, size))

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is None:
            begin = number * _PAGE
            page = bytes(self.stored.read(begin, min(_PAGE, self.stored.size - begin)))
            self._pages[number] = page
            if len(self._pages) > _KEPT:
                self._pages.popitem(last=False)
        return page

    def integer(self, at: int, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.read(at, size), "little", signed=signed)


@dataclasses.dataclass(frozen=True)
class FlatTable:
    """A table in a file; its fields are read when asked, by their numbers in the schema."""

    _pages: _Pages
    _at: int
    _fields: int
    _size: int

    @classmethod
    def root(cls, stored: Stored) -> FlatTable:
        """The outermost table of a file."""
        pages = _Pages(stored)
        return cls._of(pages, pages.integer(0, 4))

    @classmethod
    def _of(cls, pages: _Pages, at: int) -> FlatTable:
        pages.charge(ENTRY)
        fields = at - pages.integer(at, 4, signed=True)
        return cls(pages, at, fields, pages.integer(fields, 2))

    @property
    def where(self) -> str:
        """The file, for people."""
        return self._pages.stored.where

    def _place(self, field: int) -> int:
        """Where a field lies; 0 if the table does not have it."""
        entry = 4 + 2 * field
        offset = self._pages.integer(self._fields + entry, 2) if entry < self._size else 0
        return self._at + offset if offset else 0

    def integer(self, field: int, size: int = 4, default: int = 0, *, signed: bool = True) -> int:
        """An integer of ``size`` bytes."""
        place = self._place(field)
        return self._pages.integer(place, size, signed=signed) if place else default

    def table(self, field: int) -> FlatTable | None:
        """A table, or the value of a union; None if there is none."""
        place = self._place(field)
        return self._of(self._pages, place + self._pages.integer(place, 4)) if place else None

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        """The place of the first element and the number of elements, which the file can hold."""
        place = self._place(field)
        if not place:
            return 0, 0
        start = place + self._pages.integer(place, 4)
        count = self._pages.integer(start, 4)
        if start + 4 + count * width > self._pages.stored.size:
            raise self._pages.damaged()
        return start + 4, count

    def tables(self, field: int) -> list[FlatTable]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [self._of(self._pages, at + self._pages.integer(at, 4)) for at in places]

    def numbers(self, field: int, dtype: Any) -> NDArray[Any]:
        """A vector of numbers, read whole; there may be as many as the file has bytes."""
        data = self.bytes(field, np.dtype(dtype).itemsize)
        return np.frombuffer(data.read(0, data.size), np.dtype(dtype).newbyteorder("<"))

    def bytes(self, field: int, width: int = 1) -> Stored:
        """The bytes of a vector, unread."""
        start, count = self._vector(field, width)
        return self._pages.stored.part(start, count * width)

    def text(self, field: int, limit: int = 1 << 16) -> str:
        """A string; InputError if it is longer than ``limit`` bytes."""
        start, count = self._vector(field, 1)
        if count > limit:
            raise InputError(f"{self.where}: a name of {count:,} bytes in it")
        return self._pages.read(start, count).decode("utf-8", "replace")
