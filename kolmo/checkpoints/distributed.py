"""Folders of torch.distributed.checkpoint: ``.metadata`` and ``__0_0.distcp``, one or more a rank.

The metadata is a pickle that says of each tensor what boxes it was cut into, and where each lies:
file, offset and length. There lies a torch file of that box alone
(https://docs.pytorch.org/docs/stable/distributed.checkpoint.html). The pickle is read as data, and
a tensor is put together when it is read. FSDP, torchtitan and Megatron-Core write such folders.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.containers import is_supported
from kolmo.checkpoints.folders import File, Folder
from kolmo.checkpoints.inert import Global, LeftOut, Record
from kolmo.checkpoints.magic import ZIP
from kolmo.checkpoints.naming import is_training
from kolmo.checkpoints.pickled import read_pickled
from kolmo.checkpoints.pieces import Box, assembled
from kolmo.checkpoints.rebuilding import sides
from kolmo.checkpoints.stored import Stored, Strided
from kolmo.checkpoints.torch import read_torch_zip
from kolmo.checkpoints.torch_rebuilding import TORCH_DTYPES, dtype_name
from kolmo.errors import InputError

METADATA = ".metadata"
"""The file that says what lies where."""

_CLASS = "torch.distributed.checkpoint.metadata.Metadata"
_OPTIMIZER = re.compile(
    r"optim|optims|optimizers?|optimizer_states?|optim_state_dict|optimizer_\d+"
)

Places = dict[tuple[str, tuple[int, ...]], Stored]
"""The bytes of each box, by the tensor's name and where the box begins."""


def open_distributed(folder: Folder) -> Checkpoint:
    """The model's tensors; the optimizer's, and what is no tensor, are left out.

    Raises
    ------
    InputError
        If the metadata is damaged, or a file that it names is missing or too short.
    """
    file = File(folder, METADATA)
    metadata = _read_metadata(file)
    try:
        found = _entries(file, metadata)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file.where}: no sound metadata of a distributed checkpoint ({type(error).__name__})"
        ) from None
    tensors = [made for made in found if isinstance(made, WeightTensor)]
    if not tensors:
        raise InputError(
            f"{folder.where}: a distributed checkpoint with no tensor of a model in it "
            f"({len(found):,} entries, such as {found[0].name[:80]!r})"
            if found
            else f"{folder.where}: a distributed checkpoint with nothing in it"
        )
    names = [name for name in folder.names() if name == METADATA or name.endswith(".distcp")]
    return Checkpoint(
        tensors,
        source=folder.where,
        format="torch",
        skipped=[made for made in found if isinstance(made, Skipped)],
        files=[path for name in names for path in File(folder, name).files],
    )


def _read_metadata(file: File) -> Mapping[str, Any]:
    read = read_pickled(file.stored)
    contents = read[0] if read else None
    if not isinstance(contents, Record) or not isinstance(contents.state, dict):
        raise InputError(f"{file.where}: not the metadata of a distributed checkpoint")
    if contents.name != _CLASS:
        raise InputError(f"{file.where}: it describes a {contents.name[:80]!r}, not a checkpoint")
    return contents.state


def _entries(file: File, metadata: Mapping[str, Any]) -> list[WeightTensor | Skipped]:
    places = _places(file, metadata["storage_data"])
    paths = metadata.get("planner_data")
    paths = paths if isinstance(paths, dict) else {}
    return [
        _entry(file, str(name), described, places, _path(str(name), paths.get(name)))
        for name, described in metadata["state_dict_metadata"].items()
    ]


def _path(name: str, path: Any) -> tuple[str, ...]:
    """The keys under which an entry lay in the state dict."""
    return tuple(map(str, path)) if isinstance(path, tuple) and path else tuple(name.split("."))


def _places(file: File, storage: Mapping[Any, Record]) -> Places:
    """Where each box lies; InputError if it is not there."""
    files: dict[str, Stored] = {}
    found: Places = {}
    for key, info in storage.items():
        index = key.value.state
        name = info.state["relative_path"]
        if info.state.get("transform_descriptors"):
            raise InputError(
                f"{file.folder.where}: its tensors were transformed when they were saved, such as "
                f"compressed, which is not read; load it by torch and save it without extensions"
            )
        if name not in files:
            files[name] = file.beside(name).stored
        part = files[name].part(info.state["offset"], info.state["length"])
        found[index["fqn"], tuple(index.get("offset") or ())] = part
    return found


def _entry(
    file: File, name: str, described: Record, places: Places, path: tuple[str, ...]
) -> WeightTensor | Skipped:
    if not isinstance(described.state, dict) or "chunks" not in described.state:
        return Skipped(name, "an object that is no tensor", role=_role(path) or Role.OTHER)
    shape = sides(described.state["size"])
    if isinstance(shape, LeftOut):
        return Skipped(name, shape.reason, shape.numel)
    kind = _dtype_of(described.state["properties"])
    dtype = TORCH_DTYPES.get(kind)
    if dtype is None or not is_supported(dtype):
        return Skipped(name, f"dtype {kind} is not supported", math.prod(shape))
    boxes = [_box(name, chunk, dtype, places) for chunk in described.state["chunks"]]
    tensor = assembled(name, shape, dtype, boxes, file.folder.where)
    role = _role(path)
    if role is None:
        return tensor
    reason = "state of the optimizer" if role is Role.OPTIMIZER else "state of the training"
    return Skipped(name, reason, tensor.numel, role, tensor)


def _role(path: tuple[str, ...]) -> Role | None:
    """The role that the first keys tell: of an optimizer, or of a training's other state."""
    if any(_OPTIMIZER.fullmatch(key) for key in path):
        return Role.OPTIMIZER
    return Role.OTHER if is_training(path[0]) else None


def _dtype_of(properties: Record) -> str:
    state = properties.state
    dtype = state[0] if isinstance(state, tuple) else state["dtype"]
    return dtype_name(dtype) if isinstance(dtype, Global) else str(dtype)[:40]


def _box(name: str, chunk: Record, dtype: np.dtype[Any], places: Places) -> Box:
    begin, shape = chunk.state["offsets"], sides(chunk.state["sizes"])
    if isinstance(shape, LeftOut) or len(begin) != len(shape):
        raise ValueError("no box")
    if any(type(place) is not int or not 0 <= place < 1 << 62 for place in begin):
        raise ValueError("no place")
    return Box(tuple(begin), shape, _loader(places[name, tuple(begin)], shape, dtype))


def _loader(
    stored: Stored, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Callable[[int, int], NDArray[Any]]:
    """Reads a box, whose torch file is opened when it is first read."""

    @functools.cache
    def opened() -> Strided:
        if bytes(stored.read(0, min(stored.size, len(ZIP)))) != ZIP:
            raise InputError(
                f"{stored.where}: a shard that is no torch file, as distributed checkpoints have; "
                f"it is damaged, or was saved in another format"
            )
        found, _ = read_torch_zip(Archive(stored))
        if not isinstance(found, Strided) or (found.shape, found.dtype) != (shape, dtype):
            raise InputError(
                f"{stored.where}: a shard is not the tensor that the metadata say; it is damaged"
            )
        return found

    return lambda start, stop: opened().load(start, stop)
