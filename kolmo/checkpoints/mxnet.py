"""MXNet: ``.params`` and ``.nd``, what ``mx.nd.save`` and Gluon's ``save_parameters`` write.

A file is a list of arrays and a list of their names; each array has its shape, where it was, its
dtype and its values (Apache MXNet, src/ndarray/ndarray.cc: ``NDArray::Save``). The layout of an
array has had four versions. Names of a symbol's file begin with ``arg:`` for parameters and
``aux:`` for running statistics.
"""

from __future__ import annotations

import dataclasses
import math
import struct

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Role, WeightTensor
from kolmo.checkpoints.cursor import FieldCursor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import stored_tensor
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError

MAGIC = struct.pack("<QQ", 0x112, 0)
"""How a file begins."""

_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool", "int16",
           "uint16", "uint32", "uint64", "bfloat16")  # fmt: skip


def open_mxnet(file: File) -> Checkpoint:
    """The arrays of a file, under their names or numbers.

    Raises
    ------
    InputError
        If the file is damaged, or holds a sparse array.
    """
    cursor = FieldCursor(file.stored, "an MXNet file", len(MAGIC))
    (count,) = cursor.unpack("<Q")
    if count > cursor.left // 8:
        raise cursor.damaged(f"it claims {count:,} arrays")
    arrays = [_array(cursor, str(number)) for number in range(count)]
    names = _names(cursor, count)
    tensors = [
        _named(array, name) for array, name in zip(arrays, names, strict=True) if array is not None
    ]
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise cursor.damaged("two arrays have one name")
    if not tensors:
        raise InputError(f"{file.where}: an MXNet file without arrays")
    return Checkpoint(tensors, source=file.where, format="MXNet", files=file.files)


def _array(cursor: FieldCursor, name: str) -> WeightTensor | None:
    """The next array; None for one that was never filled."""
    (version,) = cursor.unpack("<I")
    if version in (_V2, _V3) and cursor.unpack("<i") != (0,):
        raise InputError(
            f"{cursor.stored.where}: an MXNet file with a sparse array, which is not read; convert "
            f"it by  array.tostype('default')  and save it again"
        )
    shape = _shape(cursor, version)
    if shape is None:
        return None
    _, _, code = cursor.unpack("<3i")  # the device, its number, the dtype
    if not 0 <= code < len(_DTYPES):
        raise cursor.damaged(f"array {name} has a dtype of number {code}")
    dtype = DTYPES[_DTYPES[code]].newbyteorder("<")
    size = math.prod(shape) * dtype.itemsize
    if size > cursor.left:
        raise cursor.damaged(f"array {name} claims {size:,} bytes")
    tensor = stored_tensor(cursor.stored, name, shape, np.dtype(dtype), cursor.at)
    cursor.skip(size)
    return tensor


def _shape(cursor: FieldCursor, version: int) -> tuple[int, ...] | None:
    """The sides of an array; None where it was never filled, so that nothing follows."""
    is_old = version not in (_V1, _V2, _V3)
    (axes,) = (version,) if is_old else cursor.unpack("<i")
    if axes == (-1 if version == _V3 else 0):
        return None
    if not 0 <= axes <= AXES:
        raise cursor.damaged(f"an array of {axes:,} axes")
    shape = cursor.unpack(f"<{axes}{'I' if is_old else 'q'}")
    if min(shape, default=0) < 0:
        raise cursor.damaged("an array with a negative side")
    return shape


def _names(cursor: FieldCursor, count: int) -> list[str]:
    (named,) = cursor.unpack("<Q")
    if named not in (0, count):
        raise cursor.damaged(f"{named:,} names for {count:,} arrays")
    names = [str(number) for number in range(count)]
    for number in range(named):
        (length,) = cursor.unpack("<Q")
        names[number] = cursor.take(min(length, cursor.left + 1)).decode("utf-8", "replace")
    return names


def _named(tensor: WeightTensor, name: str) -> WeightTensor:
    role = Role.BUFFER if name.startswith("aux:") else None
    plain = name.removeprefix("arg:").removeprefix("aux:") or name
    return dataclasses.replace(tensor, name=plain, role=role)
