"""numpy: ``.npy`` and ``.npz`` files; pickled objects in them are read as data, never made."""

from __future__ import annotations

import dataclasses
import io
import lzma
import math
import shutil
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import UNPACKED, allowance_for
from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor
from kolmo.checkpoints.checksums import checked
from kolmo.checkpoints.compressed import kept_file, spooled
from kolmo.checkpoints.containers import (
    Found,
    dtype_name,
    gather,
    is_supported,
    make_checkpoint,
)
from kolmo.checkpoints.files import native_dtype
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.inert import LeftOut
from kolmo.checkpoints.narrow import of_parts
from kolmo.checkpoints.nests import TooDeepError
from kolmo.checkpoints.pickled import read_objects
from kolmo.checkpoints.rebuilding import dense_strides, sides
from kolmo.checkpoints.stored import Storage, Stored, Strided, stored_tensor
from kolmo.dtypes import DTYPES, PARTS
from kolmo.errors import InputError
from kolmo.temporary import nameless_file

_UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
               NotImplementedError, MemoryError)  # fmt: skip

_EXPANSION = 1032  # times its size that a member may hold: the most that deflate packs
_KEPT = 4  # members that stay unpacked
_HEADER = 1 << 20  # bytes of a header at most; numpy refuses far shorter ones

_VERSIONS = {(1, 0), (2, 0), (3, 0)}

Header = tuple[tuple[int, ...], bool, np.dtype[Any]]


def open_npy(file: File) -> Checkpoint:
    """One array, named after the file."""
    stored, where = file.stored, file.where
    with stored.open() as opened:
        shape, fortran, dtype = _read_header(opened, where)
        values = stored.part(opened.tell(), stored.size - opened.tell())
    if dtype.kind == "O":
        return _open_objects(file, values)
    claimed = math.prod(shape) * dtype.itemsize
    if not _is_read(dtype):
        raise InputError(
            f"{where}: dtype {dtype_name(dtype)} is not supported; weights are numbers or booleans"
        )
    if claimed != values.size:
        raise InputError(
            f"{where}: the header claims {claimed:,} bytes of values, the file has {values.size:,}"
        )
    name = PurePosixPath(file.name).stem
    tensor = _placed(values, name, shape, fortran, dtype)
    remarks = _guess(name, dtype)
    return Checkpoint([tensor], source=where, format="npy", skipped=remarks, files=file.files)


def _placed(
    stored: Stored, name: str, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]
) -> WeightTensor:
    """The tensor whose bytes these are."""
    if not fortran or len(shape) < 2:
        return _in_parts(stored_tensor(stored, name, shape, dtype))
    found = native_dtype(dtype)
    storage = Storage(stored, big=dtype.str.startswith(">"))
    array = Strided(storage, found, shape, dense_strides(shape, fortran=True))
    array = array.in_parts() if found.name in PARTS else array
    return WeightTensor(name, array.shape, array.dtype, array.loader)


def _in_parts(tensor: WeightTensor) -> WeightTensor:
    """Complex numbers as their parts, any others as they are."""
    part = PARTS.get(tensor.dtype.name)
    return of_parts(tensor, part) if part is not None else tensor


def _is_read(dtype: np.dtype[Any]) -> bool:
    return is_supported(dtype) or dtype.name in PARTS


def _open_objects(file: File, values: Stored) -> Checkpoint:
    """The arrays among the objects of an array, such as one dict of weights."""
    contents = read_objects(values, file.where)
    what = "a numpy array of objects"
    return make_checkpoint(contents, source=file.where, format="npy", what=what, files=file.files)


def open_npz(file: File) -> Checkpoint:
    """The arrays of an archive, in its order."""
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    unpacked = _Unpacked(file.stored)
    with _unzipped(file.stored) as archive:
        _check_expansion(file, archive)
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                skipped.append(Skipped(info.filename, "no array but another file of the archive"))
                continue
            found, others = _open_member(file, archive, info, unpacked)
            tensors += found
            skipped += others
    where, names = file.where, {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        raise InputError(f"{where}: two arrays have the same name")
    if not tensors:
        held = "; it holds " + ", ".join(f"{s.name!r} ({s.reason})" for s in skipped[:3])
        raise InputError(f"{where}: there is no array of numbers in it{held if skipped else ''}")
    return Checkpoint(tensors, source=where, format="npz", skipped=skipped, files=file.files)


def _check_expansion(file: File, archive: zipfile.ZipFile) -> None:
    """InputError if the compressed members claim far more than the file may hold."""
    packed = [info for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
    claimed = sum(info.file_size for info in packed)
    allowance_for(file.where, file.stored.size).unpack(claimed, file.where)


@contextmanager
def _unzipped(stored: Stored) -> Iterator[zipfile.ZipFile]:
    """The archive; its own errors, and those in reading it, as an InputError."""
    try:
        with stored.open() as opened, zipfile.ZipFile(opened) as archive:
            yield archive
    except InputError:
        raise
    except (*_UNREADABLE, ValueError) as error:
        raise InputError(f"{stored.where}: a damaged or truncated zip archive ({error})") from None


def _open_member(
    file: File, archive: zipfile.ZipFile, info: zipfile.ZipInfo, unpacked: _Unpacked
) -> Found:
    """The tensors of a member, one or, of an array of objects, any; and what is left out."""
    name, where = info.filename.removesuffix(".npy"), f"{file.where}: array {info.filename!r}"
    try:
        with archive.open(info) as member:
            shape, fortran, dtype = _read_header(member, where)
            offset = member.tell()
            if dtype.kind == "O":
                return _objects(spooled(member, where, info.compress_size), name, where, shape)
    except _UNREADABLE as error:
        raise InputError(f"{where} cannot be read ({error})") from None
    if not _is_read(dtype):
        reason = f"dtype {dtype_name(dtype)} is not supported"
        return [], [Skipped(name, reason, math.prod(shape))]
    claimed = math.prod(shape) * dtype.itemsize
    if info.file_size - offset != claimed:
        raise InputError(f"{where} claims {claimed:,} bytes, it has {info.file_size - offset:,}")
    if info.compress_type == zipfile.ZIP_STORED:
        if info.file_size > file.stored.size:
            raise InputError(f"{where} claims more than the file holds")
        record = dataclasses.replace(
            file.archive.record(info.filename), what=f"the values of {name!r}"
        )
        values = checked(record, offset, info.CRC).part(offset, claimed)
        return [_placed(values, name, shape, fortran, dtype)], _guess(name, dtype)

    if info.file_size > _EXPANSION * info.compress_size + UNPACKED:
        return [], [Skipped(name, "claims far more than its bytes can hold", math.prod(shape))]

    def load(start: int, stop: int) -> NDArray[Any]:
        values = unpacked.member(info, where).part(offset, claimed)
        return _placed(values, name, shape, fortran, dtype).load(start, stop)

    like = _placed(_nothing(claimed, where), name, shape, fortran, dtype)
    return [WeightTensor(name, like.shape, like.dtype, load)], _guess(name, dtype)


def _guess(name: str, dtype: np.dtype[Any]) -> list[Skipped]:
    """A remark on a bfloat16, of which numpy stores the bytes and not the dtype."""
    is_guessed = dtype.name == "bfloat16"
    reason = "2 bytes a number without a dtype, read as bfloat16"
    return [Skipped(name, reason)] if is_guessed else []


def _objects(stored: Stored, name: str, where: str, shape: tuple[int, ...]) -> Found:
    try:
        tensors, skipped = gather(read_objects(stored, where), name, where)
    except TooDeepError as error:
        raise InputError(f"{where}: {error}") from None
    if not tensors and not any(entry.numel for entry in skipped):
        skipped = [Skipped(name, "an array of objects, none of them an array", math.prod(shape))]
    return tensors, skipped


class _Unpacked:
    """The members of an archive that were unpacked last, in temporary files.

    Each is unpacked once, however many pieces of it are read.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored, self._lock = stored, threading.Lock()
        self._archive: zipfile.ZipFile | None = None
        self._kept: OrderedDict[str, Stored] = OrderedDict()

    def member(self, info: zipfile.ZipInfo, where: str) -> Stored:
        """The bytes of a member."""
        with self._lock:
            if info.filename not in self._kept:
                self._kept[info.filename] = self._unpack(info, where)
            self._kept.move_to_end(info.filename)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[info.filename]

    def _unpack(self, info: zipfile.ZipInfo, where: str) -> Stored:
        """Disk is taken for what is there, not for what is claimed."""
        try:
            if self._archive is None:
                self._archive = zipfile.ZipFile(self._stored.open())
            with self._archive.open(info) as member, nameless_file() as spool:
                shutil.copyfileobj(member, spool, 1 << 20)
                size = spool.tell()
                spool.flush()
                if size != info.file_size:
                    raise InputError(f"{where} is truncated")
                return kept_file(spool, size, where)
        except _UNREADABLE as error:
            raise InputError(f"{where} cannot be read ({error})") from None


def _nothing(size: int, where: str) -> Stored:
    """Bytes that are never read, for the form of a tensor."""
    return Stored(lambda offset, size: b"", 0, size, where)


def _read_header(file: IO[bytes], where: str) -> Header:
    try:
        shape, fortran, dtype = _parsed_header(file)
    except Exception as error:  # numpy parses it as Python and lets any of its errors through
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{where}: not a sound .npy header ({reason[:200]})") from None
    try:
        found = sides(shape)
    except TypeError:
        raise InputError(f"{where}: a shape of {shape} does not exist") from None
    if isinstance(found, LeftOut):
        raise InputError(f"{where}: {found.reason}")
    return found, fortran, _named(dtype)


def _parsed_header(file: IO[bytes]) -> Header:
    """The header as numpy parses it, and float8_e5m2, which numpy writes and does not parse."""
    version = npy.read_magic(file)
    if version not in _VERSIONS:
        raise ValueError(f"its version {version[0]}.{version[1]} is none of 1.0, 2.0 and 3.0")
    size = file.read(2 if version == (1, 0) else 4)
    text = file.read(min(int.from_bytes(size, "little"), _HEADER))
    known = text.replace(b"'<f1'", b"'<V1'")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(io.BytesIO(size + known))
    return shape, fortran, dtype if known == text else DTYPES["float8_e5m2"]


def _named(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a file, which says of a bfloat16, and of nothing else, that it has two bytes."""
    is_void = dtype.kind == "V" and dtype.names is None and dtype.subdtype is None
    return DTYPES["bfloat16"] if is_void and dtype.itemsize == 2 else dtype
