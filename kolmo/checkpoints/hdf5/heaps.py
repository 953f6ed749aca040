"""Where HDF5 keeps names, texts and long lists: local, global and fractal heaps, B-trees."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from kolmo.checkpoints.hdf5.source import Hdf5Cursor, Hdf5Source, damaged

_DEPTH = 64


def local_heap(source: Hdf5Source, address: int) -> Hdf5Cursor:
    """The names of an old group, one after the other."""
    cursor = source.cursor(address, 8 + 2 * source.length + source.offset)
    cursor.expect(b"HEAP\x00")
    cursor.take(3)
    size = cursor.number(source.length)
    cursor.take(source.length)
    return source.cursor(cursor.number(source.offset), size)


def global_object(source: Hdf5Source, address: int, index: int) -> bytes:
    """One object of a global heap, such as a text of any length."""
    head = source.cursor(address, 8 + source.length)
    head.expect(b"GCOL")
    head.take(4)
    heap = source.cursor(address, head.number(source.length))
    heap.take(8 + source.length)
    while len(heap.data) - heap.at >= 8 + source.length:
        number = heap.number(2)
        heap.take(6)
        size = heap.number(source.length)
        if number == index:
            return heap.take(size)
        if number == 0:
            break
        heap.take(size)
        heap.align()
    raise damaged(source.where)


def old_tree(source: Hdf5Source, address: int, kind: int, key: int) -> Iterator[tuple[bytes, int]]:
    """The entries of a B-tree of version 1, in order: a key of so many bytes, an address."""
    left = [address]
    while left:
        at = left.pop()
        head = source.cursor(at, 8)
        head.expect(b"TREE")
        if head.number(1) != kind:
            raise damaged(source.where)
        level, count = head.number(1), head.number(2)
        if level > _DEPTH:
            raise damaged(source.where)
        begin, entry = at + 8 + 2 * source.offset, key + source.offset
        cursor = source.cursor(begin, count * entry)
        entries = [(cursor.take(key), cursor.number(source.offset)) for _ in range(count)]
        if level:
            left += [child for _, child in reversed(entries)]
        else:
            yield from entries


@dataclasses.dataclass(frozen=True)
class _Tree:
    """A B-tree of version 2: sizes of its nodes and records."""

    source: Hdf5Source
    kind: int
    node: int
    record: int

    def most(self, depth: int) -> tuple[int, int]:
        """Records of a node at most, and of all nodes below it and itself."""
        leaf = (self.node - 10) // self.record
        records, total = leaf, leaf
        for level in range(1, depth + 1):
            pointer = self.pointer(leaf, total, level)
            records = (self.node - 10 - pointer) // (self.record + pointer)
            total = (records + 1) * total + records
        return records, total

    def pointer(self, leaf: int, below: int, depth: int) -> int:
        """Bytes of a pointer to a child, in a node so many levels above the leaves."""
        return self.source.offset + _width(leaf) + (_width(below) if depth > 1 else 0)


def new_tree(source: Hdf5Source, address: int) -> Iterator[bytes]:
    """The records of a B-tree of version 2."""
    head = source.cursor(address, 16 + source.offset + 2)
    head.expect(b"BTHD\x00")
    kind, node, record = head.number(1), head.number(4), head.number(2)
    depth = head.number(2)
    head.take(2)
    root, count = head.number(source.offset), head.number(2)
    if depth > _DEPTH or not 0 < record <= node - 10:
        raise damaged(source.where)
    tree = _Tree(source, kind, node, record)
    left = [(root, count, depth)] if source.is_set(root) else []
    while left:
        at, count, level = left.pop()
        cursor = source.window(at, node)
        cursor.expect(b"BTIN\x00" if level else b"BTLF\x00")
        cursor.take(1)
        yield from [cursor.take(record) for _ in range(count)]
        if level:
            left += _children(tree, cursor, count, level)


def _children(
    tree: _Tree, cursor: Hdf5Cursor, count: int, level: int
) -> list[tuple[int, int, int]]:
    leaf, _ = tree.most(0)
    _, below = tree.most(level - 1)
    found = []
    for _ in range(count + 1):
        at, records = cursor.number(tree.source.offset), cursor.number(_width(leaf))
        if level > 1:
            cursor.take(_width(below))
        found.append((at, records, level - 1))
    return found


def _width(most: int) -> int:
    """Bytes of a number up to this one."""
    return (max(1, most).bit_length() - 1) // 8 + 1


class FractalHeap:
    """Objects of any length by their ids, in blocks that double in size."""

    def __init__(self, source: Hdf5Source, address: int) -> None:
        self.source = source
        size_o, size_l = source.offset, source.length
        head = source.cursor(address, 22 + 3 * size_o + 12 * size_l)
        head.expect(b"FRHP\x00")
        head.take(2)
        self.filters, _, self.most = head.number(2), head.number(1), head.number(4)
        head.take(10 * size_l + 2 * size_o)
        self.width = head.number(2)
        self.first, self.direct = head.number(size_l), head.number(size_l)
        self.bits = head.number(2)
        head.take(2)
        self.root, self.rows = head.number(size_o), head.number(2)
        if self.filters or not (0 < self.first <= self.direct) or self.bits > 64:
            raise damaged(source.where)

    def get(self, key: bytes) -> bytes:
        """The object of an id."""
        cursor = Hdf5Cursor(key, self.source.where)
        kind = cursor.number(1) >> 4 & 3
        if kind == 2:  # a tiny one lies in the id itself
            return cursor.take((key[0] & 15) + 1)
        if kind:
            raise damaged(self.source.where)
        offset = cursor.number((self.bits + 7) // 8)
        widths = (self.direct.bit_length() - 1 + 7) // 8, _width(self.most)
        size = cursor.number(min(widths))
        return self.source.read(self._place(self.root, self.rows, offset, 0), size)

    def _place(self, block: int, rows: int, offset: int, depth: int) -> int:
        """The address of an offset into a block and those below it."""
        if not rows:
            return block + offset
        if depth > 8:
            raise damaged(self.source.where)
        row, before = 0, 0
        while offset >= before + self.width * self._side(row):
            before += self.width * self._side(row)
            row += 1
            if row >= rows:
                raise damaged(self.source.where)
        side = self._side(row)
        column, inside = divmod(offset - before, side)
        skip = 5 + self.source.offset + (self.bits + 7) // 8
        entry = block + skip + (row * self.width + column) * self.source.offset
        self.source.window(block, 4).expect(b"FHIB")
        child = self.source.cursor(entry, self.source.offset).number(self.source.offset)
        inner = 0 if side <= self.direct else self._rows(side)
        return self._place(child, inner, inside, depth + 1)

    def _side(self, row: int) -> int:
        """Bytes of each block of a row."""
        return self.first << max(0, row - 1)

    def _rows(self, size: int) -> int:
        """Rows of an indirect block that spans so many bytes."""
        return int(size.bit_length() - (self.first * self.width).bit_length() + 1)
