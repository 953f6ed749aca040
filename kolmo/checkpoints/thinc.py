"""thinc's models (``model`` files, ``model.to_bytes()``) and spaCy's pipelines, which hold some.

A model is msgpack: a list of nodes with their names, and for each its parameters; an array is a
map of its dtype, shape and bytes (https://github.com/explosion/thinc, thinc/model.py;
https://github.com/explosion/srsly for the arrays). A node around a model of torch keeps that
model's state as a torch file. A pipeline is a folder with a model for each of its components, and
word vectors in numpy's format (https://spacy.io/api/data-formats).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor
from kolmo.checkpoints.containers import Found, gather
from kolmo.checkpoints.folders import File, Folder
from kolmo.checkpoints.msgpack import MsgpackError, unpack
from kolmo.checkpoints.numpy import open_npy
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored, memory_bytes, stored_tensor
from kolmo.checkpoints.torch import read_torch_zip
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError

MAGIC = b"\x84\xa5nodes"
"""How a model begins."""

_WHAT = "a thinc model (spaCy)"
_ZIP, _NPY = b"PK\x03\x04", b"\x93NUMPY"
_VECTORS = "vocab/vectors"


def open_thinc(file: File) -> Checkpoint:
    """The parameters of all nodes, as in ``1.relu.W``.

    Raises
    ------
    InputError
        If the file is damaged, or a model without parameters.
    """
    tensors, skipped = _model(file.stored)
    if not tensors:
        raise InputError(f"{file.where}: {_WHAT} without parameters")
    return Checkpoint(tensors, source=file.where, format="thinc", skipped=skipped, files=file.files)


def open_pipeline(folder: Folder) -> Checkpoint:
    """The models of all components, as in ``ner.1.relu.W``, and the word vectors.

    Raises
    ------
    InputError
        If one of them is damaged, or none has parameters.
    """
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    files: list[str] = []
    components = _models(folder)
    for component in components:
        file = File(folder, f"{component}/model")
        found, left = _model(file.stored)
        tensors += [dataclasses.replace(t, name=f"{component}.{t.name}") for t in found]
        skipped += [dataclasses.replace(s, name=f"{component}.{s.name}") for s in left]
        files += file.files
    vectors = File(folder, _VECTORS)
    if vectors.exists and vectors.head().startswith(_NPY):
        named = open_npy(vectors).values()
        tensors += [dataclasses.replace(t, name="vocab.vectors") for t in named if t.numel]
        files += vectors.files
    if not tensors:
        raise InputError(f"{folder.where}: a pipeline of spaCy whose components have no parameters")
    used = {tensor.name.partition(".")[0] for tensor in tensors}
    networks = [component for component in components if component in used]
    return Checkpoint(
        tensors,
        source=folder.where,
        format="spaCy",
        skipped=skipped,
        files=files,
        networks=networks if len(networks) > 1 else (),
    )


def _models(folder: Folder) -> list[str]:
    names = [name.split("/") for name in folder.names()]
    return [parts[0] for parts in names if len(parts) == 2 and parts[1] == "model"]


def _model(stored: Stored) -> Found:
    if not stored.size:
        return [], []
    model = _unpacked(stored)
    nodes, params, shims = (_list(model, key) for key in ("nodes", "params", "shims"))
    if not len(nodes) == len(params) == len(shims) or not nodes:
        raise _wrong(stored, "its nodes have not each their parameters")
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    for number, (node, named, inner) in enumerate(zip(nodes, params, shims, strict=True)):
        name = f"{number}.{str(_map(node).get('name', 'node'))[:200]}"
        for found, left in (_arrays(stored, name, _map(named)), _shims(stored, name, inner)):
            tensors += found
            skipped += left
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise _wrong(stored, "two parameters have one name")
    return tensors, skipped


def _unpacked(stored: Stored) -> Any:
    try:
        return unpack(stored)
    except MsgpackError as error:
        raise _wrong(stored, str(error)) from None


def _arrays(stored: Stored, name: str, params: dict[Any, Any]) -> Found:
    """The parameters of a node; one that was never set is None."""
    arrays = {f"{name}.{str(key)[:200]}": value for key, value in params.items()}
    return [_array(stored, k, v) for k, v in arrays.items() if v is not None], []


def _array(stored: Stored, name: str, value: Any) -> WeightTensor:
    keys = _map(value)
    data, dtype, sides = keys.get("data"), _dtype(keys.get("type")), _sides(keys.get("shape"))
    if keys.get("nd") is not True or dtype is None or sides is None:
        raise _wrong(stored, f"parameter {name!r} is no array")
    if not isinstance(data, (bytes, Stored)):
        raise _wrong(stored, f"parameter {name!r} has no bytes")
    values = memory_bytes(data, stored.where) if isinstance(data, bytes) else data
    if math.prod(sides) * dtype.itemsize != values.size:
        raise _wrong(stored, f"parameter {name!r} has {values.size:,} bytes for {list(sides)}")
    return stored_tensor(values, name, sides, dtype)


def _dtype(code: Any) -> np.dtype[Any] | None:
    text = code.decode("ascii", "replace") if isinstance(code, bytes) else code
    kinds = {dtype.str[1:]: dtype for dtype in DTYPES.values() if dtype.kind in "fiub"}
    if not isinstance(text, str) or text[:1] not in ("<", ">", "|", "="):
        return None
    dtype = kinds.get(text[1:])
    return dtype.newbyteorder(">" if text[0] == ">" else "<") if dtype else None


def _sides(shape: Any) -> tuple[int, ...] | None:
    if not isinstance(shape, list) or len(shape) > AXES:
        return None
    return tuple(shape) if all(type(n) is int and 0 <= n < 1 << 48 for n in shape) else None


def _shims(stored: Stored, name: str, shims: Any) -> Found:
    """The parameters of models of torch within a node."""
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    for shim in shims if isinstance(shims, list) else []:
        for state in _states(shim, stored.where):
            if bytes(state.read(0, min(4, state.size))) != _ZIP:
                skipped.append(Skipped(f"{name}.shim", "the state of a model that is not of torch"))
                continue
            contents, _ = read_torch_zip(Archive(state))
            found, left = gather(contents, name, stored.where)
            tensors += found
            skipped += left
    return tensors, skipped


def _states(shim: Any, where: str) -> Iterator[Stored]:
    """The bytes of models that a shim keeps, in a map with their settings."""
    held = memory_bytes(shim, where) if isinstance(shim, bytes) else shim
    if not isinstance(held, Stored):
        return
    for value in _map(_unpacked(held)).values():
        if isinstance(value, (bytes, Stored)):
            yield memory_bytes(value, where) if isinstance(value, bytes) else value


def _list(model: Any, key: str) -> list[Any]:
    found = _map(model).get(key)
    return found if isinstance(found, list) else []


def _map(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _wrong(stored: Stored, why: str) -> InputError:
    return InputError(f"{stored.where}: {_WHAT} that is damaged or truncated ({why})")
