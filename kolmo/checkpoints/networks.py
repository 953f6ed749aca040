"""Networks in a nest of containers, and what lies beside them.

A training program saves the model's state dict, the optimizer's, averaged weights and notes such
as the epoch in one mapping, each under a key that it chose. What is what shows in the parts
themselves: a state dict has tensors under dotted names, an optimizer ``state`` and
``param_groups``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.inert import LeftOut, Ndarray, Record
from kolmo.checkpoints.nests import (
    Marked,
    is_array,
    is_module,
    is_optimizer,
    is_torch,
    mapping_of,
    numel_of,
)
from kolmo.checkpoints.stored import Strided
from kolmo.checkpoints.tensor_names import words

_DEPTH = 16  # containers around a network, at most

# Keys under which programs keep a network, whatever its tensors are called.
_MODEL = ("model", "module", "net", "network", "params", "weights")

# What a training program keeps beside networks.
_TRAINING = {
    "optim", "optimizer", "optimizers", "opt", "sched", "scheduler", "schedulers", "scaler", "rng",
    "amp", "callbacks", "loops",
}  # fmt: skip
_OPTIMIZER = {"optim", "optimizer", "optimizers", "opt"}
_NOTES = {"loss", "losses", "grad", "acc", "accuracy", "best", "epoch", "step", "steps", "lr"}


@dataclasses.dataclass(frozen=True, eq=False)
class NestPart:
    """A part of a nest.

    Attributes
    ----------
    path : tuple of str
        The keys that lead to it.
    value : object
    role : Role
        That of its arrays; `Role.WEIGHT` of a network.
    """

    path: tuple[str, ...]
    value: Any
    role: Role = Role.WEIGHT

    @property
    def name(self) -> str:
        """Its keys, as they begin the names of its tensors."""
        return ".".join(self.path)


def parts_of(contents: Any) -> list[NestPart]:
    """The parts of a nest, networks first; a nest without any is one, as it is."""
    found = list(_Search(contents).parts(contents, ()))
    return sorted(found, key=lambda part: part.role is not Role.WEIGHT)


def network_names(networks: Sequence[NestPart]) -> dict[NestPart, str]:
    """What the names of each network's tensors begin with: the keys that tell it from the others.

    Keys that only say that a network comes, such as ``state_dict``, are left out; where there is
    one network, under such keys alone, nothing is left.
    """
    paths = [part.path for part in networks]
    if len(paths) == 1 and all(says_network(key) or key.isdigit() for key in paths[0]):
        return {networks[0]: ""}
    if len(paths) > 1:
        shared = [len(set(keys)) == 1 for keys in zip(*(path[:-1] for path in paths), strict=False)]
        start = [*shared, False].index(False)
        paths = [path[start:] for path in paths]
    short = [tuple(key for key in path if not says_network(key)) or path for path in paths]
    chosen = short if len(set(short)) == len(short) else paths
    return {part: ".".join(path) for part, path in zip(networks, chosen, strict=True)}


class _Search:
    """Looks through containers, each once."""

    def __init__(self, contents: Any) -> None:
        self._passed: set[int] = set()
        self._known: dict[int, list[Any]] = {}
        self._dotted: dict[int, bool] = {}
        self._holders = _holders(contents)

    def parts(self, node: Any, path: tuple[str, ...]) -> Iterator[NestPart]:
        """The parts of a container; one if it is no container of networks."""
        inner = _entries(node)
        if inner is None or is_module(node) or id(node) in self._passed:
            yield NestPart(path, node)
            return
        self._passed.add(id(node))
        if is_optimizer(node):
            yield NestPart(path, node, Role.OPTIMIZER)
            return
        networks = self._networks(node)
        beside = {key for key in inner if key not in networks} if networks else _beside(inner)
        if not networks:
            yield NestPart(path, _without(node, inner, beside))
        for key, value in inner.items():
            if key in beside:
                yield NestPart((*path, str(key)), value, _role(key, value))
            elif networks:
                yield from self.parts(value, (*path, str(key)))

    def _networks(self, node: Any, depth: int = 0) -> list[Any]:
        """The keys of a container under which networks lie."""
        if id(node) not in self._known:
            self._known[id(node)] = []  # of one that holds itself
            inner = _entries(node)
            found = self._found(inner, depth) if inner and depth < _DEPTH else []
            self._known[id(node)] = found
        return self._known[id(node)]

    def _found(self, inner: Mapping[Any, Any], depth: int) -> list[Any]:
        if any("." in str(key) and _is_weight(value) for key, value in inner.items()):
            return []  # a state dict itself
        sure, perhaps = [], []
        for key, value in inner.items():
            if _is_training(key, value) or not self._holds_weights(value):
                continue
            is_sure = is_module(value) or "state_dict" in str(key).lower()
            if is_sure or self._is_state_dict(value) or self._networks(value, depth + 1):
                sure.append(key)
            elif says_network(key):
                perhaps.append(key)
        is_tree = not sure and all(map(self._is_part_of_tree, inner.values()))
        chosen = {*sure, *(() if is_tree and len(perhaps) < len(inner) else perhaps)}
        return [key for key in inner if key in chosen]

    def _is_state_dict(self, value: Any) -> bool:
        """Whether its own tensors have dotted names."""
        if id(value) not in self._dotted:
            inner = _entries(value) or {}
            found = any("." in str(name) and _is_weight(tensor) for name, tensor in inner.items())
            self._dotted[id(value)] = found
        return self._dotted[id(value)]

    def _holds_weights(self, value: Any) -> bool:
        return id(value) in self._holders

    def _is_part_of_tree(self, value: Any) -> bool:
        """Whether it may belong to a tree of weights: an array, or a mapping of those."""
        if is_array(value):
            return not isinstance(value, np.generic) and numel_of(value) != 1
        return isinstance(value, Mapping) and self._holds_weights(value)


def _entries(node: Any) -> Mapping[Any, Any] | None:
    """What a container holds, by key; None for arrays and what is none."""
    if isinstance(node, Ndarray) and isinstance(node.content, list):
        return _entries(node.content)
    if isinstance(node, (list, tuple)):
        return {str(number): value for number, value in enumerate(node)}
    return mapping_of(node)


def _is_container(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple, Record)) or (
        isinstance(value, Ndarray) and isinstance(value.content, list)
    )


def _without(node: Any, inner: Mapping[Any, Any], beside: set[Any]) -> Any:
    return {key: value for key, value in inner.items() if key not in beside} if beside else node


def _beside(inner: Mapping[Any, Any]) -> set[Any]:
    """The keys in a tree of weights that are the optimizer's, or a training program's notes."""
    return {
        key
        for key, value in inner.items()
        if _is_training(key, value) or (_is_number(value) and _is_note(str(key)))
    }


def _is_note(key: str) -> bool:
    return "." not in key and bool(_NOTES & set(words(key)))


def _role(key: Any, value: Any) -> Role:
    is_optimizers = is_optimizer(value) or _OPTIMIZER & set(words(str(key)))
    return Role.OPTIMIZER if is_optimizers else Role.OTHER


def _is_training(key: Any, value: Any) -> bool:
    if is_array(value):
        return False
    return bool(_TRAINING & set(words(str(key)))) or is_optimizer(value)


def says_network(key: Any) -> bool:
    """Whether a key only says that a network comes, as ``state_dict`` does."""
    text = str(key).lower()
    return text in _MODEL or "state_dict" in text


def _holders(contents: Any) -> set[int]:
    """All containers with a floating-point array of some size in them, however deep."""
    above: dict[int, list[int]] = {id(contents): []}
    left, found = [contents], []
    while left:
        node = left.pop()
        for value in (_entries(node) or {}).values():
            inner = value.value if isinstance(value, Marked) else value
            if _is_weight(inner):
                found.append(id(node))
            elif _is_container(inner):
                if id(inner) not in above:
                    left.append(inner)
                above.setdefault(id(inner), []).append(id(node))
    holders: set[int] = set()
    while found:
        node_id = found.pop()
        if node_id not in holders:
            holders.add(node_id)
            found += above[node_id]
    return holders


def _is_weight(value: Any) -> bool:
    return is_array(value) and numel_of(value) > 1 and _is_float(value)


def _is_number(value: Any) -> bool:
    return is_array(value) and numel_of(value) == 1 and _is_float(value)


def _is_float(array: Any) -> bool:
    if isinstance(array, Ndarray):
        array = array.content
    if isinstance(array, LeftOut):
        return True
    if is_torch(array):
        return bool(array.is_floating_point() or array.is_complex())
    if isinstance(array, (Strided, np.ndarray, np.generic)):
        return array.dtype.kind in "fcV"
    return False
