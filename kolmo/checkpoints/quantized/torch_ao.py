"""State dicts of torch.ao: layers whose weight and bias are a tuple, ``_packed_params``.

Dynamic and static quantization keep a quantized tensor and a bias in
``X._packed_params._packed_params``; ``X.scale`` and ``X.zero_point`` are those of the layer's
outputs. The logical tensors are those of the layer that was quantized: ``X.weight``, ``X.bias``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.quantized.base import (
    Arrays,
    Latest,
    Logical,
    QuantSettings,
    Unknown,
    present,
)

_PACKED = "_packed_params._packed_params."
_BESIDE = {"scale": "the scale of the outputs", "zero_point": "the zero point of the outputs"}


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """Quantized tensors of layers, and their biases."""
    for name, tensor in arrays.items():
        stem, packed, number = name.rpartition(_PACKED)
        if packed and (not stem or stem.endswith(".")) and number in ("0", "1"):
            renamed = f"{stem}{'bias' if number == '1' else 'weight'}"
            made = dataclasses.replace(tensor, name=renamed)
            yield Logical(made, beside=_outputs(stem, arrays, made), replaces=(name,))
        elif name.endswith("weight") and _is_quantized(tensor):
            beside = _outputs(name.removesuffix("weight"), arrays, tensor)
            yield Logical(tensor, beside=beside, replaces=(name,))


def _is_quantized(tensor: WeightTensor) -> bool:
    return tensor.codes is not None and tensor.codes.scheme.startswith("torch ")


def _outputs(stem: str, arrays: Arrays, tensor: WeightTensor) -> dict[str, str]:
    """What the outputs of a layer are quantized with."""
    beside = present({stem + end: what for end, what in _BESIDE.items()}, arrays)
    lone = {name: what for name, what in beside.items() if arrays[name].numel == 1}
    return lone if _is_quantized(tensor) else {}
