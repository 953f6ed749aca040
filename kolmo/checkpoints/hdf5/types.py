"""Datatypes, dataspaces and attributes: what the numbers of a dataset are."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.hdf5.headers import Hdf5Message, resolved
from kolmo.checkpoints.hdf5.heaps import global_object
from kolmo.checkpoints.hdf5.source import Hdf5Cursor, Hdf5Source, damaged

FIXED, FLOAT, STRING, BITS, OPAQUE, COMPOUND, REFERENCE, ENUM, VARIABLE = 0, 1, 3, 4, 5, 6, 7, 8, 9
"""Classes of datatypes."""

_AXES = 32  # as in the library
_VERSIONS = range(1, 6)  # of datatypes
_FIELDS = 1 << 12
_NESTED = 8
_TEXTS = 1 << 16  # of one attribute at most

# (bytes, exponent's first bit, its bits, mantissa's bits, bias); mantissas begin at bit 0.
_FLOATS: dict[tuple[int, ...], Any] = {
    (2, 10, 5, 10, 15): np.float16,
    (4, 23, 8, 23, 127): np.float32,
    (8, 52, 11, 52, 1023): np.float64,
    (2, 7, 8, 7, 127): ml_dtypes.bfloat16,
    (1, 3, 4, 3, 7): ml_dtypes.float8_e4m3fn,
    (1, 2, 5, 2, 15): ml_dtypes.float8_e5m2,
}


_COMPLEX = (["r", "i"], ["real", "imag"])  # fields of a complex number, by h5py and by MATLAB
_OTHERS = {STRING: "text", BITS: "fields of bits", REFERENCE: "references", 10: "arrays"}


@dataclasses.dataclass(frozen=True)
class Datatype:
    """A datatype: its class, its bytes, the numpy dtype of numbers, and what it is of others."""

    kind: int
    size: int
    dtype: np.dtype[Any] | None
    what: str
    base: Datatype | None = None
    is_text: bool = False


def datatype(source: Hdf5Source, message: Hdf5Message) -> Datatype:
    """The datatype that a message describes."""
    return _datatype(resolved(source, message).cursor(source.where), 0)


def _datatype(cursor: Hdf5Cursor, depth: int) -> Datatype:
    first, bits, size = cursor.number(1), cursor.number(3), cursor.number(4)
    kind, version = first & 15, first >> 4
    if depth > _NESTED or version not in _VERSIONS:
        raise damaged(cursor.where)
    order = ">" if bits & 1 else "<"
    if kind == FIXED:
        return Datatype(
            kind, size, _integer(cursor, bits, size, order), f"an odd {8 * size}-bit integer"
        )
    if kind == FLOAT:
        return Datatype(
            kind, size, _float(cursor, bits, size, order), f"an odd {8 * size}-bit float"
        )
    if kind == ENUM:
        return _enum(cursor, version, bits & 0xFFFF, size, depth)
    if kind == COMPOUND:
        return _compound(cursor, version, bits & 0xFFFF, size, depth)
    if kind == VARIABLE:
        base = _datatype(cursor, depth + 1)
        what = "text" if bits & 15 == 1 else "lists of different lengths"
        return Datatype(kind, size, None, what, base, bits & 15 == 1)
    if kind == OPAQUE:
        cursor.take(bits & 0xFF)
        return Datatype(kind, size, None, f"{size} bytes without a dtype")
    names = {
        STRING: "text",
        BITS: "fields of bits",
        REFERENCE: "references",
        10: "arrays of arrays",
    }
    return Datatype(kind, size, None, names.get(kind, f"datatype {kind}"), is_text=kind == STRING)


def _integer(cursor: Hdf5Cursor, bits: int, size: int, order: str) -> np.dtype[Any] | None:
    if (cursor.number(2), cursor.number(2)) != (0, 8 * size) or size not in (1, 2, 4, 8):
        return None
    return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")


def _float(cursor: Hdf5Cursor, bits: int, size: int, order: str) -> np.dtype[Any] | None:
    offset, precision = cursor.number(2), cursor.number(2)
    at, exponent, begin, mantissa = (cursor.number(1) for _ in range(4))
    form = _FLOATS.get((size, at, exponent, mantissa, cursor.number(4)))
    sound = (offset, precision, begin, bits >> 8 & 0xFF) == (0, 8 * size, 0, 8 * size - 1)
    if form is None or not sound or bits & 0x40:
        return None
    dtype: np.dtype[Any] = np.dtype(form)
    return dtype.newbyteorder(">" if order == ">" else "<")


def _enum(cursor: Hdf5Cursor, version: int, count: int, size: int, depth: int) -> Datatype:
    base = _datatype(cursor, depth + 1)
    names = []
    for _ in range(count):
        begin = cursor.at
        names.append(cursor.text())
        if version < 3:
            cursor.at = begin
            cursor.take(-(-(len(names[-1].encode()) + 1) // 8) * 8)
    is_bool = names == ["FALSE", "TRUE"] and cursor.rest()[: 2 * size] == b"\0\1" and size == 1
    return Datatype(ENUM, size, np.dtype(bool) if is_bool else base.dtype, "names", base)


def _compound(cursor: Hdf5Cursor, version: int, count: int, size: int, depth: int) -> Datatype:
    """A table's row, or a complex number."""
    names, parts = [], []
    for _ in range(min(count, _FIELDS)):
        begin = cursor.at
        names.append(cursor.text())
        if version < 3:
            cursor.at = begin + -(-(cursor.at - begin) // 8) * 8
        cursor.take(4 if version < 3 else _bytes_of(size))
        if version == 1:
            cursor.take(28)
        part = _datatype(cursor, depth + 1)
        parts.append(part)
        if part.kind not in (FIXED, FLOAT):
            break
    what = f"a table with fields {', '.join(repr(name[:40]) for name in names[:4])}"
    first = parts[0].dtype if parts else None
    is_complex = names in _COMPLEX and first in (np.dtype("<f4"), np.dtype("<f8"))
    if is_complex and parts[1].dtype == first and size == 2 * parts[0].size:
        return Datatype(COMPOUND, size, np.dtype(f"<c{size}"), what)
    return Datatype(COMPOUND, size, None, what)


def _bytes_of(most: int) -> int:
    return (max(1, most).bit_length() - 1) // 8 + 1


def dataspace(source: Hdf5Source, message: Hdf5Message) -> tuple[int, ...] | None:
    """The shape that a message describes; None of a dataset without any."""
    cursor = resolved(source, message).cursor(source.where)
    version, rank, _ = cursor.number(1), cursor.number(1), cursor.number(1)
    kind = cursor.number(1)
    if version == 1:
        cursor.take(4)
        kind = 1
    if version not in (1, 2) or rank > _AXES:
        raise damaged(source.where)
    return None if kind == 2 else tuple(cursor.number(source.length) for _ in range(rank))


def attribute(source: Hdf5Source, data: bytes) -> tuple[str, Any]:
    """An attribute's name and value: text, a number, an array, a list of texts, or None."""
    cursor = Hdf5Cursor(data, source.where)
    version, flags = cursor.number(1), cursor.number(1)
    if version not in (1, 2, 3):
        raise damaged(source.where)
    sizes = [cursor.number(2) for _ in range(3)]
    if version == 3:
        cursor.take(1)
    parts = []
    for size in sizes:
        parts.append(cursor.take(size))
        if version == 1:
            cursor.align()
    name = parts[0].split(b"\0")[0].decode("utf-8", "replace")
    kind = datatype(source, Hdf5Message(3, bool(flags & 1), parts[1]))
    shape = dataspace(source, Hdf5Message(1, bool(flags & 2), parts[2]))
    return name, None if shape is None else _value(source, kind, shape, cursor.rest())


def _value(source: Hdf5Source, kind: Datatype, shape: tuple[int, ...], data: bytes) -> Any:
    count = math.prod(shape)
    if count * kind.size > len(data):
        raise damaged(source.where)
    if kind.dtype is not None:
        numbers: NDArray[Any] = np.frombuffer(data, kind.dtype, count)
        return numbers.reshape(shape) if shape else numbers[0].item()
    if not kind.is_text or count > _TEXTS:
        return None
    cells = [data[at * kind.size : (at + 1) * kind.size] for at in range(count)]
    texts = [_text(source, kind, cell) for cell in cells]
    return texts if shape else texts[0]


def _text(source: Hdf5Source, kind: Datatype, cell: bytes) -> str:
    if kind.kind == VARIABLE:
        cursor = Hdf5Cursor(cell, source.where)
        size, at, index = cursor.number(4), cursor.number(source.offset), cursor.number(4)
        cell = global_object(source, at, index)[:size] if size else b""
    return cell.split(b"\0")[0].decode("utf-8", "replace")
