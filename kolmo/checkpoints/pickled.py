"""Plain pickles of arrays, joblib's files, and torch files of before 2020.

All are read as data, as `kolmo.checkpoints.pickles` says. joblib writes the values of an array
right after the object that describes it, between two opcodes of the pickle.
"""

from __future__ import annotations

import math
import re
from typing import Any

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.inert import Dtype, LeftOut, Record
from kolmo.checkpoints.machine import Machine, PickleError, PickleReader
from kolmo.checkpoints.magic import ZIP, is_tar
from kolmo.checkpoints.pickles import load_pickle
from kolmo.checkpoints.rebuilding import dense_strides, plain_dtype, sides
from kolmo.checkpoints.stored import Storage, Stored, Strided
from kolmo.checkpoints.tars import tar_members
from kolmo.checkpoints.torch import read_torch_zip
from kolmo.checkpoints.torch_legacy import (
    LEGACY_MAGIC,
    TABLE,
    read_torch_legacy,
    read_torch_tar,
)
from kolmo.errors import InputError

_JOBLIB = "joblib.numpy_pickle.NumpyArrayWrapper"
_OLD_JOBLIB = b"ZF0x"
_TEXT_STARTS = b"(]}lcdIFSVN"  # how a pickle of protocol 0 or 1, which has no mark, may begin
_NESTED = 8  # pickles within pickles

Contents = tuple[Any, str]
"""What a file holds, inert, and what sort of file it is."""


def read_torch(stored: Stored) -> Contents | None:
    """The inert contents of a torch file of any version, or of a pickle; None for other files."""
    if bytes(stored.read(0, min(stored.size, len(ZIP)))) == ZIP:
        return read_torch_zip(Archive(stored))
    return read_pickled(stored)


def read_pickled(stored: Stored) -> Contents | None:
    """The inert contents of a pickle, a joblib file or an old torch file; None for other files."""
    head = bytes(stored.read(0, min(stored.size, 512)))
    if head.startswith(LEGACY_MAGIC):
        return read_torch_legacy(stored), "a torch file (of before 1.6)"
    if head[:1] == b"\x80" and head[1:2] and head[1] < 6:
        return _read_pickle(stored)
    if is_tar(head):
        return read_torch_tar(tar_members(stored), stored.where), "a torch file (of 2017)"
    if head.startswith(_OLD_JOBLIB):
        raise InputError(
            f"{stored.where}: a compressed joblib file of before 0.10, which is not read; load it "
            f"with joblib and dump it again"
        )
    return _read_text_pickle(stored, head)


def read_objects(stored: Stored, where: str) -> Any:
    """The inert contents of a numpy array of objects."""
    try:
        return load_pickle(_machine(PickleReader(stored)))
    except PickleError as error:
        raise InputError(
            f"{where}: an array of objects whose pickle is damaged or truncated ({error})"
        ) from None


def _read_pickle(stored: Stored) -> Contents:
    machine = _machine(PickleReader(stored))
    try:
        contents = load_pickle(machine)
    except PickleError as error:
        raise InputError(
            f"{stored.where}: {machine.what} that is damaged or truncated ({error})"
        ) from None
    return contents, machine.what


def _read_text_pickle(stored: Stored, head: bytes) -> Contents | None:
    """A pickle of protocol 0 or 1; None if it is not one: nothing marks them but that they run."""
    if head[:1] not in [bytes([letter]) for letter in _TEXT_STARTS] or stored.size < 2:
        return None
    if bytes(stored.read(stored.size - 1, 1)) not in (b".", b"\n"):
        return None
    try:
        return load_pickle(_machine(PickleReader(stored))), "a Python pickle"
    except PickleError:
        return None


# --- joblib ---------------------------------------------------------------------------------


class _JoblibMachine(Machine):
    what = "a Python pickle"


def _machine(reader: PickleReader, depth: int = 0) -> _JoblibMachine:
    return _JoblibMachine(reader, TABLE, built={_JOBLIB: _wrapped}, depth=depth)


def _wrapped(machine: Machine, record: Record) -> Any:
    """The array whose values follow in the stream; the place moves on past them."""
    if isinstance(machine, _JoblibMachine):
        machine.what = "a joblib file"
    state = record.state
    if not isinstance(state, dict) or not isinstance(state.get("dtype"), Dtype):
        raise PickleError("an array of joblib without its dtype")
    shape, found, reader = sides(state.get("shape")), plain_dtype(state["dtype"]), machine.reader
    if found == "objects":
        if machine.depth >= _NESTED:
            raise PickleError("pickles within pickles, too deep")
        return load_pickle(_machine(reader, machine.depth + 1))
    width = _width(state["dtype"]) if isinstance(found, str) else found[0].itemsize
    if isinstance(shape, LeftOut) or not width:
        raise InputError(
            f"{reader.stored.where}: a joblib file that holds an array which is not supported "
            f"({shape.reason if isinstance(shape, LeftOut) else found}), beyond which it cannot be "
            f"read; load it with joblib and save its arrays by numpy.savez"
        )
    if state.get("numpy_array_alignment_bytes") is not None:
        reader.skip(reader.number(1))
    if isinstance(found, str):
        reader.skip(math.prod(shape) * width)
        return LeftOut(f"{found} is not supported", math.prod(shape))
    dtype, big = found
    array = Strided(
        Storage(None, "", big), dtype, shape, dense_strides(shape, state.get("order") == "F")
    )
    begin, size = reader.position, array.numel * dtype.itemsize
    reader.skip(size)
    array.storage.stored = reader.stored.part(begin, size)
    return array


def _width(dtype: Dtype) -> int:
    """Bytes of an entry of a dtype that is not supported; 0 where that is not known."""
    matched = re.fullmatch(r"[<>=|]?([VSUMmcf])([0-9]{1,9})", dtype.code)
    return int(matched[2]) * (4 if matched[1] == "U" else 1) if matched else 0
