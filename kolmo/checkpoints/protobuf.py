"""Protocol buffers, read from the bytes: the wire format, without any schema.

A message is a run of fields, each a number, a wire type and a value: a varint, 4 or 8 bytes, or a
length and as many bytes (https://protobuf.dev/programming-guides/encoding/). Bytes of long fields
are passed over unread, so that a walk through a file of many gigabytes costs kilobytes. Nothing
is allocated for a length that a file claims; depth and number of fields are bounded.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.stored import Stored, memory_bytes
from kolmo.errors import InputError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; groups (3 and 4) have long gone from the format's use."""

FIELDS = 1 << 22
"""Fields of a file that are looked at, at most."""

DEPTH = 100
"""Messages within messages, at most, as in the format's own libraries."""

_MESSAGE = 4  # fields that a message counts for, since what is made of it takes memory
_SMALL = 1 << 10  # bytes of a piece that are copied at once
_NEAR = 1 << 10  # bytes fetched at once after a jump; doubled as long as they are read in order
_FAR = 1 << 18
_BLOCK = 1 << 20  # bytes of varints that are counted at once


class _Window:
    """The bytes around the place that is read, and how many fields may still be."""

    def __init__(self, stored: Stored) -> None:
        self.stored, self._left = stored, FIELDS
        self._data: bytes | bytearray | memoryview = b""
        self._begin, self._step = 0, _NEAR

    def take(self, fields: int) -> None:
        """Count fields; InputError if they are more than a file may have."""
        self._left -= fields
        if self._left < 0:
            raise InputError(
                f"{self.stored.where}: its protocol buffer has more than {FIELDS:,} fields"
            )

    def read(self, at: int, size: int) -> bytes | bytearray | memoryview:
        """These bytes, of which there are few; InputError if they are not there."""
        begin = at - self._begin
        if not 0 <= begin <= begin + size <= len(self._data):
            self._fetch(at, size)
            begin = 0
        return self._data[begin : begin + size]

    def _fetch(self, at: int, size: int) -> None:
        in_order = self._begin <= at <= self._begin + len(self._data)
        self._step = min(2 * self._step, _FAR) if in_order else _NEAR
        rest = self.stored.size - at
        self._data = self.stored.read(at, max(size, min(self._step, rest)))
        self._begin = at

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The varint at a place, and the place behind it."""
        data = self.read(at, min(10, end - at))
        value = 0
        for index, byte in enumerate(data):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at + index + 1
        raise _malformed(self.stored)


def _malformed(stored: Stored) -> InputError:
    return InputError(f"{stored.where}: its protocol buffer is malformed; the file is damaged")


@dataclasses.dataclass(slots=True)
class MessageField:
    """A field of a message.

    Attributes
    ----------
    number, wire : int
        Its number in the schema, and its wire type.
    value : int
        Of a varint, its value in [0, 2^64); of fixed bytes, these as a little-endian integer.
    """

    number: int
    wire: int
    value: int
    _window: _Window
    _begin: int
    _end: int
    _depth: int

    @property
    def signed(self) -> int:
        """The varint as a signed integer of 64 bits, which int32 and int64 fields are."""
        return self.value - (1 << 64) if self.value >> 63 else self.value

    @property
    def float32(self) -> float:
        """The 4 bytes as a float."""
        if self.wire != FIXED32:
            raise _malformed(self._window.stored)
        return float(struct.unpack("<f", self.value.to_bytes(4, "little"))[0])

    @property
    def stored(self) -> Stored:
        """The bytes of the value, unread; of a varint, those that encode it."""
        return self._window.stored.part(self._begin, self._end - self._begin)

    def message(self) -> Message:
        """The value as a message."""
        if self.wire != BYTES or self._depth >= DEPTH:
            raise _malformed(self._window.stored)
        self._window.take(_MESSAGE)
        return Message(self._window, self._begin, self._end, self._depth + 1)

    def text(self, limit: int = 1 << 16) -> str:
        """The value as text; InputError if it is longer than ``limit`` bytes."""
        size = self._end - self._begin
        if self.wire != BYTES:
            raise _malformed(self._window.stored)
        if size > limit:
            raise InputError(f"{self._window.stored.where}: a name of {size:,} bytes in it")
        return bytes(self._window.read(self._begin, size)).decode("utf-8", "replace")

    def integers(self) -> list[int]:
        """A repeated integer field: one value, or many that are packed; signed."""
        if self.wire == VARINT:
            return [self.signed]
        if self.wire != BYTES:
            raise _malformed(self._window.stored)
        found, at = [], self._begin
        while at < self._end:
            value, at = self._window.varint(at, self._end)
            self._window.take(1)
            found.append(value - (1 << 64) if value >> 63 else value)
        return found


@dataclasses.dataclass(frozen=True)
class Message:
    """A message within a file: its fields, read when asked."""

    _window: _Window
    _begin: int
    _end: int
    _depth: int = 0

    @classmethod
    def of(cls, stored: Stored) -> Message:
        """The message that all these bytes are."""
        return cls(_Window(stored), 0, stored.size)

    @property
    def where(self) -> str:
        """The file, for people."""
        return self._window.stored.where

    def fields(self, *, cut: bool = False) -> Iterator[MessageField]:
        """The fields in their order; with ``cut`` also a last one whose bytes are cut off.

        Raises
        ------
        InputError
            If they are malformed, end beyond the message, or are too many.

        Examples
        --------
        >>> stored = memory_bytes(bytes([8, 150, 1, 18, 2, 104, 105]), "example")
        >>> [(field.number, field.value) for field in Message.of(stored).fields()]
        [(1, 150), (2, 0)]
        >>> [field.text() for field in Message.of(stored).fields() if field.wire == BYTES]
        ['hi']
        """
        at, window = self._begin, self._window
        while at < self._end:
            tag, at = window.varint(at, self._end)
            window.take(1)
            value, begin, after = self._value(tag & 7, at)
            if not tag >> 3 or (after > self._end and not cut):
                raise _malformed(window.stored)
            yield MessageField(tag >> 3, tag & 7, value, window, begin, after, self._depth)
            at = after

    def _value(self, wire: int, at: int) -> tuple[int, int, int]:
        """The value that begins at a place, where its bytes begin, and where they end."""
        window, size = self._window, {FIXED64: 8, FIXED32: 4}.get(wire)
        if wire == VARINT:
            value, after = window.varint(at, self._end)
            return value, at, after
        if wire == BYTES:
            length, begin = window.varint(at, self._end)
            return 0, begin, begin + length
        if size is None or at + size > self._end:
            raise _malformed(window.stored)
        return int.from_bytes(window.read(at, size), "little"), at, at + size


# --- numbers of repeated fields -------------------------------------------------------------


def joined(pieces: Sequence[Stored], where: str) -> Stored:
    """Runs of bytes one behind the other, as one; a field that is given in pieces counts whole."""
    if len(pieces) == 1:
        return pieces[0]
    ends = [0, *itertools.accumulate(piece.size for piece in pieces)]

    def fetch(offset: int, size: int) -> bytes:
        found, index = [], max(0, int(np.searchsorted(ends, offset, "right")) - 1)
        while size > 0 and index < len(pieces):
            begin = offset - ends[index]
            count = min(size, pieces[index].size - begin)
            found.append(bytes(pieces[index].read(begin, count)))
            offset, size, index = offset + count, size - count, index + 1
        return b"".join(found)

    return Stored(fetch, 0, ends[-1], where)


class Pieces:
    """The values of a repeated field of numbers, packed, one by one, or mixed, in their order."""

    def __init__(self) -> None:
        self._done: list[Stored] = []
        self._single = bytearray()

    def add(self, field: MessageField) -> None:
        """Take what a field adds."""
        stored = field.stored
        if stored.size <= _SMALL:
            self._single += stored.read(0, stored.size)
        else:
            self._close(stored.where)
            self._done.append(stored)

    def _close(self, where: str) -> None:
        if self._single:
            self._done.append(memory_bytes(bytes(self._single), where))
            self._single = bytearray()

    def stored(self, where: str) -> Stored:
        """All their bytes."""
        self._close(where)
        return joined(self._done, where)


class Varints:
    """Packed varints, of which any range can be read.

    >>> Varints(memory_bytes(bytes([1, 0xAC, 2, 7]), "example")).load(1, 3).tolist()
    [300, 7]
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    @functools.cached_property
    def _before(self) -> NDArray[np.int64]:
        """Varints that end before each block of bytes; their number comes last."""
        size = self._stored.size
        blocks = (self._stored.read(at, min(_BLOCK, size - at)) for at in range(0, size, _BLOCK))
        counts = [np.count_nonzero(np.frombuffer(block, np.uint8) < 0x80) for block in blocks]
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    @property
    def count(self) -> int:
        """Their number, for which all bytes are read once."""
        return int(self._before[-1])

    def load(self, start: int, stop: int) -> NDArray[np.uint64]:
        """Varints [start, stop); InputError if there are not that many."""
        if stop > self.count:
            raise InputError(
                f"{self._stored.where}: {self.count:,} numbers are stored where {stop:,} are used; "
                f"the file is damaged"
            )
        if start >= stop:
            return np.empty(0, np.uint64)
        first = max(0, int(np.searchsorted(self._before, start, "left")) - 1)
        last = int(np.searchsorted(self._before, stop, "left"))
        begin, end = first * _BLOCK, min(last * _BLOCK, self._stored.size)
        data = np.frombuffer(self._stored.read(begin, end - begin), np.uint8)
        skipped = start - int(self._before[first])
        return self._decoded(data, skipped, skipped + stop - start)

    def _decoded(self, data: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.uint64]:
        ends = np.flatnonzero(data < 0x80)
        starts = np.concatenate([[0], ends[:-1] + 1])[start:stop]
        lengths = ends[start:stop] - starts + 1
        if int(lengths.max()) > 10:
            raise _malformed(self._stored)
        values = np.zeros(stop - start, np.uint64)
        for index in range(int(lengths.max())):
            longer = lengths > index
            bits = (data[starts[longer] + index] & 0x7F).astype(np.uint64)
            values[longer] |= bits << np.uint64(7 * index)
        return values
