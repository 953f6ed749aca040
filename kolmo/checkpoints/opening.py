"""open_checkpoint: recognize what a source is, by content, and open it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kolmo.checkpoints.base import Checkpoint, Skipped
from kolmo.checkpoints.containers import collect, make_tensor
from kolmo.checkpoints.folders import File, Folder, LocalFolder
from kolmo.checkpoints.formats import known, open_file
from kolmo.checkpoints.remote import RemoteFolder, open_url, public
from kolmo.checkpoints.torch import open_module
from kolmo.errors import InputError, MissingExtraError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w-]*/[\w-][\w.-]*(@[\w.-]+)?")


def open_checkpoint(source: Any) -> Checkpoint:
    """Open weights without reading them.

    Parameters
    ----------
    source : str, PathLike, Checkpoint, nn.Module or mapping
        A file (safetensors, torch, a pickle, joblib, .npz, .npy; recognized by content; torch,
        scikit-learn and joblib need not be installed), the index of a sharded checkpoint, a
        directory that holds one of these, a URL (any that fsspec knows), a live module, a state
        dict, or a mapping of names to arrays.

    Returns
    -------
    Checkpoint
        A mapping of names to `WeightTensor`; ``skipped`` lists what is no weight, and why.

    Raises
    ------
    InputError
        If it cannot be read, is not what it claims to be, or holds no tensor.
    MissingExtraError
        If a format needs a package that is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> ckpt = open_checkpoint({"w": np.ones((2, 3), np.float32)})
    >>> ckpt["w"].shape, ckpt["w"].dtype, ckpt.numel
    ((2, 3), dtype('float32'), 6)
    """
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if "://" in text:
            return _open_url(text)
        return open_path(Path(text))
    if hasattr(source, "state_dict") and hasattr(source, "parameters"):
        return open_module(source)
    if isinstance(source, Mapping):
        tensors, skipped = collect(source, "the mapping")
        return Checkpoint(tensors, source="arrays in memory", format="arrays", skipped=skipped)
    if not hasattr(source, "shape"):
        raise InputError(
            f"cannot open a {type(source).__name__}; give a path, a URL, an nn.Module, a state "
            f"dict or a mapping of arrays"
        )
    single = make_tensor("array", source)
    if isinstance(single, Skipped):
        raise InputError(f"cannot measure this array: {single.reason}")
    return open_checkpoint({"array": source})


def open_path(path: Path) -> Checkpoint:
    """Open a file or a directory."""
    if path.is_dir():
        return open_file(File.local(_find_in(path)))
    if not path.exists():
        hub = _HUB_ID.fullmatch(str(path))
        hint = f"; a model of the Hugging Face Hub is  hf://{path}" if hub else ""
        raise InputError(f"{path}: there is no such file{hint}")
    return open_file(File.local(path))


# --- directories ----------------------------------------------------------------------------


def _find_in(folder: Path) -> Path:
    """The one checkpoint of a directory: an index, else a safetensors file, else any other."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    indexes = [file for file in files if file.name.endswith(".index.json")]
    shards = [file for file in files if file not in indexes and _is_checkpoint(file)]
    safe = [file for file in shards if file.suffix == ".safetensors"]
    for found in (
        [file for file in indexes if "safetensors" in file.name] or ([] if safe else indexes),
        safe,
        shards,
    ):
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found[:5])
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise InputError(f"{folder}: holds {len(found)} checkpoints; name one: {names}{more}")
    raise InputError(f"{folder}: there is no checkpoint in this directory (known: {known()})")


def _is_checkpoint(path: Path) -> bool:
    try:
        open_file(File.local(path))
    except (InputError, MissingExtraError):
        return path.suffix in (".safetensors", ".pt", ".pth", ".bin", ".npz", ".npy")
    return True


# --- remote ---------------------------------------------------------------------------------


def _open_url(url: str) -> Checkpoint:
    """Open what a URL names, by ranges; its servers' words stand for hashes of its files."""
    found = open_url(url)
    folder = found.folder if isinstance(found, File) else found
    checkpoint = open_file(found) if isinstance(found, File) else _open_folder(found)
    checkpoint.source = public(url)
    checkpoint.versions = folder.versions if isinstance(folder, RemoteFolder) else {}
    return checkpoint


def _open_folder(folder: Folder) -> Checkpoint:
    if isinstance(folder, LocalFolder):
        return open_path(folder.root)
    named = ", ".join(folder.names()[:8]) or "nothing"
    raise InputError(f"{folder.where}: this is a folder, which holds {named}; name a file of it")
