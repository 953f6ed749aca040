"""Folders of several networks: pipelines of diffusers, models of sentence-transformers.

A pipeline has a folder for each of its parts, which ``model_index.json`` lists
(https://huggingface.co/docs/diffusers/using-diffusers/loading); ``modules.json`` lists those of a
sentence transformer, the first of which lies in the folder itself
(https://sbert.net/docs/sentence_transformer/usage/custom_models.html).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from kolmo.checkpoints.base import Checkpoint, Skipped
from kolmo.checkpoints.choosing import candidates, several
from kolmo.checkpoints.directories import checkpoint_folders, open_folder, open_plain
from kolmo.checkpoints.folders import File, Folder, SubFolder
from kolmo.checkpoints.json_text import load_json
from kolmo.errors import InputError
from kolmo.text import natural_key

_LIMIT = 1 << 22  # bytes of a list of parts, at most


def open_pipeline(folder: Folder) -> Checkpoint | None:
    """The networks of a pipeline, each under the name of its folder; None if none is there."""
    listed = _json(File(folder, "model_index.json"))
    listed = listed if isinstance(listed, dict) else {}
    parts = {
        name
        for name, kind in listed.items()
        if not name.startswith("_") and isinstance(kind, list) and any(kind)
    }
    found = {inner.name: inner for inner in checkpoint_folders(folder)}
    chosen = {name: inner for name, inner in found.items() if name in parts or not parts}
    if not chosen:
        return None
    beside = [
        Skipped(f"{name}/", "a folder that is no part of the pipeline")
        for name in found
        if name not in chosen
    ]
    beside += [Skipped(one.files[0], "beside the pipeline") for one in candidates(folder)]
    names = folder.names()
    beside += [
        Skipped(f"{name}/", "a part of the pipeline whose weights are not there")
        for name in sorted(parts - set(chosen))
        if folder.has(f"{name}/config.json") or not any(n.startswith(f"{name}/") for n in names)
    ]
    opened = {name: open_folder(inner) for name, inner in chosen.items()}
    return _together(folder, opened, beside)


def open_sentence_transformer(folder: Folder) -> Checkpoint | None:
    """The modules of a sentence transformer that have weights, each under its name; None if it has
    no more than one."""
    modules = _modules(folder)
    if len(modules) < 2:
        return None
    opened = {
        name: open_plain(folder) if inner is folder else open_folder(inner)
        for name, inner in modules.items()
    }
    return _together(folder, opened, [])


def _modules(folder: Folder) -> dict[str, Folder]:
    """The modules that have weights, by the names of their folders; the first may lie in none."""
    listed = _json(File(folder, "modules.json"))
    entries = [entry for entry in listed if isinstance(entry, dict)] if _is_list(listed) else []
    below = {inner.name: inner for inner in checkpoint_folders(folder)}
    found: dict[str, Folder] = {}
    for entry in entries:
        path = str(entry.get("path"))
        if not path and candidates(folder):
            found[str(entry.get("name", "0"))] = folder
        elif path in below:
            found[path] = below[path]
    return found


# --- a model in the cache of a hub ----------------------------------------------------------


def open_hub_cache(folder: Folder) -> Checkpoint:
    """The snapshot that the branch ``main`` names, or the only one."""
    snapshots = [name for name in folder.names() if name.startswith("snapshots/")]
    revisions = sorted({name.split("/")[1] for name in snapshots}, key=natural_key)
    main = File(folder, "refs/main")
    named = main.head(128).decode("ascii", "replace").strip() if main.exists else ""
    if named in revisions:
        revisions = [named]
    if len(revisions) != 1:
        raise several(folder, [f"snapshots/{name}" for name in revisions], len(revisions))
    return open_folder(SubFolder(folder, f"snapshots/{revisions[0]}"))


# --- several networks as one checkpoint -----------------------------------------------------


def _together(
    folder: Folder, networks: Mapping[str, Checkpoint], beside: Iterable[Skipped]
) -> Checkpoint:
    """One checkpoint of several, each tensor under the name of its network."""
    return Checkpoint(
        [
            dataclasses.replace(tensor, name=f"{network}.{tensor.name}")
            for network, opened in networks.items()
            for tensor in opened.values()
        ],
        source=folder.where,
        format="+".join(dict.fromkeys(opened.format for opened in networks.values())),
        skipped=[
            *(
                _under(network, entry)
                for network, opened in networks.items()
                for entry in opened.skipped
            ),
            *beside,
        ],
        files=[file for opened in networks.values() for file in opened.files],
        networks=networks if len(networks) > 1 else (),
    )


def _under(network: str, entry: Skipped) -> Skipped:
    tensor, copy_of = entry.tensor, entry.copy_of
    name = f"{network}.{entry.name}"
    return dataclasses.replace(
        entry,
        name=name,
        tensor=tensor and dataclasses.replace(tensor, name=name),
        copy_of=f"{network}.{copy_of}" if copy_of else "",
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _json(file: File) -> Any:
    if file.stored.size > _LIMIT:
        raise InputError(f"{file.where}: too long for a list of a model's parts")
    return load_json(file.head(_LIMIT), file.where, "the list of the model's parts")
