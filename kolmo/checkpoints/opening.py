"""open_checkpoint: recognize what a source is, by content, and open it."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.base import Checkpoint, Skipped
from kolmo.checkpoints.containers import collect, make_tensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.numpy import NPY_MAGIC, open_npy, open_npz
from kolmo.checkpoints.onnx import is_onnx, open_onnx
from kolmo.checkpoints.pickled import open_pickled
from kolmo.checkpoints.safetensors import looks_like_safetensors, open_index, open_safetensors
from kolmo.checkpoints.stored import file_bytes
from kolmo.checkpoints.torch import open_module, open_torch_zip
from kolmo.checkpoints.torch_export import STATE, WEIGHTS, open_torch_export
from kolmo.errors import InputError, MissingExtraError

_FORMATS = (
    "safetensors, a safetensors or torch index, torch (.pt .pth .bin .ckpt .pt2 .nemo), pickles, "
    "joblib, .npz, .npy, ONNX"
)

# What is often met where a checkpoint was expected, by its first bytes.
_MISTAKEN = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself; run  git lfs pull  in its repository",
    ),
    (b"<!doctype html", "an HTML page, not a checkpoint; download the raw file"),
    (b"<html", "an HTML page, not a checkpoint; download the raw file"),
    (b"gguf", "a GGUF file, which is not supported; convert it to safetensors"),
    (b"\x89hdf", "an HDF5 file, which is not supported; convert it to safetensors or .npz"),
)


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
        return open_file(_find_in(path))
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    return open_file(path)


def open_file(path: Path) -> Checkpoint:
    """Open a file by what it holds, whatever its name."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if size == 0:
        raise InputError(f"{path}: the file is empty")
    return _recognize(path, head, size)


def _recognize(path: Path, head: bytes, size: int) -> Checkpoint:
    start = head.lstrip().lower()
    for beginning, what in _MISTAKEN:
        if start.startswith(beginning):
            raise InputError(f"{path}: this is {what}")
    if head.startswith(b"PK\x03\x04"):
        return _open_zip(path)
    if head.startswith(NPY_MAGIC):
        return open_npy(path)
    if looks_like_safetensors(head, size):
        return open_safetensors(path)
    if start.startswith(b"{") and b"weight_map" in _beginning(path):
        return open_index(path, open_file)
    if is_onnx(file_bytes(path)):
        return open_onnx(File.local(path))
    if pickled := open_pickled(path):
        return pickled
    raise InputError(f"{path}: not a checkpoint, or damaged at its start (known: {_FORMATS})")


def _open_zip(path: Path) -> Checkpoint:
    archive = Archive(file_bytes(path))
    if archive.names(WEIGHTS) or archive.names(STATE):
        return open_torch_export(path)
    if archive.names("data.pkl"):
        return open_torch_zip(path)
    if archive.members and all(name.endswith(".npy") for name in archive.members):
        return _open_npz(path)
    raise InputError(f"{path}: a zip archive, but neither of torch nor of numpy")


def _open_npz(path: Path) -> Checkpoint:
    try:
        with zipfile.ZipFile(path) as archive:
            return open_npz(path, archive)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: a damaged or truncated zip archive ({error})") from None


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 26)


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
    raise InputError(f"{folder}: there is no checkpoint in this directory (known: {_FORMATS})")


def _is_checkpoint(path: Path) -> bool:
    try:
        open_file(path)
    except (InputError, MissingExtraError):
        return path.suffix in (".safetensors", ".pt", ".pth", ".bin", ".npz", ".npy")
    return True


# --- remote ---------------------------------------------------------------------------------


def _open_url(url: str) -> Checkpoint:
    """Download to a temporary directory, which goes when the checkpoint goes, and open."""
    folder = Path(tempfile.mkdtemp(prefix="kolmo-"))
    try:
        path = _fetch(url, folder)
        if path.name.endswith(".index.json"):
            _fetch_shards(url, path)
        checkpoint = open_file(path)
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
    from kolmo.checkpoints.safetensors import shard_names

    base = url.rsplit("/", 1)[0]
    for shard in shard_names(index):
        _fetch(f"{base}/{shard}", index.parent)
