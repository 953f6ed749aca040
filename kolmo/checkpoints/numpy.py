"""numpy: ``.npy`` and ``.npz`` files; pickled objects in them are read as data, never made."""

from __future__ import annotations

import functools
import io
import lzma
import math
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor
from kolmo.checkpoints.compressed import check_expansion, spooled
from kolmo.checkpoints.containers import (
    Found,
    dtype_name,
    gather,
    is_supported,
    make_checkpoint,
)
from kolmo.checkpoints.files import native, native_dtype
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.inert import LeftOut
from kolmo.checkpoints.narrow import of_parts
from kolmo.checkpoints.nests import TooDeepError
from kolmo.checkpoints.pickled import read_objects
from kolmo.checkpoints.rebuilding import dense_strides, sides
from kolmo.checkpoints.stored import Storage, Stored, Strided, stored_tensor
from kolmo.dtypes import DTYPES, PARTS
from kolmo.errors import InputError

_UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
               NotImplementedError)  # fmt: skip

_HEADER = 1 << 20  # bytes of a header at most; numpy refuses far shorter ones

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
    return Checkpoint([tensor], source=where, format="npy", files=file.files)


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
    return WeightTensor(name, array.shape, array.dtype, array.load)


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
    with _unzipped(file.stored) as archive:
        _check_expansion(file, archive)
        for info in archive.infolist():
            found, others = _open_member(file, archive, info)
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
    """InputError if the compressed members claim far more than the file has."""
    packed = [info for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
    check_expansion(file.where, file.stored.size, sum(info.file_size for info in packed))


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


def _open_member(file: File, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Found:
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
        values = file.archive.record(info.filename).part(offset, claimed)
        return [_placed(values, name, shape, fortran, dtype)], []

    member = _Member(file.stored, info, where)
    if fortran and len(shape) > 1:  # its row-major order is all over the member
        return [_placed(member.kept(offset, claimed), name, shape, fortran, dtype)], []

    def load(start: int, stop: int) -> NDArray[Any]:
        begin, size = offset + start * dtype.itemsize, (stop - start) * dtype.itemsize
        return native(np.frombuffer(member.read(begin, size), dtype))

    return [_in_parts(WeightTensor(name, shape, native_dtype(dtype), load))], []


def _objects(stored: Stored, name: str, where: str, shape: tuple[int, ...]) -> Found:
    try:
        tensors, skipped = gather(read_objects(stored, where), name, where)
    except TooDeepError as error:
        raise InputError(f"{where}: {error}") from None
    if not tensors and not any(entry.numel for entry in skipped):
        skipped = [Skipped(name, "an array of objects, none of them an array", math.prod(shape))]
    return tensors, skipped


class _Member:
    """The bytes of a compressed member, which come in order: what lies further on is read on to,
    what lies before from its beginning."""

    def __init__(self, stored: Stored, info: zipfile.ZipInfo, where: str) -> None:
        self._stored, self._info, self._where = stored, info, where
        self._opened: IO[bytes] | None = None
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        """These bytes; memory grows with what is there, not with what is claimed."""
        with self._lock:
            try:
                member = self._open(offset)
                member.seek(offset)
                data = member.read(size)
            except _UNREADABLE as error:
                self._opened = None
                raise InputError(f"{self._where} cannot be read ({error})") from None
        if len(data) != size:
            raise InputError(f"{self._where} is truncated")
        return data

    def _open(self, offset: int) -> IO[bytes]:
        if self._opened is None or self._opened.tell() > offset:
            archive = zipfile.ZipFile(self._stored.open())
            self._opened = archive.open(self._info)
        return self._opened

    def kept(self, offset: int, size: int) -> Stored:
        """These bytes for reading in any order, from a temporary file that is made when needed."""

        @functools.cache
        def whole() -> Stored:
            with (
                self._lock,
                zipfile.ZipFile(self._stored.open()) as archive,
                archive.open(self._info) as member,
            ):
                return spooled(member, self._where, self._stored.size)

        def fetch(start: int, count: int) -> bytes | bytearray | memoryview:
            try:
                return whole().read(start, count)
            except _UNREADABLE as error:
                raise InputError(f"{self._where} cannot be read ({error})") from None

        return Stored(fetch, offset, size, self._where)


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
