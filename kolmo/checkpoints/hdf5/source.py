"""The bytes of an HDF5 file by address, and a cursor over some of them."""

from __future__ import annotations

import functools

from kolmo.checkpoints.allowance import allowance_for
from kolmo.checkpoints.magic import hdf5_start
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

_PAGE = 1 << 12
_PAGES = 1 << 10  # that are kept
_READ = 3  # items that a read counts for


class Hdf5Cursor:
    """Little-endian numbers and bytes, one after the other; InputError past the end."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.at, self.where = data, 0, where

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size < 0 or self.at + size > len(self.data):
            raise damaged(self.where)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        """The next unsigned number, of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def expect(self, mark: bytes) -> None:
        """A signature; InputError if it is another."""
        if self.take(len(mark)) != mark:
            raise damaged(self.where)

    def align(self, step: int = 8) -> None:
        """Go on to a multiple of so many bytes."""
        self.at = min(len(self.data), -(-self.at // step) * step)

    def text(self) -> str:
        """Text that a zero byte ends."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise damaged(self.where)
        found = self.take(end - self.at)
        self.at += 1
        return found.decode("utf-8", "replace")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self.data) - self.at)


class Hdf5Source:
    """A file's bytes by address; ``offset`` and ``length`` are the sizes of its numbers."""

    def __init__(self, stored: Stored) -> None:
        self.stored, self.where = stored, stored.where
        self._page = functools.lru_cache(_PAGES)(self._fetch)
        self._charge = allowance_for(stored.where, stored.size).charge
        self.start = self._find_start()
        cursor = Hdf5Cursor(self._read(self.start, min(128, stored.size - self.start)), self.where)
        cursor.take(8)
        self.version = cursor.number(1)
        if self.version > 3:
            raise InputError(
                f"{self.where}: HDF5 with a superblock of version {self.version}, which is not read"
            )
        self.root = self._superblock(cursor)

    def read(self, address: int, size: int) -> bytes:
        """These bytes of a description; InputError if descriptions are read again and again."""
        self._charge(_READ, max(0, size))
        return self._read(self.base + address, size)

    def cursor(self, address: int, size: int) -> Hdf5Cursor:
        """A cursor over these bytes."""
        return Hdf5Cursor(self.read(address, size), self.where)

    def window(self, address: int, size: int) -> Hdf5Cursor:
        """A cursor over at most so many bytes, fewer where the file ends."""
        there = self.stored.size - self.base - address
        return self.cursor(address, max(0, min(size, there)))

    def is_set(self, address: int) -> bool:
        """Whether an address is one: all bits set means none."""
        return address != (1 << 8 * self.offset) - 1

    def values(self, address: int, size: int) -> Stored:
        """The bytes of a dataset, unread."""
        return self.stored.part(self.base + address, size)

    def _find_start(self) -> int:
        start = hdf5_start(self.stored)
        if start is None:
            raise damaged(self.where)
        return start

    def _superblock(self, cursor: Hdf5Cursor) -> int:
        """The address of the root group's description; sets the sizes of numbers."""
        if self.version < 2:
            cursor.take(4)
        self.offset, self.length = cursor.number(1), cursor.number(1)
        if {self.offset, self.length} - {2, 4, 8}:
            raise damaged(self.where)
        cursor.take({0: 9, 1: 13}.get(self.version, 1))
        cursor.take(self.offset)  # what the file says of its own start, which is known
        self.base = self.start
        cursor.take(self.offset * (4 if self.version < 2 else 2))
        return cursor.number(self.offset)

    def _read(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.stored.size:
            raise damaged(self.where)
        first, last = offset // _PAGE, max(offset, offset + size - 1) // _PAGE
        data = b"".join(self._page(page) for page in range(first, last + 1))
        return data[offset - first * _PAGE :][:size]

    def _fetch(self, page: int) -> bytes:
        begin = page * _PAGE
        return bytes(self.stored.read(begin, min(_PAGE, self.stored.size - begin)))


def damaged(where: str) -> InputError:
    """The error of a file that contradicts itself."""
    return InputError(f"{where}: a damaged or truncated HDF5 file; fetch it again")
