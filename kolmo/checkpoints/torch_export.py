"""torch.export archives (.pt2): the weights of an exported program, whose graph is not read.

Since torch 2.8 each weight is a record, and a JSON file says its shape, dtype and strides; before,
the archive held a whole torch file of the state dict.
"""

from __future__ import annotations

import math
from typing import Any

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.base import Checkpoint, Role
from kolmo.checkpoints.containers import make_checkpoint
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.inert import CodedArray, LeftOut
from kolmo.checkpoints.json_text import load_json
from kolmo.checkpoints.nests import Marked
from kolmo.checkpoints.rebuilding import sides
from kolmo.checkpoints.stored import Storage, Strided
from kolmo.checkpoints.torch import read_torch_zip
from kolmo.checkpoints.torch_rebuilding import checked, torch_tensor_of
from kolmo.errors import InputError

_WEIGHTS = "data/weights/model_weights_config.json"  # the list of weights, today
_STATE = "serialized_state_dict.pt"  # the torch file of weights, before torch 2.8
_CONSTANTS = "data/constants/model_constants_config.json"
_JSON_LIMIT = 1 << 26
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16",
    28: "uint16", 29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip


def open_torch_export(file: File) -> Checkpoint:
    """The weights, and the constant tensors, of an exported program."""
    archive = file.archive
    contents: dict[str, Any] = {}
    for record in archive.names(_STATE):
        contents, _ = read_torch_zip(Archive(archive.record(record)))
    for config in (*archive.names(_WEIGHTS), *archive.names(_CONSTANTS)):
        contents |= _listed(archive, config)
    what = "a torch.export archive"
    return make_checkpoint(contents, source=file.where, format="torch", what=what, files=file.files)


def _listed(archive: Archive, config: str) -> dict[str, Any]:
    """The tensors that a JSON file lists, which lie beside it."""
    record, folder = archive.record(config), config.rpartition("/")[0]
    if record.size > _JSON_LIMIT:
        raise InputError(f"{archive.where}: record {config!r} is too long for what it is")
    try:
        entries = load_json(bytes(record.read(0, record.size)), archive.where, config)["config"]
        return {
            name: _marked(entry, _weight(archive, folder, name, entry))
            for name, entry in entries.items()
        }
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{archive.where}: record {config!r} is no list of weights ({type(error).__name__})"
        ) from None


def _marked(entry: dict[str, Any], value: Strided | CodedArray | LeftOut) -> Any:
    """A tensor with its role; those of a program traced without saying so have none."""
    if "is_param" not in entry:
        return value
    return Marked(Role.WEIGHT if entry["is_param"] else Role.BUFFER, value)


def _weight(
    archive: Archive, folder: str, name: str, entry: dict[str, Any]
) -> Strided | CodedArray | LeftOut:
    meta = entry["tensor_meta"]
    size = [_integer(side) for side in meta["sizes"]]
    if entry.get("use_pickle"):
        shape = sides(size)
        numel = shape.numel if isinstance(shape, LeftOut) else math.prod(shape)
        return LeftOut("pickled by itself within the archive", numel)
    dtype = _DTYPES.get(meta["dtype"], f"number {meta['dtype']}")
    record = archive.record(f"{folder}/{entry['path_name']}")
    storage = Storage(checked(record, "uint8", record.size, name), dtype)
    strides, offset = [_integer(step) for step in meta["strides"]], meta["storage_offset"]
    return torch_tensor_of(storage, dtype, _integer(offset), size, strides)


def _integer(number: dict[str, Any]) -> int:
    found = number["as_int"]
    if type(found) is not int or found < 0:
        raise ValueError("no size")
    return found
