"""Sorted tables of keys and values, as LevelDB and TensorFlow write them
(https://github.com/google/leveldb/blob/main/doc/table_format.md).

A footer says where the index lies, the index where the blocks are; a block holds keys of which each
begins as the one before it does. Checksums are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from kolmo.checkpoints.allowance import Allowance, allowance_for
from kolmo.checkpoints.cursor import BytesCursor
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

FOOTER = bytes.fromhex("57fb808b247547db")
"""How a table ends."""

_FOOTER = 48  # bytes
_MOST = 1 << 26  # bytes of a block, unpacked
_ENTRY = 4  # items that a key and its value count for


def read_table(stored: Stored) -> dict[bytes, bytes]:
    """All keys and values.

    Raises
    ------
    InputError
        If the table is damaged, or claims more than it can hold.
    """
    if stored.size < _FOOTER or stored.read(stored.size - 8, 8) != FOOTER:
        raise damaged(stored.where)
    footer = TableCursor(bytes(stored.read(stored.size - _FOOTER, _FOOTER)), stored.where)
    footer.varints(2)
    allowance = allowance_for(stored.where, stored.size)
    found: dict[bytes, bytes] = {}
    for _, handle in _block(stored, footer, allowance):
        found.update(_block(stored, TableCursor(handle, stored.where), allowance))
    return found


def damaged(where: str) -> InputError:
    """The error of a table that contradicts itself."""
    return InputError(f"{where}: a damaged or truncated table (of LevelDB or TensorFlow)")


class TableCursor(BytesCursor):
    """Numbers and bytes of a table, one after the other."""

    def damaged(self) -> InputError:
        return damaged(self.where)


def _block(
    stored: Stored, handle: TableCursor, allowance: Allowance
) -> Iterator[tuple[bytes, bytes]]:
    offset, size = handle.varints(2)
    data, kind = stored.part(offset, size), stored.part(offset + size, 1).read(0, 1)
    if size > _MOST or kind[0] > 1:
        raise damaged(stored.where)
    raw = bytes(data.read(0, size))
    raw = unsnappy(raw, stored.where) if kind[0] else raw
    allowance.charge(1, len(raw))
    if len(raw) < 4:
        raise damaged(stored.where)
    end = len(raw) - 4 - 4 * int.from_bytes(raw[-4:], "little")
    cursor, key = TableCursor(raw[: max(0, end)], stored.where), b""
    while cursor.at < len(cursor.data):
        shared, own, length = cursor.varints(3)
        if shared > len(key):
            raise damaged(stored.where)
        key = key[:shared] + cursor.take(own)
        allowance.charge(_ENTRY, len(key))
        yield key, cursor.take(length)


def unsnappy(data: bytes, where: str) -> bytes:
    """What Snappy packed: runs of literals, and copies of what came before."""
    cursor, found = TableCursor(data, where), bytearray()
    size = cursor.varint()
    while cursor.at < len(data) and len(found) < min(size, _MOST):
        tag = cursor.take(1)[0]
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                length = int.from_bytes(cursor.take(length - 59), "little")
            found += cursor.take(length + 1)
            continue
        if tag & 3 == 1:
            length, back = (tag >> 2 & 7) + 4, tag >> 5 << 8 | cursor.take(1)[0]
        else:
            length = (tag >> 2) + 1
            back = int.from_bytes(cursor.take(2 if tag & 3 == 2 else 4), "little")
        if not 0 < back <= len(found):
            raise damaged(where)
        piece = bytes(found[-back:][:length])
        found += (piece * -(-length // len(piece)))[:length]
    if len(found) != size:
        raise damaged(where)
    return bytes(found)
