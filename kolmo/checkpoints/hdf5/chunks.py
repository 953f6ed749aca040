"""Where the chunks of a dataset lie, by each of the indexes that HDF5 has."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from kolmo.checkpoints.hdf5.heaps import new_tree, old_tree
from kolmo.checkpoints.hdf5.source import Hdf5Cursor, Hdf5Source, damaged
from kolmo.errors import InputError

SINGLE, IMPLICIT, FIXED_ARRAY, EXTENSIBLE_ARRAY, TREE = 1, 2, 3, 4, 5
"""Indexes of layouts of version 4; version 3 has a B-tree of version 1, `OLD_TREE`."""
OLD_TREE = 0

Place = tuple[int, int, int]
"""A chunk's address, its stored bytes, the filters that were left out (a mask)."""


@dataclasses.dataclass(frozen=True)
class Chunked:
    """A chunked layout: sides of a chunk, bytes of an entry, the index and what it needs.

    ``single`` is, of a single chunk that is packed, its stored bytes and mask.
    """

    sides: tuple[int, ...]
    item: int
    index: int
    address: int
    single: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Bytes of an unpacked chunk."""
        return math.prod(self.sides) * self.item


def places(
    source: Hdf5Source, layout: Chunked, shape: tuple[int, ...], packed: bool
) -> dict[tuple[int, ...], Place]:
    """Where each chunk lies, by its coordinates in the grid."""
    if not source.is_set(layout.address):
        return {}
    grid = [-(-n // c) for n, c in zip(shape, layout.sides, strict=True)]
    if layout.index == OLD_TREE:
        return dict(_of_old_tree(source, layout))
    if layout.index == TREE:
        return dict(_of_new_tree(source, layout, packed))
    if layout.index == SINGLE:
        size, mask = layout.single or (layout.size, 0)
        return {(0,) * len(grid): (layout.address, size, mask)}
    if layout.index == IMPLICIT:
        found = [
            (layout.address + at * layout.size, layout.size, 0) for at in range(math.prod(grid))
        ]
    else:
        found = list(_of_fixed_array(source, layout, packed))[: math.prod(grid)]
    return {
        _coordinates(at, grid): place for at, place in enumerate(found) if source.is_set(place[0])
    }


def _coordinates(at: int, grid: list[int]) -> tuple[int, ...]:
    found = []
    for side in reversed(grid):
        at, inside = divmod(at, side)
        found.append(inside)
    return tuple(reversed(found))


def _of_old_tree(source: Hdf5Source, layout: Chunked) -> Iterator[tuple[tuple[int, ...], Place]]:
    rank = len(layout.sides)
    before: tuple[int, ...] = (-1,)
    for key, address in old_tree(source, layout.address, 1, 8 + 8 * (rank + 1)):
        cursor = Hdf5Cursor(key, source.where)
        size, mask = cursor.number(4), cursor.number(4)
        at = [divmod(cursor.number(8), side) for side in layout.sides]
        index = tuple(number for number, _ in at)
        if any(inside for _, inside in at) or index <= before:  # the library searches in order
            raise InputError(f"{source.where}: chunks out of their order; the file is damaged")
        before = index
        yield index, (address, size, mask)


def _of_new_tree(
    source: Hdf5Source, layout: Chunked, packed: bool
) -> Iterator[tuple[tuple[int, ...], Place]]:
    rank = len(layout.sides)
    for record in new_tree(source, layout.address):
        cursor = Hdf5Cursor(record, source.where)
        address, size, mask = cursor.number(source.offset), layout.size, 0
        if packed:
            size = cursor.number(len(record) - source.offset - 4 - 8 * rank)
            mask = cursor.number(4)
        yield tuple(cursor.number(8) for _ in layout.sides), (address, size, mask)


def _of_fixed_array(source: Hdf5Source, layout: Chunked, packed: bool) -> Iterator[Place]:
    head = source.cursor(layout.address, 8 + source.length + source.offset)
    head.expect(b"FAHD\x00")
    head.take(1)
    entry, bits = head.number(1), head.number(1)
    count, block = head.number(source.length), head.number(source.offset)
    begin = block + 6 + source.offset
    source.window(block, 4).expect(b"FADB")
    paged = count > 1 << bits
    left, per = count, 1 << bits if paged else count
    pages = -(-count // max(1, per))
    begin += -(-pages // 8) + 4 if paged else 0  # which pages are there; a checksum
    while left > 0:
        cursor = source.cursor(begin, min(left, per) * entry)
        while cursor.at < len(cursor.data):
            yield _entry(Hdf5Cursor(cursor.take(entry), source.where), source, layout, packed)
        begin, left = begin + per * entry + 4, left - per


def _entry(cursor: Hdf5Cursor, source: Hdf5Source, layout: Chunked, packed: bool) -> Place:
    address = cursor.number(source.offset)
    if not packed:
        return address, layout.size, 0
    size = cursor.number(len(cursor.data) - source.offset - 4)
    if len(cursor.data) < source.offset + 5:
        raise damaged(source.where)
    return address, size, cursor.number(4)
