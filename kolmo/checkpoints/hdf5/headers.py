"""Object headers: the messages that describe a group or a dataset."""

from __future__ import annotations

import dataclasses

from kolmo.checkpoints.hdf5.source import Hdf5Cursor, Hdf5Source, damaged

DATASPACE, LINK_INFO, DATATYPE, FILL_OLD, FILL, LINK, EXTERNAL, LAYOUT = 1, 2, 3, 4, 5, 6, 7, 8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOLS, ATTRIBUTES = 11, 12, 16, 17, 21
"""The kinds of messages."""

_SHARED = 2  # a flag: the message is kept elsewhere
_BLOCKS = 1 << 10  # of one header at most


@dataclasses.dataclass(frozen=True)
class Hdf5Message:
    """One message: its kind, and its bytes."""

    kind: int
    shared: bool
    data: bytes

    def cursor(self, where: str) -> Hdf5Cursor:
        """A cursor over it."""
        return Hdf5Cursor(self.data, where)


def messages(source: Hdf5Source, address: int) -> list[Hdf5Message]:
    """All messages of an object, from all blocks of its header."""
    head = source.window(address, 16)
    modern = head.data[:4] == b"OHDR"
    begin, size, ordered = _modern(source, address) if modern else _old(source, address)
    found: list[Hdf5Message] = []
    blocks, done = [(begin, size)], set[int]()
    while blocks:
        begin, size = blocks.pop(0)
        if begin in done or len(done) > _BLOCKS:
            raise damaged(source.where)
        done.add(begin)
        for message in _block(source.cursor(begin, size), modern, ordered):
            if message.kind == CONTINUATION:
                blocks.append(_continuation(source, message, modern))
            else:
                found.append(message)
    return found


def first(found: list[Hdf5Message], kind: int) -> Hdf5Message | None:
    """The first message of a kind."""
    return next((message for message in found if message.kind == kind), None)


def resolved(source: Hdf5Source, message: Hdf5Message) -> Hdf5Message:
    """The message itself, where this one says in which object's header it is kept."""
    if not message.shared:
        return message
    cursor = message.cursor(source.where)
    version, kind = cursor.number(1), cursor.number(1)
    if version == 1:
        cursor.take(6)
    if version == 3 and kind != 2:
        raise damaged(source.where)
    kept = first(messages(source, cursor.number(source.offset)), message.kind)
    if kept is None or kept.shared:
        raise damaged(source.where)
    return kept


def _old(source: Hdf5Source, address: int) -> tuple[int, int, bool]:
    """Where the messages of a header of version 1 begin, and their bytes."""
    cursor = source.cursor(address, 12)
    if cursor.number(1) != 1:
        raise damaged(source.where)
    cursor.take(7)
    return address + 16, cursor.number(4), False


def _modern(source: Hdf5Source, address: int) -> tuple[int, int, bool]:
    cursor = source.window(address, 48)
    cursor.expect(b"OHDR\x02")
    flags = cursor.number(1)
    cursor.take((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
    size = cursor.number(1 << (flags & 3))
    return address + cursor.at, size, bool(flags & 4)


def _block(cursor: Hdf5Cursor, modern: bool, ordered: bool) -> list[Hdf5Message]:
    found = []
    least = (6 if ordered else 4) if modern else 8
    while len(cursor.data) - cursor.at >= least:
        kind = cursor.number(1 if modern else 2)
        size, flags = cursor.number(2), cursor.number(1)
        cursor.take((2 if ordered else 0) if modern else 3)
        found.append(Hdf5Message(kind, bool(flags & _SHARED), cursor.take(size)))
    return found


def _continuation(source: Hdf5Source, message: Hdf5Message, modern: bool) -> tuple[int, int]:
    cursor = message.cursor(source.where)
    begin, size = cursor.number(source.offset), cursor.number(source.length)
    if not modern:
        return begin, size
    source.window(begin, 4).expect(b"OCHK")
    return begin + 4, size - 8  # its signature and its checksum
