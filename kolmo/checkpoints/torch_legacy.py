"""torch files of before 1.6 (2020), and those of 2017, read without torch and without running them.

Before 1.6: one file of five pickles (a magic number, the protocol, the machine that wrote it, the
contents, the keys of the storages), then each storage: a count of 8 bytes and its entries. In
2017: a tar archive of ``storages``, ``tensors`` and ``pickle``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kolmo.checkpoints.inert import Global
from kolmo.checkpoints.machine import Machine, PickleError, PickleReader
from kolmo.checkpoints.pickles import load_pickle
from kolmo.checkpoints.stored import Storage, Stored, memory_bytes
from kolmo.checkpoints.torch_rebuilding import (
    TORCH,
    checked,
    entry_size,
    storage_dtype,
    storage_of,
    torch_tensor_of,
)
from kolmo.errors import InputError

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a torch file of before 1.6 begins: a pickled number."""

_NESTED = 4  # files within files, at most


def read_torch_legacy(stored: Stored, depth: int = 0) -> Any:
    """The inert contents of a torch file of before 1.6."""
    reader = PickleReader(stored, len(LEGACY_MAGIC))
    storages: dict[str, Storage] = {}
    counts: dict[str, int] = {}
    try:
        load_pickle(Machine(reader, TABLE))
        load_pickle(Machine(reader, TABLE))  # what wrote it; the values are little-endian from any
        find = _finder(storages, counts)
        contents = load_pickle(Machine(reader, TABLE, find, depth=depth))
        keys = load_pickle(Machine(reader, TABLE))
    except PickleError as error:
        raise InputError(
            f"{stored.where}: a torch file (of before 1.6) whose pickle is damaged or truncated "
            f"({error})"
        ) from None
    for key in keys if isinstance(keys, (list, tuple)) else []:
        _place(reader, storages, counts, str(key))
    for key, storage in storages.items():
        if storage.stored is None:
            raise InputError(f"{stored.where}: storage {key!r} is missing; the file is truncated")
    return contents


def _finder(storages: dict[str, Storage], counts: dict[str, int]) -> Callable[[Any], Any]:
    """Answers references to storages, whose bytes come after the pickle."""

    def find(saved: Any) -> Any:
        if isinstance(saved, tuple) and len(saved) > 1 and saved[0] == "module":
            return saved[1]  # a class, beside its source code
        dtype, key, count = storage_of(saved)
        view = saved[5] if len(saved) > 5 else None
        storage = storages.setdefault(key, Storage(None, dtype))
        counts[key] = max(counts.get(key, 0), count)
        return _View(storage, view, dtype) if view is not None else storage

    return find


class _View(Storage):
    """Entries of a storage that begin later; resolved with it."""

    def __init__(self, root: Storage, view: Any, dtype: str) -> None:
        _, self._offset, self._count = view
        if not all(type(n) is int and 0 <= n < 1 << 60 for n in (self._offset, self._count)):
            raise TypeError("no view")
        self._root, self.dtype, self.big = root, dtype, root.big

    @property
    def stored(self) -> Stored | None:  # type: ignore[override]
        whole, size = self._root.stored, entry_size(self.dtype)
        return whole and whole.part(self._offset * size, self._count * size)


def _place(
    reader: PickleReader, storages: dict[str, Storage], counts: dict[str, int], key: str
) -> None:
    """Find the bytes of the next storage in the file."""
    storage, where = storages.get(key), reader.stored.where
    if storage is None or storage.stored is not None:
        raise InputError(f"{where}: storage {key[:80]!r} belongs to no tensor, or comes twice")
    try:
        count = reader.number(8)
    except PickleError:
        raise InputError(f"{where}: storage {key!r} is missing; the file is truncated") from None
    if count < counts[key]:
        raise InputError(f"{where}: storage {key!r} has {count:,} of {counts[key]:,} entries")
    rest = reader.stored.part(reader.position, reader.left)
    storage.stored = checked(rest, storage.dtype, count, key)
    reader.skip(storage.stored.size)


def _from_bytes(machine: Machine, data: Any) -> Any:
    """A storage that was pickled by itself, as a torch file in bytes."""
    where = machine.reader.stored.where
    stored = data if isinstance(data, Stored) else memory_bytes(bytes(data), where)
    machine.charge(0, stored.size)
    if machine.depth >= _NESTED or not _begins(stored, LEGACY_MAGIC):
        raise TypeError("no torch file")
    return read_torch_legacy(stored, machine.depth + 1)


def _begins(stored: Stored, magic: bytes) -> bool:
    return stored.size > len(magic) and bytes(stored.read(0, len(magic))) == magic


TABLE = {**TORCH, "torch.storage._load_from_bytes": _from_bytes}
"""All that is rebuilt, torch files within pickles included."""


# --- 2017 -----------------------------------------------------------------------------------


def read_torch_tar(members: dict[str, Stored], where: str) -> Any:
    """The inert contents of a torch file of 2017, of the members of its tar archive."""
    try:
        storages = _tar_storages(PickleReader(members["storages"]))
        known: dict[str, Any] = {
            **storages,
            **_tar_tensors(PickleReader(members["tensors"]), storages),
        }

        def find(saved: Any) -> Any:
            return saved[0] if isinstance(saved, tuple) else known[str(saved)]

        return load_pickle(Machine(PickleReader(members["pickle"]), TABLE, find))
    except (PickleError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{where}: a torch file (of 2017) whose pickle is damaged or truncated ({error})"
        ) from None


def _tar_storages(reader: PickleReader) -> dict[str, Storage]:
    storages: dict[str, Storage] = {}
    for _ in range(_count(reader)):
        key, _location, kind = load_pickle(Machine(reader, TABLE))
        dtype, count = storage_dtype(kind), reader.number(8)
        rest = reader.stored.part(reader.position, reader.left)
        storages[str(key)] = Storage(checked(rest, dtype, count, str(key)), dtype)
        reader.skip(count * entry_size(dtype))
    for view in load_pickle(Machine(reader, TABLE)):
        target, root, offset, count = view
        whole = storages[str(root)]
        storages[str(target)] = _View(whole, (target, offset, count), whole.dtype)
    return storages


def _tar_tensors(reader: PickleReader, storages: dict[str, Storage]) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    for _ in range(_count(reader)):
        key, root, kind = load_pickle(Machine(reader, TABLE))
        axes = reader.number(8) & 0xFFFFFFFF  # 4 bytes count; 4 more were written beside them
        if not isinstance(kind, Global) or axes * 16 > reader.left:
            raise PickleError("a tensor of more axes than there are bytes")
        size = tuple(reader.number(8) for _ in range(axes))
        stride = tuple(reader.number(8) for _ in range(axes))
        storage, offset = storages[str(root)], reader.number(8)
        tensors[str(key)] = torch_tensor_of(storage, storage.dtype, offset, size, stride)
    return tensors


def _count(reader: PickleReader) -> int:
    count = load_pickle(Machine(reader, TABLE))
    if type(count) is not int or not 0 <= count <= reader.left:
        raise PickleError("a count that is none")
    return count
