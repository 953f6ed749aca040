"""numpy: ``.npy`` and ``.npz`` files; pickled objects in them are read as data, never made."""

from __future__ import annotations

import lzma
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor, array_tensor
from kolmo.checkpoints.compressed import spooled
from kolmo.checkpoints.containers import Found, gather, is_supported, make_checkpoint
from kolmo.checkpoints.files import file_tensor, native, native_dtype
from kolmo.checkpoints.inert import LeftOut
from kolmo.checkpoints.nests import TooDeepError
from kolmo.checkpoints.pickled import read_objects
from kolmo.checkpoints.rebuilding import sides
from kolmo.checkpoints.stored import Stored, file_bytes
from kolmo.errors import InputError

NPY_MAGIC = npy.MAGIC_PREFIX

_UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
               NotImplementedError)  # fmt: skip

Header = tuple[tuple[int, ...], bool, np.dtype[Any]]


def open_npy(path: Path) -> Checkpoint:
    """One array, named after the file."""
    with open(path, "rb") as file:
        shape, fortran, dtype = _read_header(file, str(path))
        offset = file.tell()
    if dtype.kind == "O":
        return _open_objects(path, offset)
    claimed, there = math.prod(shape) * dtype.itemsize, os.path.getsize(path) - offset
    if not is_supported(dtype):
        raise InputError(f"{path}: dtype {dtype} is not supported; weights are numbers or booleans")
    if claimed != there:
        raise InputError(
            f"{path}: the header claims {claimed:,} bytes of values, the file has {there:,}"
        )
    name = path.stem
    if fortran and len(shape) > 1:
        mapped = (
            np.memmap(path, dtype, "r", offset, shape, "F") if claimed else np.empty(shape, dtype)
        )
        tensor = array_tensor(name, mapped)
    else:
        tensor = file_tensor(path, name, shape, dtype, offset)
    return Checkpoint([tensor], source=str(path), format="npy", files=[str(path)])


def _open_objects(path: Path, offset: int) -> Checkpoint:
    """The arrays among the objects of an array, such as one dict of weights."""
    stored = file_bytes(path)
    contents = read_objects(stored.part(offset, stored.size - offset), str(path))
    what = "a numpy array of objects"
    return make_checkpoint(contents, source=str(path), format="npy", what=what, files=[str(path)])


def open_npz(path: Path, archive: zipfile.ZipFile) -> Checkpoint:
    """The arrays of an archive, in its order."""
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    for info in archive.infolist():
        found, others = _open_member(path, archive, info)
        tensors += found
        skipped += others
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        raise InputError(f"{path}: two arrays have the same name")
    if not tensors:
        held = "; it holds " + ", ".join(f"{s.name!r} ({s.reason})" for s in skipped[:3])
        raise InputError(f"{path}: there is no array of numbers in it{held if skipped else ''}")
    return Checkpoint(tensors, source=str(path), format="npz", skipped=skipped, files=[str(path)])


def _open_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Found:
    """The tensors of a member, one or, of an array of objects, any; and what is left out."""
    name, where = info.filename.removesuffix(".npy"), f"{path}: array {info.filename!r}"
    try:
        with archive.open(info) as member:
            shape, fortran, dtype = _read_header(member, where)
            offset = member.tell()
            if dtype.kind == "O":
                return _objects(spooled(member, where, info.compress_size), name, where, shape)
    except _UNREADABLE as error:
        raise InputError(f"{where} cannot be read ({error})") from None
    if not is_supported(dtype):
        return [], [Skipped(name, f"dtype {dtype} is not supported", math.prod(shape))]
    claimed = math.prod(shape) * dtype.itemsize
    if info.file_size - offset != claimed:
        raise InputError(f"{where} claims {claimed:,} bytes, it has {info.file_size - offset:,}")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size > os.path.getsize(path):
        raise InputError(f"{where} claims more than the file holds")

    def load(start: int, stop: int) -> NDArray[Any]:
        if fortran:  # its row-major order is all over the member
            whole = _read_member(path, info, offset, claimed, where)
            return native(np.frombuffer(whole, dtype).reshape(shape, order="F").ravel()[start:stop])
        begin, size = offset + start * dtype.itemsize, (stop - start) * dtype.itemsize
        return native(np.frombuffer(_read_member(path, info, begin, size, where), dtype))

    return [WeightTensor(name, shape, native_dtype(dtype), load)], []


def _objects(stored: Stored, name: str, where: str, shape: tuple[int, ...]) -> Found:
    try:
        tensors, skipped = gather(read_objects(stored, where), name, where)
    except TooDeepError as error:
        raise InputError(f"{where}: {error}") from None
    if not tensors and not any(entry.numel for entry in skipped):
        skipped = [Skipped(name, "an array of objects, none of them an array", math.prod(shape))]
    return tensors, skipped


def _read_member(path: Path, info: zipfile.ZipInfo, offset: int, size: int, where: str) -> bytes:
    """Bytes of a member; memory grows with what is there, not with what is claimed."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(info) as member:
            member.seek(offset)
            data = member.read(size)
    except _UNREADABLE as error:
        raise InputError(f"{where} cannot be read ({error})") from None
    if len(data) != size:
        raise InputError(f"{where} is truncated")
    return data


def _read_header(file: IO[bytes], where: str) -> Header:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # numpy parses it as Python and lets any of its errors through
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{where}: not a sound .npy header ({reason[:200]})") from None
    try:
        found = sides(shape)
    except TypeError:
        raise InputError(f"{where}: a shape of {shape} does not exist") from None
    if isinstance(found, LeftOut):
        raise InputError(f"{where}: {found.reason}")
    return found, fortran, dtype
