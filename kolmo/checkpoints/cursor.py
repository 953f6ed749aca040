"""Places that move on as fields are read: in stored bytes, by windows, and in bytes in memory."""

from __future__ import annotations

import struct
from typing import Any

from kolmo.checkpoints.allowance import allowance_for
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

_WINDOW = 1 << 16  # bytes of the first window; each that follows is twice as wide
_WIDEST = 1 << 23


class FieldCursor:
    """Fields one after the other, each checked against the end of the file.

    Attributes
    ----------
    at : int
        Where the next field begins.

    Examples
    --------
    >>> from kolmo.checkpoints.stored import memory_bytes
    >>> data = bytes([1, 0, 0, 0]) + b"word here"
    >>> cursor = FieldCursor(memory_bytes(data, "a file"), "word vectors")
    >>> cursor.unpack("<i"), cursor.until(b" "), cursor.at
    ((1,), b'word', 9)
    """

    def __init__(self, stored: Stored, what: str, at: int = 0) -> None:
        self.stored, self.what, self.at = stored, what, at
        self._charge = allowance_for(stored.where, stored.size).charge
        self._begin, self._window, self._width = 0, b"", _WINDOW

    @property
    def left(self) -> int:
        """Bytes up to the end."""
        return self.stored.size - self.at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        self._charge(1)
        begin = self.at
        self.skip(size)
        return self._read(begin, size)

    def skip(self, size: int) -> None:
        """Move on past bytes that are not read."""
        if not 0 <= size <= self.left:
            raise self.damaged("it ends too early")
        self.at += size

    def unpack(self, fields: str) -> tuple[Any, ...]:
        """Fields as `struct` names them, with a byte order."""
        return struct.unpack(fields, self.take(struct.calcsize(fields)))

    def until(self, mark: bytes, limit: int = 1 << 16) -> bytes:
        """The bytes before a byte, which is passed too; at most ``limit``."""
        self._charge(1)
        begin = self.at
        width = 64
        while True:
            text = self._read(begin, min(width, limit, self.stored.size - begin))
            found = text.find(mark)
            if found >= 0:
                self.at = begin + found + 1
                return text[:found]
            if len(text) < width:
                raise self.damaged("a word has no end")
            width *= 8

    def damaged(self, why: str) -> InputError:
        """The error that the file is damaged."""
        return InputError(f"{self.stored.where}: {self.what} that is damaged or truncated ({why})")

    def _read(self, begin: int, size: int) -> bytes:
        inner = begin - self._begin
        if inner < 0 or inner + size > len(self._window):
            width = min(max(size, self._width), self.stored.size - begin)
            self._begin, self._window = begin, bytes(self.stored.read(begin, width))
            self._width, inner = min(2 * self._width, _WIDEST), 0
        return self._window[inner : inner + size]


class BytesCursor:
    """Bytes and numbers in memory, one after the other; what is too short is ``damaged``.

    Examples
    --------
    >>> class Cursor(BytesCursor):
    ...     def damaged(self):
    ...         return InputError(f"{self.where}: damaged")
    >>> cursor = Cursor(bytes([0xAC, 2, 7]), "a file")
    >>> cursor.varint(), cursor.take(1), cursor.at
    (300, b'\\x07', 3)
    """

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.at, self.where = data, 0, where

    def damaged(self) -> InputError:
        """The error of bytes that are too few or contradict themselves."""
        raise NotImplementedError

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if self.at + size > len(self.data):
            raise self.damaged()
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        """The next number, of seven bits a byte."""
        found = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            found |= (byte & 127) << shift
            if byte < 128:
                return found
        raise self.damaged()

    def varints(self, count: int) -> list[int]:
        """So many numbers."""
        if count > len(self.data):
            raise self.damaged()
        return [self.varint() for _ in range(count)]
