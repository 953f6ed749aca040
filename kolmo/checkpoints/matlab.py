"""MATLAB: ``.mat`` files of version 5 (to 7; of version 7.3 they are HDF5).

A file is a header of 128 bytes and a run of elements, each a type, a size and data; an array is an
element of elements: its class, sides, name and values, which lie column by column and may be
stored in a smaller type than their own. Cells and structs hold arrays. A variable may be packed
by zlib, and is then unpacked to a temporary file. (MathWorks, *MAT-File Format*, chapter 1.)
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import ENTRY, allowance_for
from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor
from kolmo.checkpoints.compressed import unpacked
from kolmo.checkpoints.cursor import FieldCursor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.rebuilding import dense_strides
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Storage, Stored, Strided, memory_bytes
from kolmo.errors import InputError

_HEADER = 128
_WHAT = "a MATLAB file"
_DEEP = 32  # arrays within arrays
_SMALL = 1 << 16  # bytes of a packed variable that are kept in memory: files that are open are few

_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}  # fmt: skip
_MATRIX, _PACKED = 14, 15
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8",
            15: "u8"}  # fmt: skip
_CELL, _STRUCT, _OBJECT = 1, 2, 3
_OTHERS = {4: "text", 5: "a sparse array", 16: "a function", 17: "an object"}
_LOGICAL, _COMPLEX = 0x200, 0x800


def open_matlab(file: File) -> Checkpoint:
    """The arrays of numbers of all variables, as in ``layers.0.weights.1``.

    Raises
    ------
    InputError
        If the file is damaged, or holds no array of numbers.
    """
    order = "<" if file.head(_HEADER)[126:] == b"IM" else ">"
    reader = _MatReader(order, file.stored)
    cursor = FieldCursor(file.stored, _WHAT, _HEADER)
    variable = 0
    while cursor.left >= 8:
        element = reader.element(cursor)
        reader.read(element, f"variable{variable}", 0)
        variable += 1
    if not reader.tensors:
        held = ", ".join(f"{s.name[:40]} ({s.reason})" for s in reader.skipped[:5]) or "nothing"
        raise InputError(f"{file.where}: {_WHAT} without arrays of numbers; it holds {held}")
    return Checkpoint(
        reader.tensors.values(),
        source=file.where,
        format="MATLAB",
        skipped=reader.skipped,
        files=file.files,
    )


@dataclasses.dataclass(frozen=True)
class _Element:
    kind: int
    stored: Stored


class _MatReader:
    """Collects the arrays of a file, whose byte order it knows."""

    def __init__(self, order: str, stored: Stored) -> None:
        self.order = order
        self.tensors: dict[str, WeightTensor] = {}
        self.skipped: list[Skipped] = []
        self._charge = allowance_for(stored.where, stored.size).charge

    def element(self, cursor: FieldCursor) -> _Element:
        """The next element; one of 4 bytes or fewer has them in its tag."""
        (first,) = cursor.unpack(f"{self.order}I")
        if first >> 16:
            data = cursor.take(4)[: first >> 16]
            return _Element(first & 0xFFFF, memory_bytes(data, cursor.stored.where))
        (size,) = cursor.unpack(f"{self.order}I")
        begin = cursor.at
        cursor.skip(size)
        if first != _PACKED:  # the others end where 8 divides the place
            cursor.skip(min(-size % 8, cursor.left))
        return _Element(first, cursor.stored.part(begin, size))

    def read(self, element: _Element, name: str, depth: int) -> None:
        """Take an array, and all within it."""
        self._charge(ENTRY, len(name))
        cursor = FieldCursor(element.stored, _WHAT)
        if depth > _DEEP:
            raise cursor.damaged("arrays that lie deeper than those of any model")
        if element.kind == _PACKED:
            inner = FieldCursor(self._unpacked(element.stored), _WHAT)
            self.read(self.element(inner), name, depth + 1)
            if inner.left:
                raise cursor.damaged(f"variable {name[:60]!r} is packed with more than itself")
        elif element.kind == _MATRIX and cursor.left:
            self._array(cursor, name, depth)

    def _unpacked(self, packed: Stored) -> Stored:
        """A variable that is packed."""
        found = unpacked(packed, "zlib")
        if found.size > _SMALL:
            return found
        return memory_bytes(bytes(found.read(0, found.size)), packed.where)

    def _array(self, cursor: FieldCursor, name: str, depth: int) -> None:
        flags, _ = self._numbers(cursor, "u4", 2)
        sides = tuple(self._numbers(cursor, "i4"))
        own = bytes(self._bytes(cursor)).decode("utf-8", "replace")
        name, kind = own or name, flags & 0xFF
        if len(sides) > AXES or min(sides, default=0) < 0 or math.prod(sides) >= 1 << 60:
            raise cursor.damaged(f"variable {name[:60]!r} has impossible sides")
        if kind in (_CELL, _STRUCT, _OBJECT):
            self._container(cursor, name, kind, math.prod(sides), depth)
        elif kind in _CLASSES:
            self._matrix(cursor, name, flags, sides)
        else:
            reason = f"{_OTHERS.get(kind, 'an unknown kind of array')}, which is not read"
            self.skipped.append(Skipped(name, reason, math.prod(sides)))

    def _container(self, cursor: FieldCursor, name: str, kind: int, count: int, depth: int) -> None:
        """The arrays in a cell, by number, or in a struct, by field (and number, of several)."""
        if kind == _OBJECT:
            self._bytes(cursor)  # the name of its class
        fields = [""] if kind == _CELL else self._fields(cursor)
        if count * len(fields) * 8 > cursor.left:
            raise cursor.damaged(f"variable {name[:60]!r} claims {count:,} arrays")
        for number in range(count if fields else 0):
            above = f"{name}.{number}" if kind == _CELL or count > 1 else name
            for field in fields:
                inner = f"{above}.{field}" if field else above
                self.read(self.element(cursor), inner, depth + 1)

    def _fields(self, cursor: FieldCursor) -> list[str]:
        (width,) = self._numbers(cursor, "i4", 1)
        texts = bytes(self._bytes(cursor))
        if not 0 < width <= 256:
            raise cursor.damaged("its fields have no names")
        starts = range(0, len(texts), width)
        return [texts[at : at + width].split(b"\0")[0].decode("utf-8", "replace") for at in starts]

    def _matrix(self, cursor: FieldCursor, name: str, flags: int, sides: tuple[int, ...]) -> None:
        dtype = np.dtype(bool) if flags & _LOGICAL else np.dtype(_CLASSES[flags & 0xFF])
        parts = (f"{name}.real", f"{name}.imag") if flags & _COMPLEX else (name,)
        for part in parts:
            element = self.element(cursor)
            tensor = self._tensor(cursor, element, part, sides, dtype)
            if part in self.tensors:
                raise cursor.damaged(f"two variables are called {part[:60]!r}")
            self.tensors[part] = tensor

    def _tensor(
        self,
        cursor: FieldCursor,
        element: _Element,
        name: str,
        sides: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> WeightTensor:
        kept = np.dtype(_STORED.get(element.kind, "V1"))
        if kept.kind == "V" or element.stored.size != math.prod(sides) * kept.itemsize:
            raise cursor.damaged(f"variable {name[:60]!r} has {element.stored.size:,} bytes")
        storage = Storage(element.stored, "", self.order == ">")
        array = Strided(storage, kept, sides, dense_strides(sides, True))

        def load(start: int, stop: int) -> NDArray[Any]:
            with np.errstate(all="ignore"):
                return array.load(start, stop).astype(dtype, copy=False)

        return WeightTensor(name, sides, dtype, load)

    def _bytes(self, cursor: FieldCursor) -> bytes:
        stored = self.element(cursor).stored
        if stored.size > 1 << 20:
            raise cursor.damaged("a very long name")
        return bytes(stored.read(0, stored.size))

    def _numbers(self, cursor: FieldCursor, code: str, count: int | None = None) -> list[int]:
        data = self._bytes(cursor)
        size = np.dtype(code).itemsize
        if len(data) % size or count not in (None, len(data) // size):
            raise cursor.damaged("an array without its sides")
        return [int(n) for n in np.frombuffer(data, f"{self.order}{code}")]
