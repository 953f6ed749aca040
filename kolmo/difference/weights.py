"""Quantized tensors as the weights that their codes stand for, which a difference is of."""

from __future__ import annotations

import dataclasses

from kolmo.checkpoints import Checkpoint, WeightTensor


@dataclasses.dataclass(frozen=True, eq=False)
class Dequantized(WeightTensor):
    """A tensor of weights that codes stand for; ``quantized`` says of what form the codes are."""

    quantized: str = ""


def as_weights(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with `Dequantized` tensors in place of quantized ones."""
    return checkpoint.holding(map(_as_weights, checkpoint.values()), checkpoint.skipped)


def _as_weights(tensor: WeightTensor) -> WeightTensor:
    if tensor.codes is None:
        return tensor
    fields = {field.name: getattr(tensor, field.name) for field in dataclasses.fields(tensor)}
    return Dequantized(**{**fields, "codes": None}, quantized=tensor.form)


def quantized_form(tensor: WeightTensor) -> str:
    """The form of the codes that its weights come from; empty if there were none."""
    return tensor.quantized if isinstance(tensor, Dequantized) else ""
