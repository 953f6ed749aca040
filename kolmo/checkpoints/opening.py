"""open_checkpoint: recognize what a source is, by content, and open it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kolmo.checkpoints.base import Checkpoint, Skipped
from kolmo.checkpoints.containers import make_checkpoint, make_tensor
from kolmo.checkpoints.directories import open_folder, open_named
from kolmo.checkpoints.folders import File, LocalFolder
from kolmo.checkpoints.quantized import logical_tensors
from kolmo.checkpoints.remote import RemoteFolder, open_url, public
from kolmo.checkpoints.roles import require_weights, sort_out
from kolmo.checkpoints.torch import open_module
from kolmo.errors import InputError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w-]*/[\w-][\w.-]*(@[\w.-]+)?")


def open_checkpoint(source: Any, roles: Sequence[str] = ()) -> Checkpoint:
    """Open weights without reading them.

    Parameters
    ----------
    source : str, PathLike, Checkpoint, nn.Module or mapping
        A file (safetensors, torch, a pickle, joblib, .npz, .npy; recognized by content; torch,
        scikit-learn and joblib need not be installed), the index of a sharded checkpoint, a
        directory that holds one of these, a URL (any that fsspec knows), a live module, a state
        dict, or arrays (of numpy, torch, JAX and all that have ``__array__`` or ``__dlpack__``)
        in a nest of mappings and lists.
    roles : list of str, optional
        What to open besides weights: ``buffer``, ``optimizer``, ``copy``, ``book-keeping`` or
        ``other``.

    Returns
    -------
    Checkpoint
        A mapping of names to `WeightTensor`; ``skipped`` lists what is no weight, with its role,
        and why.

    Raises
    ------
    InputError
        If it cannot be read, is not what it claims to be, or holds nothing to measure.
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
        return source.with_roles(roles)
    return require_weights(survey(source).with_roles(roles))


def survey(source: Any) -> Checkpoint:
    """A source with its weights sorted out, also if there are none; a checkpoint as it is."""
    return source if isinstance(source, Checkpoint) else sort_out(open_source(source))


def open_source(source: Any) -> Checkpoint:
    """All arrays of a source that `open_checkpoint` knows, whatever they are to a network."""
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if "://" in text:
            return _open_url(text)
        return open_path(Path(text))
    if hasattr(source, "state_dict") and hasattr(source, "parameters"):
        return logical_tensors(open_module(source), None)
    if isinstance(source, (Mapping, list, tuple)):
        found = make_checkpoint(source, source="arrays in memory", format="arrays")
        return logical_tensors(found, None)
    if not hasattr(source, "shape"):
        raise InputError(
            f"cannot open a {type(source).__name__}; give a path, a URL, an nn.Module, a state "
            f"dict, or a mapping or list of arrays"
        )
    single = make_tensor("array", source)
    if isinstance(single, Skipped):
        raise InputError(f"cannot measure this array: {single.reason}")
    return open_source({"array": source})


def open_path(path: Path) -> Checkpoint:
    """Open a file or a directory."""
    if path.is_dir():
        return open_folder(LocalFolder(path))
    index = path.with_name(f"{path.name}.index") if path.name else path
    if not path.exists() and index.is_file():  # TensorFlow calls its checkpoints by their prefix
        return open_named(File.local(index))
    if not path.exists():
        hub = _HUB_ID.fullmatch(str(path))
        hint = f"; a model of the Hugging Face Hub is  hf://{path}" if hub else ""
        raise InputError(f"{path}: there is no such file{hint}")
    return open_named(File.local(path))


# --- remote ---------------------------------------------------------------------------------


def _open_url(url: str) -> Checkpoint:
    """Open what a URL names, by ranges; its servers' words stand for hashes of its files."""
    found = open_url(url)
    folder = found.folder if isinstance(found, File) else found
    checkpoint = open_named(found) if isinstance(found, File) else open_folder(found)
    checkpoint.source = public(url)
    checkpoint.versions = folder.versions if isinstance(folder, RemoteFolder) else {}
    return checkpoint
