"""From a nest of mappings to named tensors: state dicts, training checkpoints, dicts of arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Skipped, WeightTensor, array_tensor
from kolmo.checkpoints.inert import CodedArray, Global, LeftOut, Ndarray, Record
from kolmo.checkpoints.narrow import of_parts
from kolmo.checkpoints.nests import (
    Again,
    Marked,
    Others,
    Path,
    Seen,
    TooDeepError,
    is_array,
    is_module,
    is_torch,
    mapping_of,
    numel_of,
    total,
    walk,
)
from kolmo.checkpoints.stored import Stored, Strided, footprint
from kolmo.checkpoints.torch_tensors import torch_tensor
from kolmo.dtypes import DTYPES, PARTS
from kolmo.errors import InputError

# Where training programs keep the weights; the first one present is the model.
_MODEL_KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "params")

# What they keep beside them: never weights of the model, whatever tensors it holds.
_OTHER_KEYS = ("optim", "sched", "scaler", "rng", "amp", "loss", "callback", "loop", "grad")

_FREE = 1 << 22  # entries that a view may have however few numbers it shows
_EXPANSION = 1 << 10  # and times the numbers that it shows, beyond that

Found = tuple[list[WeightTensor], list[Skipped]]


def collect(contents: Any, source: str, what: str = "") -> Found:
    """The model's tensors in a container, and every other entry with the reason why not.

    Looks through ``{"state_dict": ...}`` and its like. A mapping that holds tensors is a state
    dict; mappings within it add their key to the names, as in ``encoder.weight``. Two tensors of
    one name are told apart by a number. ``what`` says what sort of file it is.

    Raises
    ------
    InputError
        If there is no tensor anywhere, or one that is damaged.
    """
    skipped: list[Skipped] = []
    counted: Seen = {}
    try:
        weights, prefix = _look_through(contents, skipped, counted)
        tensors, others = gather(weights, prefix, source, counted)
    except TooDeepError as error:
        raise InputError(f"{source}: {error}") from None
    skipped += others
    if not tensors:
        raise InputError(_without_tensors(contents, source, what, skipped))
    return tensors, skipped


def gather(contents: Any, prefix: str, source: str, counted: Seen | None = None) -> Found:
    """Every tensor in a container, and every other entry with the reason why not.

    ``counted`` holds what was counted among other entries already.
    """
    counted = {} if counted is None else counted
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    names: dict[str, int] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, value in walk(contents, prefix):
        made = _made(name or "tensor", value, source, counted)
        if isinstance(made, Skipped):
            skipped.append(made)
            continue
        place = _place(value)
        if place is not None and place in seen:
            skipped.append(Skipped(name, f"tied to {seen[place]!r}, counted once", made.numel))
            continue
        made = _told_apart(made, names)
        if place is not None:
            seen[place] = made.name
        tensors.append(made)
    return tensors, skipped


def make_tensor(name: str, value: Any) -> WeightTensor | Skipped:
    """A lazy tensor over an array, a torch tensor or a number; Skipped with the reason if not."""
    return _made(name, value, "the array", {})


def _made(name: str, value: Any, source: str, counted: Seen) -> WeightTensor | Skipped:
    if isinstance(value, Ndarray):
        value = value.content
    if is_torch(value):
        return torch_tensor(name, value)
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.name in PARTS:
            return of_parts(array_tensor(name, array), PARTS[array.dtype.name])
        if not is_supported(array.dtype):
            return Skipped(name, f"dtype {_dtype_name(array.dtype)} is not supported", array.size)
        return array_tensor(name, array)
    if isinstance(value, Strided):
        return _strided_tensor(name, value, source)
    if isinstance(value, CodedArray):
        stored = _strided_tensor(name, value.array, source)
        return stored if isinstance(stored, Skipped) else value.tensor(stored)
    if isinstance(value, LeftOut):
        return Skipped(name, value.reason, value.numel)
    if isinstance(value, Marked):
        return Skipped(name, value.reason, total(value.value, counted))
    return Skipped(name, _no_tensor(value))


def _dtype_name(dtype: np.dtype[Any]) -> str:
    """A dtype for people: a structured one may list thousands of fields."""
    return f"of structures ({dtype.itemsize:,} bytes each)" if dtype.names else str(dtype)[:60]


def _no_tensor(value: Any) -> str:
    if isinstance(value, Again):
        return (
            f"the same object as {value.name!r}, counted there"
            if value.name
            else "the whole itself"
        )
    if isinstance(value, Others):
        return f"{value.count:,} entries that are no tensors"
    if isinstance(value, Record) and value.called:
        return f"not a tensor but a call of {value.name[:200]!r}, which was not made"
    if isinstance(value, Record):
        return f"not a tensor but an object of class {value.name[:200]!r}"
    if isinstance(value, Global):
        return f"not a tensor but the name {value.name[:200]!r}"
    return f"not a tensor but {'bytes' if isinstance(value, Stored) else type(value).__name__}"


def _strided_tensor(name: str, array: Strided, source: str) -> WeightTensor | Skipped:
    """A tensor that lies within what a file stores, and is no few numbers spread out."""
    if array.dtype.name in PARTS:
        return _placed_tensor(name, array.in_parts(), source)
    if not is_supported(array.dtype):
        return Skipped(name, f"dtype {array.dtype} is not supported", array.numel)
    return _placed_tensor(name, array, source)


def _placed_tensor(name: str, array: Strided, source: str) -> WeightTensor | Skipped:
    stored = array.storage.stored
    there = stored.size // array.dtype.itemsize if stored else 0
    if array.end > there:
        raise InputError(
            f"{source}: tensor {name!r} reaches to entry {array.end:,} of a storage of {there:,}; "
            f"the file is damaged"
        )
    shown = min(array.numel, array.end - array.offset)
    if array.numel > max(_FREE, _EXPANSION * shown):
        return Skipped(name, f"an expanded view of {shown:,} numbers", array.numel)
    return WeightTensor(name, array.shape, array.dtype, array.load)


def _told_apart(tensor: WeightTensor, names: dict[str, int]) -> WeightTensor:
    """The tensor under a name of its own, where another has its name."""
    name = tensor.name
    while name in names:
        names[tensor.name] += 1
        name = f"{tensor.name} ({names[tensor.name]})"
    names[name] = 1
    return tensor if name == tensor.name else dataclasses.replace(tensor, name=name)


def _without_tensors(contents: Any, source: str, what: str, skipped: list[Skipped]) -> str:
    """Why there is nothing to measure: what a file is, what it holds, what of it was left out."""
    maps = mapping_of(contents)
    held = ", ".join(repr(str(key)[:60]) for key in list(maps)[:8]) if maps else ""
    if not what:
        return f"{source}: there is no tensor in it" + (f"; it holds {held}" if held else "")
    odd = [entry for entry in skipped if entry.numel]
    if odd:
        left = f"{odd[0].name[:60]!r}: {odd[0].reason}"
        more = f", and {len(odd) - 1:,} more" if len(odd) > 1 else ""
        return f"{source}: {what} with no arrays in it that can be measured ({left}{more})"
    if isinstance(contents, Record):
        held = f"{_no_tensor(contents).removeprefix('not a tensor but ')}"
    elif not held:
        held = "nothing" if isinstance(contents, (list, tuple, Mapping)) else _kind(contents)
    return f"{source}: {what} with no arrays in it; it holds: {held}"


def _kind(value: Any) -> str:
    return _no_tensor(value).removeprefix("not a tensor but ")


def is_supported(dtype: np.dtype[Any]) -> bool:
    """Whether weights may have this dtype: floats of 8 to 64 bits, integers, booleans."""
    return dtype.newbyteorder("=") in DTYPES.values()


def _look_through(contents: Any, skipped: list[Skipped], counted: Seen) -> tuple[Any, str]:
    """The innermost mapping that is the model's, and what to put before its names."""
    passed: set[int] = set()
    while id(contents) not in passed and not is_module(contents):
        passed.add(id(contents))
        maps = mapping_of(contents)
        if maps is None:
            break
        key = next((k for k in _MODEL_KEYS if is_module(maps.get(k))), None)
        if key is None and any(_is_weight(name, value) for name, value in maps.items()):
            break
        key = key or next((k for k in _MODEL_KEYS if mapping_of(maps.get(k)) is not None), None)
        if key is None:
            return _without_others(contents, maps, skipped, counted), ""
        inner = maps[key]
        counted[id(inner)] = (Path(None, ""), inner)
        skipped += [_beside(str(k), value, counted) for k, value in maps.items() if k != key]
        contents = inner
    return contents, ""


def _is_weight(key: Any, value: Any) -> bool:
    """Whether an array makes the mapping around it a state dict: a lone number noted by a
    training program, such as its loss, does not."""
    if not is_array(value) or isinstance(value, np.generic):
        return False
    return not (_is_other(key) and numel_of(value) == 1)


def _is_other(key: Any) -> bool:
    return any(word in str(key).lower() for word in _OTHER_KEYS)


def _without_others(
    contents: Any, maps: Mapping[Any, Any], skipped: list[Skipped], counted: Seen
) -> Any:
    others = {key for key in maps if _is_other(key)}
    skipped += [_beside(str(key), maps[key], counted) for key in maps if key in others]
    return {k: v for k, v in maps.items() if k not in others} if others else contents


def _beside(key: str, value: Any, counted: Seen) -> Skipped:
    return Skipped(key, "beside the model's weights (training state)", total(value, counted))


def _place(value: Any) -> tuple[Any, ...] | None:
    """Where an array's memory is; equal for two that are one. None where it has none."""
    if isinstance(value, Ndarray):
        value = value.content
    if isinstance(value, CodedArray):
        value = value.array
    if isinstance(value, Strided):
        return value.place
    if is_torch(value):
        if (
            value.numel() == 0
            or value.device.type == "meta"
            or str(value.layout) != "torch.strided"
        ):
            return None
        where = (value.untyped_storage().data_ptr(), value.storage_offset())
        return (*where, *footprint(value.shape, value.stride()), str(value.dtype))
    array = np.asarray(value)
    if array.size == 0 or isinstance(value, np.generic):
        return None
    begin = array.__array_interface__["data"][0]
    return (begin, *footprint(array.shape, array.strides), array.dtype.str)
