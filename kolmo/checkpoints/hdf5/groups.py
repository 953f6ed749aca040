"""Groups: the names in them, and the attributes of an object, in every way they are kept."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from kolmo.checkpoints.hdf5.headers import (
    ATTRIBUTE,
    ATTRIBUTES,
    LINK,
    LINK_INFO,
    SYMBOLS,
    Hdf5Message,
    first,
    resolved,
)
from kolmo.checkpoints.hdf5.heaps import FractalHeap, local_heap, new_tree, old_tree
from kolmo.checkpoints.hdf5.source import Hdf5Cursor, Hdf5Source, damaged
from kolmo.checkpoints.hdf5.types import attribute

_SOFT, _EXTERNAL = 1, 64


@dataclasses.dataclass(frozen=True)
class Link:
    """A name in a group: the address of the object, or where a link points."""

    name: str
    address: int
    target: str = ""
    is_external: bool = False


def links(source: Hdf5Source, found: list[Hdf5Message]) -> list[Link]:
    """All names of a group, 2 before 10; none of what is no group."""
    by_name: list[Link] = []
    made = [
        _link(source, message.cursor(source.where)) for message in found if message.kind == LINK
    ]
    if symbols := first(found, SYMBOLS):
        by_name += _old_links(source, symbols.cursor(source.where))
    if info := first(found, LINK_INFO):
        by_name += [
            _link(source, Hdf5Cursor(data, source.where)) for data in _dense(source, info, 8)
        ]
    return made + sorted(by_name, key=_natural)


def attributes(source: Hdf5Source, found: list[Hdf5Message]) -> dict[str, Any]:
    """The attributes of an object, by their names."""
    kept = [resolved(source, message).data for message in found if message.kind == ATTRIBUTE]
    if info := first(found, ATTRIBUTES):
        kept += _dense(source, info, 2)
    return dict(attribute(source, data) for data in kept)


def _dense(source: Hdf5Source, info: Hdf5Message, index: int) -> Iterator[bytes]:
    """Links or attributes that are many: kept in a heap, and listed in a tree by their names."""
    cursor = info.cursor(source.where)
    cursor.take(1)
    flags = cursor.number(1)
    cursor.take(index if flags & 1 else 0)
    heap, tree = cursor.number(source.offset), cursor.number(source.offset)
    if not source.is_set(heap):
        return
    objects = FractalHeap(source, heap)
    is_link = info.kind == LINK_INFO
    for record in new_tree(source, tree):
        yield objects.get(record[4:] if is_link else record[:8])


def _link(source: Hdf5Source, cursor: Hdf5Cursor) -> Link:
    if cursor.number(1) != 1:
        raise damaged(source.where)
    flags = cursor.number(1)
    kind = cursor.number(1) if flags & 8 else 0
    cursor.take((8 if flags & 4 else 0) + (1 if flags & 0x10 else 0))
    name = cursor.take(cursor.number(1 << (flags & 3))).decode("utf-8", "replace")
    if kind == 0:
        return Link(name, cursor.number(source.offset))
    target = cursor.take(cursor.number(2))
    if kind == _EXTERNAL:
        target = target[1:].split(b"\0")[0]
    return Link(name, 0, target.decode("utf-8", "replace"), kind != _SOFT)


def _natural(link: Link) -> str:
    return re.sub(r"\d+", lambda digits: digits[0].zfill(20), link.name)


def _old_links(source: Hdf5Source, symbols: Hdf5Cursor) -> list[Link]:
    tree, heap = symbols.number(source.offset), symbols.number(source.offset)
    names = local_heap(source, heap)
    found = []
    for _, node in old_tree(source, tree, 0, source.length):
        head = source.cursor(node, 8)
        head.expect(b"SNOD\x01")
        head.take(1)
        size = 2 * source.offset + 24
        cursor = source.cursor(node + 8, head.number(2) * size)
        while cursor.at < len(cursor.data):
            found.append(_old_link(source, names, Hdf5Cursor(cursor.take(size), source.where)))
    return found


def _old_link(source: Hdf5Source, names: Hdf5Cursor, entry: Hdf5Cursor) -> Link:
    names.at, address = entry.number(source.offset), entry.number(source.offset)
    name, kind = names.text(), entry.number(4)
    if kind != 2:
        return Link(name, address)
    entry.take(4)
    names.at = entry.number(4)
    return Link(name, 0, names.text())
