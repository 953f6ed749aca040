"""Orbax: trees of arrays of JAX, each array in zarr, in a folder or in an OCDBT database.

Old ones have a folder for each array and a msgpack file of small ones (``checkpoint``); T5X writes
such folders too. ``_METADATA`` tells the arrays of a tree from its plain numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from kolmo.checkpoints import magic
from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.flax import flax_entries
from kolmo.checkpoints.folders import File, Folder, SubFolder
from kolmo.checkpoints.json_text import load_json
from kolmo.checkpoints.msgpack import MsgpackError
from kolmo.checkpoints.ocdbt import MANIFEST, values_of
from kolmo.checkpoints.trees import tree_role
from kolmo.checkpoints.zarr import Values, arrays
from kolmo.errors import InputError

_TREE, _MSGPACK = "_METADATA", "checkpoint"
_DESCRIPTION = 1 << 26  # bytes of a tree's description at most

Entry = WeightTensor | Skipped


def open_orbax(folder: Folder) -> Checkpoint:
    """The arrays of a tree, by their paths with dots.

    Raises
    ------
    InputError
        If it is damaged, or leads out of its folder.
    """
    kinds = _kinds(folder)
    entries = [_placed(path, entry, kinds) for path, entry in _arrays(folder)]
    known = {entry.name for entry in entries}
    entries += [entry for entry in _small(folder) if entry.name not in known]
    if not entries:
        raise InputError(f"{folder.where}: an Orbax checkpoint without any array")
    return Checkpoint(
        [entry for entry in entries if isinstance(entry, WeightTensor)],
        source=folder.where,
        format="orbax",
        skipped=[entry for entry in entries if isinstance(entry, Skipped)],
        files=_files(folder),
    )


def open_orbax_items(folder: Folder) -> Checkpoint:
    """The trees that were saved together; names begin by the tree's, where there are several."""
    items = magic.orbax_items(folder)
    opened = {item: open_orbax(SubFolder(folder, item)) for item in items}
    if len(opened) == 1:
        return next(iter(opened.values()))
    tensors = [
        dataclasses.replace(
            tensor, name=f"{item}.{tensor.name}", role=tensor.role or tree_role([item])
        )
        for item, tree in opened.items()
        for tensor in tree.values()
    ]
    skipped = [
        dataclasses.replace(entry, name=f"{item}.{entry.name}")
        for item, tree in opened.items()
        for entry in tree.skipped
    ]
    files = [file for tree in opened.values() for file in tree.files]
    return Checkpoint(tensors, source=folder.where, format="orbax", skipped=skipped, files=files)


def _within(item: str, tensor: WeightTensor) -> WeightTensor:
    role = tensor.role or tree_role([item])
    return dataclasses.replace(tensor, name=f"{item}.{tensor.name}", role=role)


def _arrays(folder: Folder) -> Iterable[tuple[str, Entry]]:
    manifest = File(folder, MANIFEST)
    values: Values
    if manifest.exists:
        values = {key: lambda v=value: v for key, value in values_of(manifest).items()}  # type: ignore[misc]
    else:
        values = {name: lambda n=name: folder.stored(n) for name in folder.names()}  # type: ignore[misc]
    return arrays(values, folder.where)


def _placed(path: str, entry: Entry, kinds: dict[str, str]) -> Entry:
    name = path.replace("/", ".")
    if isinstance(entry, Skipped):
        return dataclasses.replace(entry, name=name)
    role = Role.OTHER if kinds.get(name) == "scalar" else tree_role(name.split("."))
    return dataclasses.replace(entry, name=name, role=role)


def _kinds(folder: Folder) -> dict[str, str]:
    """What the leaves of the tree were, by their names: ``jax.Array``, ``scalar``."""
    file = File(folder, _TREE)
    try:
        said = load_json(file.head(_DESCRIPTION), file.where) if file.exists else None
    except InputError:
        return {}
    tree = said.get("tree_metadata") if isinstance(said, dict) else None
    leaves = tree.values() if isinstance(tree, dict) else ()
    return {name: kind for leaf in leaves for name, kind in _leaf(leaf)}


def _leaf(leaf: Any) -> Iterable[tuple[str, str]]:
    keys = leaf.get("key_metadata") if isinstance(leaf, dict) else None
    value = leaf.get("value_metadata") if isinstance(leaf, dict) else None
    if isinstance(keys, list) and isinstance(value, dict):
        path = [str(key.get("key")) for key in keys if isinstance(key, dict)]
        yield ".".join(path), str(value.get("value_type"))


def _small(folder: Folder) -> list[Entry]:
    """The arrays of the msgpack file; what it says of the others are placeholders."""
    file = File(folder, _MSGPACK)
    if not file.exists:
        return []
    try:
        found = flax_entries(file)
    except MsgpackError:
        raise InputError(f"{file.where}: a damaged or truncated msgpack file") from None
    return [entry for entry in found if not (isinstance(entry, Skipped) and not entry.numel)]


def _files(folder: Folder) -> list[str]:
    paths = [folder.path(name) for name in folder.names()]
    return [path for path in paths if path]
