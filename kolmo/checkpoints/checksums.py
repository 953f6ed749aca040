"""Checksums of members that are read in place: compared when all of one was read in order."""

from __future__ import annotations

import dataclasses
import threading
import zlib

from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError


def checked(member: Stored, begin: int, crc: int) -> Stored:
    """A member whose CRC-32 is compared whenever it is read from ``begin`` to its end, in order.

    Pieces of it that are read alone are not checked: a checksum is of the whole.

    >>> from kolmo.checkpoints.stored import memory_bytes
    >>> member = memory_bytes(b"header, values", "x.npz")
    >>> bytes(checked(member, 8, zlib.crc32(b"header, values")).read(8, 6))
    b'values'
    >>> checked(member, 8, 0).read(8, 6)
    Traceback (most recent call last):
    ...
    kolmo.errors.InputError: x.npz: its values are damaged: their checksum is wrong
    """
    return dataclasses.replace(member, fetch=_Summed(member, begin, crc).fetch)


class _Summed:
    """Adds up the checksum of what is fetched, as long as it comes in order."""

    def __init__(self, member: Stored, begin: int, crc: int) -> None:
        self._member, self._crc = member, crc
        self._begin, self._end = member.offset + begin, member.offset + member.size
        self._lock = threading.Lock()
        self._next, self._sum = -1, 0

    def fetch(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        data = self._member.fetch(offset, size)
        with self._lock:
            if offset == self._begin:
                self._next, self._sum = offset, zlib.crc32(self._head())
            if offset == self._next and len(data) == size:
                self._next, self._sum = offset + size, zlib.crc32(data, self._sum)
                if self._next == self._end and self._sum != self._crc:
                    where, what = self._member.where, self._member.what
                    raise InputError(f"{where}: {what} are damaged: their checksum is wrong")
        return data

    def _head(self) -> bytes:
        return bytes(self._member.read(0, self._begin - self._member.offset))
