"""What looks packed and was understood by no scheme.

Its words are no weights, and to measure them as integers would give a wrong number of weights in
silence; they are left out with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator

from kolmo.checkpoints.base import Role, Skipped, WeightTensor
from kolmo.checkpoints.quantized.base import (
    Arrays,
    Latest,
    Logical,
    QuantSettings,
    Unknown,
    is_integer,
    stems,
)

_SCHEMES = {
    "trellis": ("EXL3 or QTIP", "", ("suh", "svh", "su", "sv", "mcg", "mul1")),
    "q_weight": ("EXL2", "", ("q_scale", "q_scale_max", "q_groups", "q_invperm", "q_perm")),
    "Qidxs": ("QuIP#", "", ("SU", "SV", "Wscale", "codebook_id")),
    "codes": ("AQLM", "codebooks", ("codebooks", "scales")),
    "indices": ("VPTQ", "centroids.weight", ("centroids.weight", "weight_scale", "weight_bias")),
    "B": ("Marlin", "s", ("s", "B_meta", "workspace")),
    "weight_bitmask": ("compressed-tensors' sparse weights", "", ("weight_compressed",)),
    "bitmask": ("compressed-tensors' sparse weights", "compressed", ("compressed", "shape")),
}
"""By the end of the name of codes: whose they are, what must be beside them, what may be."""

_ALONE = {
    "qzeros": "GPTQ or AWQ",
    "g_idx": "GPTQ",
    "weight_packed": "compressed-tensors",
    "weight_scale_inv": "8-bit floats",
    "weight_scale_2": "NVFP4",
    "weight_global_scale": "NVFP4",
    "weight.absmax": "bitsandbytes",
    "weight.quant_map": "bitsandbytes",
    "SCB": "bitsandbytes",
}
"""Ends of the names of arrays that belong to codes, and whose."""


_CALIBRATION = (
    *("input_scale", "input_global_scale", "input_zero_point", "output_scale", "activation_scale"),
    *("k_scale", "v_scale", "q_scale", "kv_scale", "prob_scale", "k_zero_point", "v_zero_point"),
    *("k_global_scale", "v_global_scale", "input_quantizer._amax", "weight_quantizer._amax"),
    *("output_quantizer._amax", "scaled_fp8"),
)
"""Ends of the names of what belongs to activations and caches, beside quantized weights."""

_CODES = (".weight", "_blocks", ".weight._data", "._packed", "_qdata")
"""Ends of the names of codes, where they are narrow integers."""


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """Arrays whose names, or dtypes, say that they are packed."""
    for end, (whose, must, may) in _SCHEMES.items():
        for stem in stems(arrays, end):
            if arrays[stem + end].dtype.kind in "iu" and (not must or stem + must in arrays):
                names = [stem + end, *(stem + other for other in may if stem + other in arrays)]
                yield Unknown(tuple(names), f"codes of {whose}, which are not supported")
    for end, whose in _ALONE.items():
        for stem in stems(arrays, end):
            reason = f"belongs to codes of {whose}, which are not there"
            yield Unknown((stem + end,), reason)
    for name, tensor in arrays.items():
        if _looks_packed(name, tensor):
            yield Unknown((name,), f"{tensor.dtype.name} codes that no scales or tables go with")


def calibration(left: dict[str, WeightTensor]) -> list[Skipped]:
    """What quantized models keep for their inputs and caches, which is taken out of what is left:
    scales of layers whose weights are not quantized, too."""
    names = [stem + end for end in _CALIBRATION for stem in stems(left, end)]
    reason = "calibration of a quantized model's activations"
    taken = [left.pop(name) for name in dict.fromkeys(names)]
    return [Skipped(t.name, reason, t.numel, Role.BOOKKEEPING, t) for t in taken]


def _looks_packed(name: str, tensor: WeightTensor) -> bool:
    narrow = is_integer(tensor, 2, 4, 8, 16, 32) and len(tensor.shape) > 1
    return narrow and tensor.codes is None and name.endswith(_CODES)
