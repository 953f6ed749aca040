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

_PACKED = "_packed_params."
_NAMES = {
    "_packed_params.0": "weight",
    "_packed_params.1": "bias",
    "_packed_weight": "weight",  # of an embedding
}
_BESIDE = {"scale": "the scale of the outputs", "zero_point": "the zero point of the outputs"}


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """Quantized tensors of layers, and their biases."""
    for name, tensor in arrays.items():
        renamed = _renamed(name)
        if renamed or (name.endswith("weight") and _is_quantized(tensor)):
            made = dataclasses.replace(tensor, name=renamed or name)
            yield Logical(made, beside=_outputs(made.name, arrays), replaces=(name,))


def _renamed(name: str) -> str:
    """The name of a packed tensor in the layer that was quantized; empty if it is no such."""
    for end, plain in _NAMES.items():
        stem = name.removesuffix(_PACKED + end)
        if stem != name and (not stem or stem.endswith(".")):
            return stem + plain
    return ""


def _is_quantized(tensor: WeightTensor) -> bool:
    return tensor.codes is not None and tensor.codes.scheme.startswith("torch ")


def _outputs(name: str, arrays: Arrays) -> dict[str, str]:
    """What the outputs of the layer of a weight are quantized with."""
    stem = name.removesuffix("weight")
    beside = present({stem + end: what for end, what in _BESIDE.items()}, arrays)
    return {key: what for key, what in beside.items() if arrays[key].numel == 1}
