"""open_checkpoint: recognize what a source is, by content, and open it."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kolmo.checkpoints.base import Checkpoint, Skipped
from kolmo.checkpoints.containers import collect, make_tensor
from kolmo.checkpoints.directories import open_folder, open_named
from kolmo.checkpoints.folders import File, LocalFolder
from kolmo.checkpoints.quantized import logical_tensors
from kolmo.checkpoints.shards import named_shards
from kolmo.checkpoints.torch import open_module
from kolmo.errors import InputError, MissingExtraError


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
        return logical_tensors(open_module(source), None)
    if isinstance(source, Mapping):
        tensors, skipped = collect(source, "the mapping")
        found = Checkpoint(tensors, source="arrays in memory", format="arrays", skipped=skipped)
        return logical_tensors(found, None)
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
        return open_folder(LocalFolder(path))
    index = path.with_name(f"{path.name}.index") if path.name else path
    if not path.exists() and index.is_file():  # TensorFlow calls its checkpoints by their prefix
        return open_named(File.local(index))
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    return open_named(File.local(path))


# --- remote ---------------------------------------------------------------------------------


def _open_url(url: str) -> Checkpoint:
    """Download to a temporary directory, which goes when the checkpoint goes, and open."""
    folder = Path(tempfile.mkdtemp(prefix="kolmo-"))
    try:
        path = _fetch(url, folder)
        if path.name.endswith(".index.json"):
            _fetch_shards(url, path)
        checkpoint = open_path(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    checkpoint.source = url
    weakref.finalize(checkpoint, shutil.rmtree, folder, ignore_errors=True)
    return checkpoint


def _fetch(url: str, folder: Path) -> Path:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(f"opening {url}", "fsspec", "remote") from None
    path = folder / (url.split("?")[0].rstrip("/").rsplit("/", 1)[-1] or "checkpoint")
    try:
        with fsspec.open(url, "rb") as remote, open(path, "wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)
    except ImportError as error:
        raise InputError(f"{url}: fsspec needs another package for it ({error})") from None
    except Exception as error:  # each file system raises errors of its own
        raise InputError(f"{url}: cannot be fetched ({type(error).__name__}: {error})") from None
    return path


def _fetch_shards(url: str, index: Path) -> None:
    base = url.rsplit("/", 1)[0]
    for shard in named_shards(File.local(index)):
        _fetch(f"{base}/{shard.name}", index.parent)
