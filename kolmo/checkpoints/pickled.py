"""Plain pickles of arrays, joblib's files, and archives around torch files (NeMo, torch of 2017).

All are read as data, as `kolmo.checkpoints.pickles` says. joblib writes the values of an array
right after the object that describes it, between two opcodes of the pickle.
"""

from __future__ import annotations

import tarfile
from typing import Any

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.base import Checkpoint
from kolmo.checkpoints.compressed import compression_of, unpacked
from kolmo.checkpoints.containers import collect
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.inert import Dtype, LeftOut, Record
from kolmo.checkpoints.machine import Machine, PickleError, PickleReader
from kolmo.checkpoints.pickles import load_pickle
from kolmo.checkpoints.rebuilding import dense_strides, plain_dtype, sides
from kolmo.checkpoints.stored import Storage, Stored, Strided
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
_TAR_AT, _TAR = 257, b"ustar"
_MODEL = (".ckpt", ".pt", ".pth", ".bin", ".pkl")

Contents = tuple[Any, str]
"""What a file holds, inert, and what sort of file it is."""


def open_pickled(file: File) -> Checkpoint | None:
    """The weights of a pickle, a joblib file or a tar of torch files; None for other files."""
    read = read_pickled(file.stored)
    if read is None:
        return None
    contents, what = read
    tensors, skipped = collect(contents, file.where, what)
    form = "torch" if "torch" in what else "joblib" if "joblib" in what else "pickle"
    return Checkpoint(tensors, source=file.where, format=form, skipped=skipped, files=file.files)


def read_pickled(stored: Stored, depth: int = 0) -> Contents | None:
    """The inert contents of such a file, also within another; None if it is none of these."""
    head = bytes(stored.read(0, min(stored.size, 512)))
    if head.startswith(LEGACY_MAGIC):
        return read_torch_legacy(stored), "a torch file (of before 1.6)"
    if head[:1] == b"\x80" and head[1:2] and head[1] < 6:
        return _read_pickle(stored)
    if head[_TAR_AT:].startswith(_TAR) and depth < 2:
        return _read_tar(stored, depth)
    if head.startswith(b"PK\x03\x04") and depth:
        return read_torch_zip(Archive(stored))
    if head.startswith(_OLD_JOBLIB):
        raise InputError(
            f"{stored.where}: a compressed joblib file of before 0.10, which is not read; load it "
            f"with joblib and dump it again"
        )
    if (form := compression_of(head)) and depth < 2:
        inner = read_pickled(unpacked(stored, form), depth + 1)
        return inner and (inner[0], f"{inner[1]} (compressed by {form})")
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
    if isinstance(shape, LeftOut) or isinstance(found, str):
        raise InputError(
            f"{reader.stored.where}: a joblib file that holds an array which is not supported "
            f"({shape.reason if isinstance(shape, LeftOut) else found}), beyond which it cannot be "
            f"read; load it with joblib and save its arrays by numpy.savez"
        )
    if state.get("numpy_array_alignment_bytes") is not None:
        reader.skip(reader.number(1))
    dtype, big = found
    array = Strided(
        Storage(None, "", big), dtype, shape, dense_strides(shape, state.get("order") == "F")
    )
    begin, size = reader.position, array.numel * dtype.itemsize
    reader.skip(size)
    array.storage.stored = reader.stored.part(begin, size)
    return array


# --- tar ------------------------------------------------------------------------------------


def _read_tar(stored: Stored, depth: int) -> Contents:
    """What a tar archive holds: a torch file of 2017, or one checkpoint, as NeMo's have."""
    members = _tar_members(stored)
    if {"pickle", "tensors", "storages"} <= set(members):
        return read_torch_tar(members, stored.where), "a torch file (of 2017)"
    models = [name for name in members if name.endswith(_MODEL)]
    models = [name for name in models if name.endswith("model_weights.ckpt")] or models
    if len(models) != 1:
        named = ", ".join(repr(name[:60]) for name in (models or list(members))[:5]) or "nothing"
        raise InputError(
            f"{stored.where}: a tar archive that holds {len(models)} checkpoints, not one "
            f"({named}); unpack it, and name a file"
        )
    read = read_pickled(members[models[0]], depth + 1)
    if read is None:
        raise InputError(
            f"{stored.where}: a tar archive, whose {models[0][:60]!r} is no torch file; unpack it"
        )
    return read[0], f"a tar archive of {read[1]}"


def _tar_members(stored: Stored) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    try:
        with stored.open() as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if not member.isreg() or member.issparse():
                    continue
                if name in found:
                    raise InputError(
                        f"{stored.where}: two members of the archive are called {name[:60]!r}"
                    )
                found[name] = stored.part(member.offset_data, member.size)
    except InputError:
        raise
    except (tarfile.TarError, ValueError, LookupError, OSError, EOFError, ArithmeticError) as error:
        raise InputError(f"{stored.where}: a damaged or truncated tar archive ({error})") from None
    return found
