"""From a nest of mappings to named tensors: state dicts, training checkpoints, dicts of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Skipped, WeightTensor, array_tensor
from kolmo.checkpoints.torch_tensors import torch_tensor
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError

# Where training programs keep the weights; the first one present is the model.
_MODEL_KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "params")

# What they keep beside them: never weights of the model, whatever tensors it holds.
_OTHER_KEYS = ("optim", "sched", "scaler", "rng", "amp", "loss", "callback", "loop", "grad")

Found = tuple[list[WeightTensor], list[Skipped]]


def collect(contents: Any, source: str) -> Found:
    """The model's tensors in a container, and every other entry with the reason why not.

    Looks through ``{"state_dict": ...}`` and its like. A mapping that holds tensors is a state
    dict; mappings within it add their key to the names, as in ``encoder.weight``.

    Raises
    ------
    InputError
        If there is no tensor anywhere.
    """
    skipped: list[Skipped] = []
    weights, prefix = _look_through(contents, skipped)
    tensors: list[WeightTensor] = []
    seen: dict[tuple[Any, ...], str] = {}
    for name, value in _flatten(weights, prefix):
        made = make_tensor(name, value)
        if isinstance(made, Skipped):
            skipped.append(made)
            continue
        place = _place(value)
        if place is not None and place in seen:
            skipped.append(Skipped(name, f"tied to {seen[place]!r}, counted once", made.numel))
            continue
        if place is not None:
            seen[place] = name
        tensors.append(made)
    if not tensors:
        kinds = f"; it holds {', '.join(map(repr, list(contents)[:8]))}" if _maps(contents) else ""
        raise InputError(f"{source}: there is no tensor in it{kinds}")
    return tensors, skipped


def make_tensor(name: str, value: Any) -> WeightTensor | Skipped:
    """A lazy tensor over an array, a torch tensor or a number; Skipped with the reason if not."""
    if _is_torch(value):
        return torch_tensor(name, value)
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if not is_supported(array.dtype):
            return Skipped(name, f"dtype {array.dtype} is not supported", array.size)
        return array_tensor(name, array)
    return Skipped(name, f"not a tensor but {type(value).__name__}")


def is_supported(dtype: np.dtype[Any]) -> bool:
    """Whether weights may have this dtype: floats of 8 to 64 bits, integers, booleans."""
    return dtype.newbyteorder("=") in DTYPES.values()


def _look_through(contents: Any, skipped: list[Skipped]) -> tuple[Any, str]:
    """The innermost mapping that is the model's, and what to put before its names."""
    while _maps(contents) and not any(_is_array(value) for value in contents.values()):
        key = next((k for k in _MODEL_KEYS if _maps(contents.get(k))), None)
        if key is None:
            return _without_others(contents, skipped), ""
        skipped += [_beside(str(k), value) for k, value in contents.items() if k != key]
        contents = contents[key]
    return contents, ""


def _without_others(contents: Mapping[Any, Any], skipped: list[Skipped]) -> dict[Any, Any]:
    kept = {}
    for key, value in contents.items():
        if any(word in str(key).lower() for word in _OTHER_KEYS):
            skipped.append(_beside(str(key), value))
        else:
            kept[key] = value
    return kept


def _beside(key: str, value: Any) -> Skipped:
    arrays = [array for _, array in _flatten(value, "") if _is_array(array)]
    numel = sum(int(np.prod(tuple(array.shape), dtype=np.int64)) for array in arrays)
    return Skipped(key, "beside the model's weights (training state)", numel)


def _flatten(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if _maps(value):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)) and not _is_array(value):
        for number, inner in enumerate(value):
            yield from _flatten(inner, f"{name}.{number}" if name else str(number))
    else:
        yield name or "tensor", value


def _place(value: Any) -> tuple[Any, ...] | None:
    """Where an array's memory is; equal for two that are one. None where it has none."""
    if _is_torch(value):
        if (
            value.numel() == 0
            or value.device.type == "meta"
            or str(value.layout) != "torch.strided"
        ):
            return None
        where = (value.untyped_storage().data_ptr(), value.storage_offset())
        return (*where, tuple(value.shape), value.stride(), str(value.dtype))
    array = np.asarray(value)
    if array.size == 0 or isinstance(value, np.generic):
        return None
    return (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic)) or _is_torch(value)


def _is_torch(value: Any) -> bool:
    return hasattr(value, "untyped_storage")  # without importing torch


def _maps(value: Any) -> bool:
    return isinstance(value, Mapping)
