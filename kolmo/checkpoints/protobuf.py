"""Protocol buffers, read from the bytes: the wire format, without any schema.

A message is a run of fields, each a number, a wire type and a value: a varint, 4 or 8 bytes, or a
length and as many bytes (https://protobuf.dev/programming-guides/encoding/). Bytes of long fields
are passed over unread, so that a walk through a file of many gigabytes costs kilobytes. Nothing
is allocated for a length that a file claims; depth is bounded, and fields
are counted (`kolmo.checkpoints.allowance`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import allowance_for
from kolmo.checkpoints.stored import Stored, memory_bytes
from kolmo.errors import InputError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; groups (3 and 4) have long gone from the format's use."""

DEPTH = 100
"""Messages within messages, at most, as in the format's own libraries."""

_HEADER = 20  # bytes of a field that come before those it claims, at most
_FIXED = {FIXED64: 8, FIXED32: 4}
_MESSAGE = 4  # fields that a message counts for, since what is made of it takes memory
_SMALL = 1 << 10  # bytes of a piece that are copied at once
_NEAR = 1 << 10  # bytes fetched at once after a jump; doubled as long as they are read in order
_FAR = 1 << 18
_BLOCK = 1 << 20  # bytes of varints that are counted at once


class _Window:
    """The bytes around the place that is read; ``charge`` counts fields."""

    def __init__(self, stored: Stored) -> None:
        self.stored, self.charge = stored, allowance_for(stored.where, stored.size).charge
        self._data: bytes | bytearray | memoryview = b""
        self._begin, self._step = 0, _NEAR

    def read(self, at: int, size: int) -> bytes | bytearray | memoryview:
        """These bytes, of which there are few; InputError if they are not there."""
        data, begin = self.around(at, size)
        return data[begin : begin + size]

    def _fetch(self, at: int, size: int) -> None:
        in_order = self._begin <= at <= self._begin + len(self._data)
        self._step = min(2 * self._step, _FAR) if in_order else _NEAR
        rest = self.stored.size - at
        self._data = self.stored.read(at, max(size, min(self._step, rest)))
        self._begin = at

    def around(self, at: int, size: int) -> tuple[bytes | bytearray | memoryview, int]:
        """Bytes that hold those at a place, and where among them these begin."""
        begin = at - self._begin
        if not 0 <= begin <= begin + size <= len(self._data):
            self._fetch(at, size)
            begin = 0
        return self._data, begin

    def varint_in(self, data: bytes | bytearray | memoryview, place: int) -> tuple[int, int]:
        """The varint at a place among bytes, and the place behind it."""
        value = shift = 0
        for at in range(place, min(place + 10, len(data))):
            byte = data[at]
            if byte < 0x80:
                return (value | byte << shift) & 0xFFFFFFFFFFFFFFFF, at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
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

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return self._end - self._begin

    def read(self) -> bytes | bytearray | memoryview:
        """The bytes of the value, of which there are few."""
        return self._window.read(self._begin, self._end - self._begin)

    def message(self) -> WireMessage:
        """The value as a message."""
        if self.wire != BYTES or self._depth >= DEPTH:
            raise _malformed(self._window.stored)
        self._window.charge(_MESSAGE)
        return WireMessage(self._window, self._begin, self._end, self._depth + 1)

    def text(self, limit: int = 1 << 16) -> str:
        """The value as text; InputError if it is longer than ``limit`` bytes."""
        if self.wire != BYTES:
            raise _malformed(self._window.stored)
        if self.size > limit:
            raise InputError(f"{self._window.stored.where}: a name of {self.size:,} bytes in it")
        return bytes(self.read()).decode("utf-8", "replace")

    def integers(self) -> list[int]:
        """A repeated integer field: one value, or many that are packed; signed."""
        if self.wire == VARINT:
            return [self.signed]
        if self.wire != BYTES:
            raise _malformed(self._window.stored)
        found, at = [], self._begin
        while at < self._end:
            data, place = self._window.around(at, min(10, self._end - at))
            self._window.charge(1)
            value, after = self._window.varint_in(data, place)
            at += after - place
            found.append(value - (1 << 64) if value >> 63 else value)
        return found


@dataclasses.dataclass(frozen=True)
class WireMessage:
    """A message within a file: its fields, read when asked."""

    _window: _Window
    _begin: int
    _end: int
    _depth: int = 0

    @classmethod
    def of(cls, stored: Stored) -> WireMessage:
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
        >>> [(field.number, field.value) for field in WireMessage.of(stored).fields()]
        [(1, 150), (2, 0)]
        >>> [field.text() for field in WireMessage.of(stored).fields() if field.wire == BYTES]
        ['hi']
        """
        at, end, window = self._begin, self._end, self._window
        while at < end:
            data, place = window.around(at, min(_HEADER, end - at))
            window.charge(1)
            tag, begin = window.varint_in(data, place)
            wire, value = tag & 7, 0
            if wire == VARINT:
                value, after = window.varint_in(data, begin)
            elif wire == BYTES:
                size, begin = window.varint_in(data, begin)
                after = begin + size
            elif wire in _FIXED:
                after = begin + _FIXED[wire]
                value = int.from_bytes(data[begin:after], "little")
            else:
                raise _malformed(window.stored)
            shift = at - place
            if not tag >> 3 or (after + shift > end and not (cut and wire == BYTES)):
                raise _malformed(window.stored)
            yield MessageField(
                tag >> 3, wire, value, window, begin + shift, after + shift, self._depth
            )
            at = after + shift


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
        if field.size <= _SMALL:
            self._single += field.read()
        else:
            self._close(field.stored.where)
            self._done.append(field.stored)

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
