"""Walking through nests of containers: each once, in order, however deep, shared or circular."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.foreign import is_foreign
from kolmo.checkpoints.inert import CodedArray, Global, LeftOut, Ndarray, Record
from kolmo.checkpoints.stored import Strided

_FEW = 64  # entries of one container that are listed one by one where they are no tensors
_NAMES = 1 << 26  # characters of all names

# What scikit-learn's fitted models keep their learned numbers in.
_LEARNED = ("coefs_", "intercepts_", "coef_", "intercept_", "dual_coef_", "support_vectors_",
            "components_", "cluster_centers_")  # fmt: skip


_OPTIMIZERS = re.compile(r"optimizers?\.|(^|\.)_?optim\.|^optax\.")  # where their classes lie


class TooDeepError(ValueError):
    """Containers nested so deep that the names of what they hold would fill the memory."""


@dataclasses.dataclass(frozen=True)
class Again:
    """A container that was met before, under another name."""

    name: str


@dataclasses.dataclass(frozen=True)
class Others:
    """Many entries of one container that are no tensors."""

    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class Marked:
    """A part of an object whose role the object itself tells, and why it is left out, if it is."""

    role: Role
    value: Any
    reason: str = ""


Seen = dict[int, tuple["Path", Any]]
"""Containers that were met, by identity; they are kept, so that no identity is given again."""


class Path:
    """A place in a nest; its name is made only where it is wanted."""

    __slots__ = ("above", "depth", "key")

    def __init__(self, above: Path | None, key: str) -> None:
        self.above, self.key = above, key
        self.depth: int = above.depth + 1 if above else 0

    def __str__(self) -> str:
        parts: list[str] = []
        at: Path | None = self
        while at is not None:
            parts.append(at.key)
            at = at.above
        return ".".join(part for part in reversed(parts) if part)


def is_array(value: Any) -> bool:
    """Whether it is an array or a tensor, in memory or in a file, supported or not."""
    if isinstance(value, Ndarray):
        return not isinstance(value.content, list)
    known = isinstance(value, (np.ndarray, np.generic, Strided, CodedArray, LeftOut))
    return known or is_torch(value) or is_foreign(value)


def is_torch(value: Any) -> bool:
    """Whether it is a torch tensor, without importing torch."""
    return hasattr(value, "untyped_storage")


def numel_of(array: Any) -> int:
    """Entries of an array of any sort."""
    if isinstance(array, Ndarray):
        return numel_of(array.content)
    if isinstance(array, (Strided, CodedArray, LeftOut)):
        return array.numel
    if is_foreign(array):
        return math.prod(int(side) for side in array.shape)
    return int(array.numel()) if is_torch(array) else int(getattr(array, "size", 0))


def total(value: Any, seen: Seen) -> int:
    """Entries of all arrays in a nest, but for what was seen before."""
    leaves = (leaf for _, leaf in walk(value, "", seen))
    plain = (leaf.value if isinstance(leaf, Marked) else leaf for leaf in leaves)
    return sum(numel_of(leaf) for leaf in plain if is_array(leaf))


def is_module(value: Any) -> bool:
    """Whether it is a pickled ``nn.Module``, or a module of a TorchScript archive."""
    if not isinstance(value, Record) or not isinstance(value.state, dict):
        return False
    return value.name.startswith("__torch__.") or _has_parameters(value.state)


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """A mapping as it is, and a record by the names of its contents; None for anything else."""
    if isinstance(value, Mapping):
        return value
    return dict(_contents(value)) if isinstance(value, Record) else None


def walk(value: Any, name: str, seen: Seen | None = None) -> Iterator[tuple[str, Any]]:
    """Every entry with its name: arrays, what is none, and `Again` for a container met twice.

    Raises
    ------
    ValueError
        If the names are far longer together than those of any model.
    """
    seen = {} if seen is None else seen
    left, letters = [(Path(None, name), value)], 0
    while left:
        path, value = left.pop()
        value, mark = (value.value, value) if isinstance(value, Marked) else (value, None)
        if id(value) in seen:
            text, first = str(path), seen[id(value)][0]
            letters += len(text) + path.depth + first.depth
            yield text, Again(str(first)[:200])
        elif (inner := _children(value)) is None:
            text = str(path)
            letters += len(text) + path.depth
            if not is_module(value):  # one without weights, such as an activation
                yield text, dataclasses.replace(mark, value=value) if mark else value
        else:
            seen[id(value)] = (path, value)
            mark = Marked(Role.OPTIMIZER, None) if is_optimizer(value) else mark
            children = reversed(_gathered(inner))
            left += [(Path(path, key), _marked(child, mark)) for key, child in children]
        if letters > _NAMES:
            raise TooDeepError("its contents are nested deeper than those of any checkpoint")


def is_optimizer(value: Any) -> bool:
    """Whether it is an optimizer, or its state dict, whatever it is called."""
    if isinstance(value, Record) and _OPTIMIZERS.search(value.name):
        return True
    held = value.state if isinstance(value, Record) else value
    return isinstance(held, Mapping) and "param_groups" in held and "state" in held


def _marked(value: Any, mark: Marked | None) -> Any:
    """A part of what is marked, marked alike."""
    return value if mark is None else dataclasses.replace(mark, value=value)


def _gathered(inner: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The entries of a container; those that are no tensors as one, if they are many."""
    plain = [not is_array(child) and not _may_hold(child) for _, child in inner]
    if sum(plain) <= _FEW:
        return inner
    kept = [entry for entry, is_plain in zip(inner, plain, strict=True) if not is_plain]
    return [*kept, ("", Others(sum(plain)))]


def _may_hold(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple, Record, Ndarray, Marked))


def _children(value: Any) -> list[tuple[str, Any]] | None:
    """What a container holds, by key; None for what is none."""
    if isinstance(value, Mapping):
        is_coded = "nbits" in value and ("W_q" in value or "scale" in value)
        named = _with_settings(value) if is_coded else value.items()
        return [(str(key), _unnamed(child)) for key, child in named]
    if isinstance(value, (list, tuple)):
        return [(str(number), child) for number, child in enumerate(value)]
    if isinstance(value, Ndarray) and isinstance(value.content, list):
        items = value.content
        return [("", items[0])] if len(items) == 1 else _children(items)
    return (_contents(value) or None) if isinstance(value, Record) else None


def _unnamed(value: Any) -> Any:
    """The array of a pair of a name and an array, which Paddle makes of a tensor in a mapping."""
    is_pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
    return value[1] if is_pair and is_array(value[1]) else value


def _with_settings(layer: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """A quantized layer of HQQ, whose settings are numbers: as arrays, as safetensors has them."""
    for key, value in layer.items():
        numbers = value if isinstance(value, (tuple, list)) else [value]
        is_small = all(type(n) in (int, bool) and -1 << 62 < n < 1 << 62 for n in numbers)
        yield key, np.array(value) if is_small and 0 < len(numbers) < 64 else value


# --- records --------------------------------------------------------------------------------


def _contents(record: Record) -> list[tuple[str, Any]]:
    """What a record holds by name: a module's weights, a fitted model's, or everything."""
    state = record.state if isinstance(record.state, dict) else {}
    if _has_parameters(state):
        return _module(state)
    parts: list[tuple[str, Any]] = [(str(key), value) for key, value in state.items()]
    if record.name.startswith("sklearn.") and any(name in state for name in _LEARNED):
        parts = [(name, _if_learned(name, value)) for name, value in parts]
    if record.state is not None and not isinstance(record.state, dict):
        parts.append(("state", record.state))
    parts += [(str(key), value) for key, value in (record.entries or {}).items()]
    parts += [(str(number), value) for number, value in enumerate(record.items or ())]
    parts += [(f"args.{number}", value) for number, value in enumerate(record.args)]
    return [part for part in parts if not _is_plain(part[1])]


def _is_plain(value: Any) -> bool:
    empty = isinstance(value, (list, tuple, Mapping)) and not value
    return empty or value is None or isinstance(value, (bool, int, float, str, bytes, Global))


def _has_parameters(state: Any) -> bool:
    return isinstance(state.get("_parameters"), dict) and isinstance(state.get("_modules"), dict)


def _module(state: dict[Any, Any]) -> list[tuple[str, Any]]:
    """The names of a module's state dict, and its buffers that a state dict leaves out."""
    parts: list[tuple[str, Any]] = [
        (str(name), Marked(Role.WEIGHT, value)) for name, value in state["_parameters"].items()
    ]
    buffers, temporary = state.get("_buffers"), state.get("_non_persistent_buffers_set")
    temporary = temporary if isinstance(temporary, (set, frozenset)) else set()
    reason = "a buffer that the module does not save (it is not persistent)"
    for name, value in buffers.items() if isinstance(buffers, dict) else ():
        parts.append((str(name), Marked(Role.BUFFER, value, reason if name in temporary else "")))
    parts += [(str(name), value) for name, value in state["_modules"].items()]
    reason = "an attribute of a module, neither a parameter nor a buffer"
    parts += [
        (str(name), Marked(Role.OTHER, value, reason))
        for name, value in state.items()
        if is_array(value)
    ]
    return [part for part in parts if not _is_none(part[1])]


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, Marked) and value.value is None)


def _if_learned(name: str, value: Any) -> Any:
    is_kept = name in _LEARNED or _is_plain(value)
    if is_kept:
        return value
    return Marked(Role.OTHER, value, "beside the fitted model's weights")
