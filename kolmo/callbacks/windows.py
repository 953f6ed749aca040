"""The windows of a network that are watched: the same at every step, wherever the network lies.

A network of few weights is watched whole. Of a larger one windows are, blocks of consecutive rows
and columns, so that a code finds in them what rows and columns have in common; each is drawn, by a
seed, from an equal stretch of all weights. Only they are copied to the processor's memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.torch_tensors import torch_tensor
from kolmo.errors import InputError
from kolmo.symbols import Shape

SIDE = 32
"""Rows and columns of a window, where its tensor has so many."""

_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module")  # what torch.compile and FSDP add to names


@dataclasses.dataclass(frozen=True)
class WatchedWindow:
    """A block of a tensor: its rows and columns; the whole tensor in its own shape without.

    A tensor of one dimension is one row; all dimensions after the first are columns.
    """

    tensor: str
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """``layer.weight[0:32, 64:96]``"""
        if self.rows is None:
            return self.tensor
        (top, bottom), (left, right) = self.rows, self.columns
        return f"{self.tensor}[{top}:{bottom}, {left}:{right}]"

    def cut(self, tensor: Any) -> Any:
        """Its weights, copied from a torch tensor wherever it lies."""
        found = tensor.detach()
        if self.rows is not None:
            matrix = found[slice(*self.rows)] if found.ndim > 1 else found.reshape(1, -1)
            found = matrix.flatten(1)[:, slice(*self.columns)]
        return found.to("cpu", copy=True).contiguous()


def windows_of(shapes: Mapping[str, Shape], weights: int, seed: int = 0) -> list[WatchedWindow]:
    """The windows of tensors of these shapes, about so many weights in all.

    >>> [window.name for window in windows_of({"w": (64, 64), "b": (64,)}, 9000)]
    ['w', 'b']
    >>> [window.name for window in windows_of({"w": (64, 64), "b": (64,)}, 2048)]
    ['w[0:32, 32:64]', 'w[32:64, 0:32]']
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = sum(sizes.values())
    if total <= weights:
        return [WatchedWindow(name) for name, size in sizes.items() if size]
    count = max(1, weights // SIDE**2)
    drawn = (np.arange(count) + np.random.default_rng(seed).random(count)) * total / count
    wanted = iter(drawn.astype(int).tolist())
    found: dict[WatchedWindow, None] = {}
    place, before = next(wanted), 0
    for name, size in sizes.items():
        while place is not None and place < before + size:
            found[_around(name, shapes[name], place - before)] = None
            place = next(wanted, None)
        before += size
    return list(found)


def _around(name: str, shape: Shape, place: int) -> WatchedWindow:
    """The window of a tensor's grid that holds a weight."""
    rows, columns = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
    height = min(rows, max(SIDE, SIDE**2 // columns))
    width = min(columns, SIDE**2 // height)
    row, column = divmod(place, columns)
    top, left = row // height * height, column // width * width
    bottom, right = min(top + height, rows), min(left + width, columns)
    return WatchedWindow(name, (top, bottom), (left, right))


# --- networks -------------------------------------------------------------------------------


def weights_of(model: Any) -> dict[str, Any]:
    """The floating-point parameters of a module, each once, by plain name; of one that is cut over
    several processes the part that lies here.

    Raises
    ------
    InputError
        If it is no module, or there is no weight here.
    """
    if not hasattr(model, "named_parameters"):
        raise InputError(f"a monitor watches an nn.Module, and not a {type(model).__name__}")
    here = {_plain(name): _local(p) for name, p in model.named_parameters()}
    found = {name: tensor for name, tensor in here.items() if _has_weights(tensor)}
    if not found:
        raise InputError(f"{type(model).__name__}: there is no weight in this process to watch")
    return found


def watched(model: Any, weights: int, seed: int = 0) -> Checkpoint:
    """The windows of a module as they are now: copies, as tensors of a checkpoint."""
    tensors = weights_of(model)
    shapes = {name: tuple(map(int, tensor.shape)) for name, tensor in tensors.items()}
    chosen = windows_of(shapes, weights, seed)
    pieces = ((window.name, window.cut(tensors[window.tensor])) for window in chosen)
    return Checkpoint(_readable(pieces), source=type(model).__name__, format="module")


def _readable(pieces: Iterator[tuple[str, Any]]) -> Iterator[WeightTensor]:
    for name, piece in pieces:
        made = torch_tensor(name, piece)
        if not isinstance(made, Skipped):  # of a dtype that nothing here reads
            yield dataclasses.replace(made, role=Role.WEIGHT)


def _plain(name: str) -> str:
    """The name of a parameter without those of wrappers.

    >>> _plain("_orig_mod.layers.0._orig_mod.weight"), _plain("module.weight")
    ('layers.0.weight', 'weight')
    """
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    return ".".join(parts[1:] if len(parts) > 1 and parts[0] == "module" else parts)


def _local(parameter: Any) -> Any:
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter


def _has_weights(tensor: Any) -> bool:
    is_here = str(tensor.layout) == "torch.strided" and tensor.device.type != "meta"
    return bool(is_here and tensor.is_floating_point() and tensor.numel())
