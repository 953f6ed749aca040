"""Quantized checkpoints: the logical tensors that packed codes, scales and the like stand for.

A quantized model stores, in place of a layer's weight, codes of a few bits and what they need to
be numbers again. `logical_tensors` finds them by their names, dtypes and shapes, which suffice,
and by the model's configuration where one is there; each scheme is a module of its own, and finds
only what it understands wholly. What looks packed and is not understood is left out with the
reason: its words are no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.quantized import (
    bitsandbytes,
    gptq,
    hqq,
    leftovers,
    microscaling,
    mlx,
    packed,
    scaled,
    torch_ao,
)
from kolmo.checkpoints.quantized.base import Latest, Logical, QuantSettings, Unknown

SCHEMES = (
    gptq.find,
    packed.find,
    bitsandbytes.find,
    mlx.find,
    hqq.find,
    microscaling.find,
    scaled.find,
    torch_ao.find,
    leftovers.find,
)
"""Each gives the `Logical` and the `Unknown` among arrays that no scheme before it took; the last
one knows none, but what packed codes look like."""


def logical_tensors(checkpoint: Checkpoint, config: Mapping[str, Any] | None) -> Checkpoint:
    """The checkpoint with logical tensors in place of the arrays that quantization made of them.

    Parameters
    ----------
    checkpoint : Checkpoint
        With every stored array among its tensors; those whose role the format tells stay as they
        are.
    config : mapping, optional
        The contents of the model's ``config.json``; not trusted.

    Returns
    -------
    Checkpoint
        Each logical tensor at the place of its codes, under its framework's name; scales, zero
        points and the like are in ``skipped``. The same checkpoint if nothing is quantized.

    Examples
    --------
    >>> import numpy as np
    >>> from kolmo.checkpoints import open_checkpoint
    >>> codes = np.uint8([[1, 2], [3, 4]]).astype(np.int8)
    >>> stored = {"up.weight": codes, "up.weight_scale": np.float32([[0.5], [2]])}
    >>> found = open_checkpoint(stored)
    >>> found["up.weight"].read().tolist(), found["up.weight"].form, found.skipped[0].name
    ([[0.5, 1.0], [6.0, 8.0]], '8-bit INT8', 'up.weight_scale')
    """
    settings, latest = QuantSettings(config), Latest()
    left = {name: tensor for name, tensor in checkpoint.items() if tensor.role is None}
    known = checkpoint.keys() - left.keys()
    replaced: dict[str, WeightTensor] = {}
    taken: set[str] = set()
    skipped: list[Skipped] = []
    for find in SCHEMES:
        for found in list(find(left, settings, latest)):
            if isinstance(found, Unknown):
                skipped += _unknown(found, left)
            elif not all(code in left for code in found.codes):
                continue  # another has them
            elif _is_taken(found, left, taken):
                reason = f"codes of {found.tensor.name!r}, which another array is"
                skipped += _unknown(Unknown((*found.codes, *found.needed), reason), left)
            else:
                replaced[found.codes[0]] = found.tensor
                taken.add(found.tensor.name)
                skipped += _bookkeeping(found, left)
    if not replaced and not skipped:
        return checkpoint
    skipped += leftovers.calibration(left)
    tensors = [
        replaced.get(name, tensor)
        for name, tensor in checkpoint.items()
        if name in replaced or name in left or name in known
    ]
    return checkpoint.holding(tensors, [*checkpoint.skipped, *skipped])


def _is_taken(found: Logical, left: Mapping[str, WeightTensor], taken: Set[str]) -> bool:
    """Whether something else has its name."""
    name = found.tensor.name
    return name in taken or (name in left and name not in found.codes)


def _bookkeeping(found: Logical, left: dict[str, WeightTensor]) -> Iterator[Skipped]:
    """What the logical tensor leaves aside, which is taken out of what is left."""
    name, codes = found.tensor.name, found.codes
    for taken in codes:
        del left[taken]
    for taken, what in {**found.needed, **found.beside}.items():
        tensor = left.pop(taken, None)
        if tensor is not None:
            reason = f"{what} of the quantized {name!r}"
            yield Skipped(taken, reason, tensor.numel, Role.BOOKKEEPING, tensor)


def _unknown(found: Unknown, left: dict[str, WeightTensor]) -> Iterator[Skipped]:
    for name in found.names:
        tensor = left.pop(name, None)
        if tensor is not None:
            yield Skipped(name, found.reason, tensor.numel, Role.OTHER, tensor)
