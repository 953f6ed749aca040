"""Reading the tensors of a model or a checkpoint that are to be cut into blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.opening import open_source
from kolmo.floats import is_float
from momos.mosaic.blocks import Array
from momos.parameters import named_parameters, plain_state
from momos.tensors import require_one_dtype, same_bits


@dataclasses.dataclass(frozen=True)
class Read:
    """Tensors as arrays.

    Attributes
    ----------
    tensors : mapping of str to ndarray
        Each tensor once, by its first name.
    cut : tuple of str
        Names of those to cut into blocks.
    aliases : mapping of str to str
        Every other name of a tied tensor, and its first.
    """

    tensors: dict[str, Array]
    cut: tuple[str, ...]
    aliases: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the aliases behind the others."""
        return (*self.tensors, *self.aliases)


def read_source(source: Any, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Read:
    """A model's or a checkpoint's tensors, and which of them are to be cut into blocks."""
    trainable: set[str] | None = None
    if isinstance(source, torch.nn.Module):
        trainable = {n for n, p in named_parameters(source).items() if p.requires_grad}
        source, _ = plain_state(source)
    checkpoint, aliases = _without_ties(open_source(source))
    selected = checkpoint.select(include, exclude)
    cut = tuple(
        name
        for name, tensor in selected.items()
        if (is_float(tensor.dtype) if trainable is None else name in trainable)
    )
    require_one_dtype(checkpoint.source, {name: checkpoint[name].dtype for name in cut})
    return Read({name: t.read().copy() for name, t in checkpoint.items()}, cut, aliases)


def _without_ties(checkpoint: Checkpoint) -> tuple[Checkpoint, dict[str, str]]:
    """The checkpoint with each tensor once, and the first name of those that have several."""
    first: dict[Hashable, WeightTensor] = {}
    aliases = {}
    for name, tensor in checkpoint.items():
        of = first.setdefault((tensor.place, tensor.shape) if tensor.place else name, tensor)
        if of is not tensor and same_bits(of.read(), tensor.read()):  # not a transpose of it
            aliases[name] = of.name
    kept = [tensor for name, tensor in checkpoint.items() if name not in aliases]
    return checkpoint.holding(kept, checkpoint.skipped), aliases
