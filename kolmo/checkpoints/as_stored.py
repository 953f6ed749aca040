"""The arrays of a file as they lie there, where quantized weights were made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from kolmo.checkpoints.base import Checkpoint, Role, WeightTensor


def as_stored(checkpoint: Checkpoint) -> Checkpoint:
    """The same source with the arrays of the file in place of its logical tensors: codes, scales
    and the like, of which every bit can be kept.

    Where the file does not keep them in arrays of its own, the dequantized weights stand for them.

    Examples
    --------
    >>> import kolmo, numpy as np
    >>> stored = {"up.weight": np.int8([[1, 2]]), "up.weight_scale": np.float32([0.5])}
    >>> found = kolmo.open_checkpoint(stored)
    >>> list(found), list(as_stored(found)), as_stored(found)["up.weight"].dtype
    (['up.weight'], ['up.weight', 'up.weight_scale'], dtype('int8'))
    """
    if not any(tensor.codes for tensor in checkpoint.values()):
        return checkpoint
    tensors = {tensor.name: tensor for tensor in _stored(checkpoint)}
    excluded = {name for entry in checkpoint.skipped for name in _needed(entry.tensor)}
    skipped = []
    for entry in checkpoint.skipped:
        is_kept = entry.role is Role.BOOKKEEPING and entry.name not in excluded
        if entry.tensor is not None and is_kept:
            tensors.setdefault(entry.name, entry.tensor)
        if entry.name not in tensors:
            skipped.append(entry)
    return checkpoint.holding(tensors.values(), skipped)


def _stored(checkpoint: Checkpoint) -> Iterator[WeightTensor]:
    for tensor in checkpoint.values():
        codes = tensor.codes
        if codes and codes.stored:
            yield from (*codes.stored, *codes.needed)
        else:
            yield dataclasses.replace(tensor, codes=None) if codes else tensor


def _needed(tensor: WeightTensor | None) -> list[str]:
    """The names of the arrays that belong to a tensor."""
    codes = tensor.codes if tensor else None
    return [array.name for array in (*codes.stored, *codes.needed)] if codes else []
