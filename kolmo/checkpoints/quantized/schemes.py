"""The schemes of quantization, one after the other, on the arrays that none before it took."""

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


def replaced_by_logical(checkpoint: Checkpoint, config: Mapping[str, Any] | None) -> Checkpoint:
    """The checkpoint with logical tensors; see `kolmo.checkpoints.quantized.logical_tensors`."""
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
