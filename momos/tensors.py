"""Small bridges: torch and numpy, a model's plain names, files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kolmo.checkpoints.opening import open_source
from kolmo.dtypes import EXTENDED_DTYPES, bits_of
from kolmo.errors import InputError
from kolmo.replacing import write_atomically

METADATA = "momos"
"""Key of the safetensors metadata that momos writes; its value is a JSON object."""

LEARNER = "momos_learner"
"""Name of the submodule that a wrapped model has."""


def to_torch(array: NDArray[Any]) -> torch.Tensor:
    """A torch tensor with the array's bits, in memory of its own.

    Raises
    ------
    InputError
        If torch has no such dtype.
    """
    array = np.array(array, order="C", copy=True)
    if array.dtype in EXTENDED_DTYPES.values():
        kind = getattr(torch, array.dtype.name, None)
        if kind is None or bits_of(array.dtype) < 8:
            raise InputError(f"torch has no tensors of dtype {array.dtype.name}")
        return torch.from_numpy(array.view(f"i{array.dtype.itemsize}")).view(kind)
    return torch.from_numpy(array)


def to_arrays(tensors: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Torch tensors or arrays by name → arrays that own their memory."""
    if not tensors:
        return {}
    return {name: tensor.read().copy() for name, tensor in open_source(tensors).items()}


def plain_name(name: str) -> str:
    """A parameter's name without what a parametrization adds to it.

    >>> plain_name("layers.0.parametrizations.weight.original")
    'layers.0.weight'
    """
    if ".parametrizations." not in f".{name}":
        return name
    return f".{name}".replace(".parametrizations.", ".").removesuffix(".original").lstrip(".")


def require_one_dtype(source: str, dtypes: Mapping[str, np.dtype[Any]]) -> None:
    """InputError unless there are tensors, and all of one dtype."""
    if not dtypes:
        raise InputError(
            f"{source}: there is no trainable floating-point tensor to cut into blocks"
        )
    first, dtype = next(iter(dtypes.items()))
    for name, other in dtypes.items():
        if other != dtype:
            raise InputError(
                f"{source}: motifs are shared, so all tensors must have one dtype, but {first!r} "
                f"is {dtype.name} and {name!r} is {other.name}; leave one kind out with exclude"
            )


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays have one shape, one dtype and the same bits; −0.0 is not 0.0."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def save_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, Any],
) -> Path:
    """Write a safetensors file with metadata; the same contents give the same bytes.

    Tied tensors are written under each of their names: the format has no other way.
    """
    from safetensors.torch import save

    # One key: the format's writer does not keep the order of several.
    header = {METADATA: json.dumps(metadata, separators=(",", ":"))}
    seen: set[int] = set()
    owned = {
        name: _own(tensor.detach().cpu().contiguous(), seen) for name, tensor in tensors.items()
    }
    return write_whole(path, save(owned, metadata=header))


def _own(tensor: torch.Tensor, seen: set[int]) -> torch.Tensor:
    """The tensor, or a copy if its memory was seen before."""
    place = tensor.untyped_storage().data_ptr()
    if place in seen:
        return tensor.clone()
    seen.add(place)
    return tensor


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made if it is missing; InputError if it cannot be written to."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a folder ({error.strerror})") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: cannot be written to")
    return path


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file whole or not at all, in a folder that is made if need be."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    write_atomically(path, lambda file: file.write_bytes(data))
    return path
