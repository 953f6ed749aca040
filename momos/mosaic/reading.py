"""Reading the tensors of a model or a checkpoint that are to be cut into blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.opening import open_source
from kolmo.floats import is_float
from momos.mosaic.blocks import Array
from momos.tensors import plain_name, require_one_dtype


def read_source(
    source: Any, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """A model's or a checkpoint's tensors, and the names of those to cut into blocks."""
    trainable: set[str] | None = None
    if isinstance(source, torch.nn.Module):
        trainable = {plain_name(n) for n, p in source.named_parameters() if p.requires_grad}
        source = {plain_name(name): tensor for name, tensor in source.state_dict().items()}
    checkpoint = _without_ties(open_source(source))
    selected = checkpoint.select(include, exclude)
    cut = tuple(
        name
        for name, tensor in selected.items()
        if (is_float(tensor.dtype) if trainable is None else name in trainable)
    )
    require_one_dtype(checkpoint.source, {name: checkpoint[name].dtype for name in cut})
    return {name: tensor.read().copy() for name, tensor in checkpoint.items()}, cut


def _without_ties(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with each tensor once, however many names it has."""
    first = {tensor.place or name: name for name, tensor in reversed(list(checkpoint.items()))}
    kept = [tensor for name, tensor in checkpoint.items() if first[tensor.place or name] == name]
    return checkpoint.holding(kept, checkpoint.skipped)
