"""Where the numbers of a dataset lie, how they are packed, and what unwritten ones are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kolmo.checkpoints.filters import Undo, inflate, uncheck, unlzf, unshuffle, unzstd
from kolmo.checkpoints.hdf5 import headers
from kolmo.checkpoints.hdf5.chunks import EXTENSIBLE_ARRAY, OLD_TREE, SINGLE, TREE, Chunked
from kolmo.checkpoints.hdf5.headers import Hdf5Message, first, resolved
from kolmo.checkpoints.hdf5.source import Hdf5Cursor, Hdf5Source, damaged

# By their numbers in files (https://github.com/HDFGroup/hdf5_plugins, registered filters).
UNDO: dict[int, Undo] = {1: inflate, 2: unshuffle, 3: uncheck, 32000: unlzf, 32015: unzstd}

_UNKNOWN_INDEX = (
    "its chunks are listed in an extensible array, which is not read; write it again with "
    "libver='earliest'"
)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the numbers of a dataset lie: in its description, in a run of bytes, in chunks."""

    compact: bytes | None = None
    run: tuple[int, int] | None = None
    chunked: Chunked | None = None
    refusal: str = ""


def placement_of(source: Hdf5Source, message: Hdf5Message, rank: int) -> Placement:
    """Where the numbers of a dataset of so many axes lie."""
    cursor = message.cursor(source.where)
    version = cursor.number(1)
    if version in (1, 2):
        return _first_layout(source, cursor)
    if version not in (3, 4, 5):
        return Placement(refusal=f"laid out in a way that is not read (version {version})")
    kind = cursor.number(1)
    if kind == 0:
        return Placement(compact=cursor.take(cursor.number(2)))
    if kind == 1:
        return Placement(run=(cursor.number(source.offset), cursor.number(source.length)))
    if kind == 3:
        return Placement(refusal="put together from other datasets (virtual); not read")
    chunked = _old_chunks(source, cursor) if version == 3 else _new_chunks(source, cursor)
    if len(chunked.sides) != rank or 0 in chunked.sides:
        raise damaged(source.where)
    is_known = chunked.index != EXTENSIBLE_ARRAY and chunked.index <= TREE
    return Placement(chunked=chunked, refusal="" if is_known else _UNKNOWN_INDEX)


def _first_layout(source: Hdf5Source, cursor: Hdf5Cursor) -> Placement:
    """Versions 1 and 2, of before 2004."""
    rank, kind = cursor.number(1), cursor.number(1)
    cursor.take(5)
    address = cursor.number(source.offset) if kind else 0
    sides = [cursor.number(4) for _ in range(rank)]
    if kind == 0:
        return Placement(compact=cursor.take(cursor.number(4)))
    if kind == 1:
        there = source.stored.size - source.base - address
        return Placement(run=(address, max(0, there)))
    if not sides or 0 in sides:
        raise damaged(source.where)
    return Placement(chunked=Chunked(tuple(sides[:-1]), sides[-1], OLD_TREE, address))


def _old_chunks(source: Hdf5Source, cursor: Hdf5Cursor) -> Chunked:
    rank, address = cursor.number(1), cursor.number(source.offset)
    *sides, item = [cursor.number(4) for _ in range(max(1, rank))]
    return Chunked(tuple(sides), item, OLD_TREE, address)


def _new_chunks(source: Hdf5Source, cursor: Hdf5Cursor) -> Chunked:
    flags, rank, width = cursor.number(1), cursor.number(1), cursor.number(1)
    *sides, item = [cursor.number(width) for _ in range(max(1, rank))]
    index = cursor.number(1)
    single = None
    if index == SINGLE and flags & 2:
        single = cursor.number(source.length), cursor.number(4)
    cursor.take({3: 1, 4: 5, 5: 6}.get(index, 0))
    return Chunked(tuple(sides), item, index, cursor.number(source.offset), single)


def filters_of(source: Hdf5Source, found: list[Hdf5Message]) -> tuple[list[int], str]:
    """The filters' numbers, in the order of packing, and why they cannot be undone."""
    message = first(found, headers.FILTERS)
    if message is None:
        return [], ""
    cursor = resolved(source, message).cursor(source.where)
    version, count = cursor.number(1), cursor.number(1)
    if version not in (1, 2):
        raise damaged(source.where)
    cursor.take(6 if version == 1 else 0)
    numbers = []
    for _ in range(count):
        number = cursor.number(2)
        length = cursor.number(2) if version == 1 or number >= 256 else 0
        cursor.take(2)
        values = cursor.number(2)
        cursor.take(length)
        cursor.take(4 * (values + (values & 1 if version == 1 else 0)))
        numbers.append(number)
    odd = [number for number in numbers if number not in UNDO]
    return numbers, f"packed by HDF5's filter {odd[0]}, which is not undone" if odd else ""


def fill_of(source: Hdf5Source, found: list[Hdf5Message], dtype: np.dtype[Any]) -> Any:
    """What numbers are that were never written."""
    message = first(found, headers.FILL)
    if message is None:
        return np.zeros((), dtype)
    cursor = resolved(source, message).cursor(source.where)
    version = cursor.number(1)
    if version not in (1, 2, 3):
        raise damaged(source.where)
    flags = cursor.number(1) if version == 3 else 0
    if version < 3:
        cursor.take(2)
        flags = 0x20 * cursor.number(1)
    data = cursor.take(cursor.number(4)) if flags & 0x20 else b""
    return np.frombuffer(data, dtype)[0] if len(data) == dtype.itemsize else np.zeros((), dtype)
