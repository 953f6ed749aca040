"""Flax: nests of arrays in msgpack, as ``flax.serialization`` writes them.

An array is an extension of number 1 (a scalar of numpy: 3) that holds its shape, the name of its
dtype and its bytes; one of over a gigabyte is a map of pieces. Large models come as shards with an
index, ``flax_model.msgpack.index.json``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import charge_entry
from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.json_text import load_json
from kolmo.checkpoints.msgpack import Extension, MsgpackError, unpack
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored, memory_bytes, stored_tensor
from kolmo.checkpoints.trees import tree_role
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError

_PIECES = "__msgpack_chunked_array__"
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_HEADER = 1 << 12  # bytes of an array's shape and dtype at most
_INDEX = 1 << 26  # bytes of an index at most

Entry = WeightTensor | Skipped


def open_flax(file: File) -> Checkpoint | None:
    """The arrays of a nest, by their paths with dots; None if it is no nest of arrays.

    Raises
    ------
    InputError
        If a file that is called ``.msgpack`` is damaged.
    """
    try:
        entries = flax_entries(file)
    except MsgpackError as error:
        if not file.name.endswith(".msgpack"):
            return None
        raise InputError(f"{file.where}: a damaged or truncated msgpack file ({error})") from None
    tensors = [entry for entry in entries if isinstance(entry, WeightTensor)]
    if not tensors and not any(isinstance(entry, Skipped) and entry.numel for entry in entries):
        return None
    return Checkpoint(
        tensors,
        source=file.where,
        format="flax",
        skipped=[entry for entry in entries if isinstance(entry, Skipped)],
        files=file.files,
    )


def flax_entries(file: File) -> list[Entry]:
    """The arrays of a nest and what is no array in it; MsgpackError if it is damaged."""
    contents = unpack(file.stored)
    return list(_entries(contents, (), file.where)) if isinstance(contents, dict) else []


def open_flax_index(file: File) -> Checkpoint:
    """The arrays of all shards that an index names.

    Raises
    ------
    InputError
        If the index is damaged, or a shard lacks what it should hold, or lies elsewhere.
    """
    wanted = _shards(file)
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    files = list(file.files)
    for shard, names in sorted(wanted.items()):
        beside = file.beside(shard)
        opened = open_flax(beside) if beside.exists else None
        if opened is None:
            raise InputError(f"{file.where}: its shard {shard!r} is missing, or no Flax file")
        lacking = sorted(names - set(opened) - {entry.name for entry in opened.skipped})
        if lacking:
            raise InputError(f"{file.where}: {lacking[0]!r} should be in {shard!r}, and is not")
        tensors += opened.values()
        skipped += opened.skipped
        files += opened.files
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise InputError(f"{file.where}: two shards hold an array of one name")
    return Checkpoint(tensors, source=file.where, format="flax", skipped=skipped, files=files)


def _shards(file: File) -> dict[str, set[str]]:
    """The names in each shard, with dots."""
    contents = load_json(file.head(_INDEX), file.where, "the index")
    weight_map = contents.get("weight_map") if isinstance(contents, dict) else None
    found: dict[str, set[str]] = {}
    for name, shard in weight_map.items() if isinstance(weight_map, dict) else ():
        found.setdefault(str(shard), set()).add(name.replace("/", "."))
    if not found:
        raise InputError(f"{file.where}: an index has a 'weight_map' of names to shards")
    return found


def _entries(contents: Any, path: tuple[str, ...], where: str) -> Iterator[Entry]:
    """The arrays of a nest, in its order, and what is no array."""
    name = ".".join(path)
    charge_entry(name)
    if isinstance(contents, dict) and contents.get(_PIECES) is True:
        yield _in_pieces(name, contents, tree_role(path), where)
    elif isinstance(contents, Extension) and contents.code in (_ARRAY, _SCALAR):
        yield _array(name, contents, tree_role(path), where)
    elif isinstance(contents, dict) or (isinstance(contents, list) and _holds_more(contents)):
        pairs = contents.items() if isinstance(contents, dict) else enumerate(contents)
        for key, value in pairs:
            yield from _entries(value, (*path, str(key)), where)
    elif contents is not None:
        yield Skipped(name, f"not an array but {_kind(contents)}")


def _holds_more(values: list[Any]) -> bool:
    return any(isinstance(value, (dict, list, Extension)) for value in values)


def _kind(value: Any) -> str:
    if isinstance(value, Extension):
        return "a complex number" if value.code == _COMPLEX else f"extension {value.code}"
    return {Stored: "bytes", list: "a list of settings"}.get(type(value), type(value).__name__)


def _array(name: str, extension: Extension, role: Role | None, where: str) -> Entry:
    shape, dtype_name, values = _header(extension)
    dtype = DTYPES.get(dtype_name)
    if dtype is None:
        return Skipped(name, f"dtype {dtype_name[:40]} is not supported", math.prod(shape))
    if values.size != math.prod(shape) * dtype.itemsize:
        raise InputError(
            f"{where}: array {name!r} has {values.size:,} bytes, which is not {dtype_name} {shape}"
        )
    little = dtype.newbyteorder("<")
    return dataclasses.replace(stored_tensor(values, name, shape, little), role=role)


def _header(extension: Extension) -> tuple[tuple[int, ...], str, Stored]:
    """Shape, dtype and bytes of an array, which lie one after the other in a list."""
    contents = unpack(extension.stored)
    if not isinstance(contents, list) or len(contents) != 3:
        raise MsgpackError("an array without shape, dtype and bytes")
    shape, dtype, values = contents
    if not isinstance(shape, list) or len(shape) > AXES or not all(map(_is_side, shape)):
        raise MsgpackError("an array whose shape is none")
    if isinstance(values, bytes):
        values = memory_bytes(values, extension.stored.where)
    if not isinstance(values, Stored):
        raise MsgpackError("an array without bytes")
    name = dtype.decode("utf-8", "replace") if isinstance(dtype, bytes) else str(dtype)
    return tuple(shape), name, values


def _is_side(side: Any) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 1 << 62


def _in_pieces(name: str, contents: Mapping[str, Any], role: Role | None, where: str) -> Entry:
    """One array of many bytes, cut into flat pieces."""
    shape, parts = _numbered(contents.get("shape")), _numbered(contents.get("chunks"))
    if not all(map(_is_side, shape)) or len(shape) > AXES:
        raise MsgpackError("an array in pieces without its shape")
    made = [_array(name, part, role, where) for part in parts if isinstance(part, Extension)]
    pieces = [piece for piece in made if isinstance(piece, WeightTensor)]
    if len(pieces) != len(parts) or len({piece.dtype for piece in pieces}) != 1:
        return Skipped(name, "an array in pieces that do not fit together", math.prod(shape))
    if sum(piece.numel for piece in pieces) != math.prod(shape):
        raise InputError(f"{where}: array {name!r} has other pieces than its shape {shape}")
    return WeightTensor(name, tuple(shape), pieces[0].dtype, _joined(pieces), role=role)


def _numbered(values: Any) -> list[Any]:
    """A list that is kept as a map from its numbers."""
    found = values if isinstance(values, dict) else {}
    return [found[str(at)] for at in range(len(found)) if str(at) in found]


def _joined(pieces: Sequence[WeightTensor]) -> Callable[[int, int], NDArray[Any]]:
    """Loads runs of entries across pieces that follow each other."""
    ends = np.cumsum([piece.numel for piece in pieces]).tolist()

    def load(start: int, stop: int) -> NDArray[Any]:
        parts = [np.empty(0, pieces[0].dtype)]
        for piece, end in zip(pieces, ends, strict=True):
            begin = end - piece.numel
            low, high = max(start, begin), min(stop, end)
            if low < high:
                parts.append(piece.load(low - begin, high - begin))
        return np.concatenate(parts)

    return load
