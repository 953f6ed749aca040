"""torch: modules in memory, and files that ``torch.save`` and ``torch.jit.save`` wrote.

A torch file is a zip archive of a pickle, ``data.pkl``, and one record for each storage that its
tensors are views of. The pickle is read as data (`kolmo.checkpoints.pickles`), so that nothing in
it runs and torch is not needed; the records are read in place. The program of a TorchScript
archive is not read, but for the lists of its parameters and buffers (`torch_script`): its
``data.pkl`` and ``constants.pkl`` hold the tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.base import Checkpoint, Role
from kolmo.checkpoints.containers import make_checkpoint
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.machine import Machine, PickleError, PickleReader
from kolmo.checkpoints.nests import Marked
from kolmo.checkpoints.pickles import load_pickle
from kolmo.checkpoints.stored import Storage, Stored
from kolmo.checkpoints.torch_legacy import TABLE
from kolmo.checkpoints.torch_rebuilding import checked, entry_size, storage_of
from kolmo.checkpoints.torch_script import mark_tensors
from kolmo.errors import InputError


def open_torch_zip(file: File) -> Checkpoint:
    """The model's weights in a torch file (the zip form), or in a TorchScript archive."""
    contents, what = read_torch_zip(file.archive)
    return make_checkpoint(contents, source=file.where, format="torch", what=what, files=file.files)


def read_torch_zip(archive: Archive) -> tuple[Any, str]:
    """The inert contents of a torch file, and what sort of file it is."""
    records = archive.names("data.pkl")
    if len(records) != 1:
        named = ", ".join(repr(name[:60]) for name in records[:3]) or "none"
        raise InputError(
            f"{archive.where}: a torch file has one record data.pkl, this has {len(records)}: "
            f"{named}"
        )
    folder = records[0].removesuffix("data.pkl")
    big = _is_big_endian(archive, f"{folder}byteorder")
    contents = _read_record(archive, folder, "data", big)
    if f"{folder}constants.pkl" not in archive:
        return contents, "a torch file"
    mark_tensors(contents, archive, folder)
    constants = _read_record(archive, folder, "constants", big)
    if constants:
        contents = {"": contents, "constants": constants}
    return contents, "a TorchScript archive"


def _is_big_endian(archive: Archive, name: str) -> bool:
    if name not in archive:
        return False
    record = archive.record(name)
    order = bytes(record.read(0, min(record.size, 16)))
    if order not in (b"little", b"big"):
        raise InputError(f"{archive.where}: the byte order {order!r} is not known; it is damaged")
    return order == b"big"


def _read_record(archive: Archive, folder: str, name: str, big: bool) -> Any:
    """The contents of ``data.pkl`` or ``constants.pkl``, whose storages lie in a folder beside."""
    record = archive.record(f"{folder}{name}.pkl")
    machine = Machine(PickleReader(record), TABLE, _storages(archive, f"{folder}{name}/", big))
    try:
        return load_pickle(machine)
    except PickleError as error:
        raise InputError(
            f"{archive.where}: a torch file whose pickle is damaged or truncated ({error})"
        ) from None


def _storages(archive: Archive, folder: str, big: bool) -> Callable[[Any], Storage]:
    known: dict[tuple[str, str], Storage] = {}

    def find(saved: Any) -> Storage:
        dtype, key, count = storage_of(saved)
        if (dtype, key) not in known:
            record = archive.record(folder + key)
            _check_count(checked(record, dtype, count, key), record, key, entry_size(dtype))
            known[dtype, key] = Storage(record, dtype, big)
        return known[dtype, key]

    return find


def _check_count(claimed: Stored, record: Stored, key: str, entry: int) -> None:
    """InputError if a storage leaves of its record more than torch can, the rest of an entry."""
    if record.size - claimed.size >= entry:
        raise InputError(
            f"{record.where}: storage {key!r} claims {claimed.size:,} bytes, its record has "
            f"{record.size:,}; it is damaged"
        )


# --- tensors in memory ----------------------------------------------------------------------


def open_module(module: Any) -> Checkpoint:
    """The parameters and persistent buffers of a live ``nn.Module``, without a copy of them."""
    name, parameters = type(module).__name__, {id(p) for p in module.parameters()}
    contents = {
        key: Marked(Role.WEIGHT if id(tensor) in parameters else Role.BUFFER, tensor)
        for key, tensor in module.state_dict(keep_vars=True).items()
    }
    return make_checkpoint(contents, source=name, format="module")
