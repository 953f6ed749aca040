"""What a Keras model says of its layers, and what these call their variables.

The description (``config.json``, ``model_config``) is data; nothing in it is built or called.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kolmo.checkpoints.json_text import load_json
from kolmo.errors import InputError

_KERNEL = ("kernel", "bias")
_SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
_RECURRENT = ("kernel", "recurrent_kernel", "bias")
STATISTICS = ("moving_mean", "moving_variance")
"""What layers of normalization keep of their inputs, by their last names."""

_VARIABLES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("dense", "einsum_dense"), _KERNEL),
    **dict.fromkeys(("query_dense", "key_dense", "value_dense", "output_dense"), _KERNEL),
    **dict.fromkeys((f"conv{n}d" for n in (1, 2, 3)), _KERNEL),
    **dict.fromkeys((f"conv{n}d_transpose" for n in (1, 2, 3)), _KERNEL),
    **dict.fromkeys((f"depthwise_conv{n}d" for n in (1, 2)), _KERNEL),
    **dict.fromkeys(("separable_conv1d", "separable_conv2d"), _SEPARABLE),
    **dict.fromkeys(("lstm_cell", "gru_cell", "simple_rnn_cell"), _RECURRENT),
    "batch_normalization": ("gamma", "beta", *STATISTICS),
    "layer_normalization": ("gamma", "beta"),
    "group_normalization": ("gamma", "beta"),
    "rms_normalization": ("scale",),
    "embedding": ("embeddings",),
    "reversible_embedding": ("embeddings", "reverse_embeddings"),
    "p_re_lu": ("alpha",),
    "normalization": ("mean", "variance", "count"),
}
"""The variables of layers in the order of their numbers, by the class's name in snake case."""

_FLOAT8 = ("inputs_scale", "inputs_amax_history", "kernel_scale", "kernel_amax_history",
           "outputs_grad_scale", "outputs_grad_amax_history")  # fmt: skip
_GPTQ = ("quantized_kernel", "kernel_scale", "kernel_zero", "g_idx")
_AWQ = ("quantized_kernel", "kernel_scale", "kernel_zero", "awq_scales", "g_idx")

_NESTED = 1 << 20  # parts of a description at most


@dataclasses.dataclass(frozen=True)
class KerasLayer:
    """A layer as its model describes it: its class in snake case, and its settings."""

    kind: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def mode(self) -> str:
        """How its weights are quantized: ``int8``, ``int4``; empty if they are not, or unknown."""
        policy = self.config.get("dtype")
        settings = policy.get("config") if isinstance(policy, dict) else None
        mode = settings.get("mode") if isinstance(settings, dict) else None
        return mode.split("/")[0].split("_")[0] if isinstance(mode, str) else ""


def layers_of(description: bytes) -> dict[str, KerasLayer]:
    """The layers of a model by their names, where these are unique."""
    try:
        left = [load_json(description, "the description of a model")]
    except InputError:
        return {}
    found: dict[str, KerasLayer] = {}
    twice: set[str] = set()
    for _ in range(_NESTED):
        if not left:
            break
        part = left.pop()
        left += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        config = part.get("config") if isinstance(part, dict) else None
        if isinstance(config, dict) and isinstance(name := config.get("name"), str):
            made = KerasLayer(_snake(str(part.get("class_name", ""))), config)
            if found.setdefault(name, made) != made:
                twice.add(name)
    return {name: layer for name, layer in found.items() if name not in twice}


def variable_names(
    layer: KerasLayer, called: Sequence[str], dtypes: Sequence[np.dtype[Any] | None]
) -> Sequence[str]:
    """What a layer calls its variables, by their order; fewer where that is not known.

    ``called`` are the names of its group and its own, which often tell its class.
    """
    kinds = [layer.kind, *(re.sub(r"_\d+$", "", name) for name in called)]
    known = next((_VARIABLES[kind] for kind in kinds if kind in _VARIABLES), ())
    if known[-2:] == STATISTICS:
        return _normalization(layer, len(dtypes))
    if known == _KERNEL:
        return _with_quantized(list(dtypes))
    if known[:1] == ("embeddings",) and len(dtypes) in (2, 4) and dtypes[0] == np.int8:
        return ("embeddings", "embeddings_scale", "embeddings_zero", "g_idx")[: len(dtypes)]
    return known


def _normalization(layer: KerasLayer, count: int) -> Sequence[str]:
    """Of gamma and beta, either may lack; where nothing says which, it has its number."""
    affine = [name for name, flag in (("gamma", "scale"), ("beta", "center"))
              if layer.config.get(flag, True)]  # fmt: skip
    if len(affine) + 2 != count:
        affine = ["gamma", "beta"] if count >= 4 else ["0", "1"][: max(0, count - 2)]
    return (*affine, *STATISTICS)


def _with_quantized(dtypes: list[np.dtype[Any] | None]) -> Sequence[str]:
    """A kernel, a bias where there is one, and what its quantization adds."""
    if np.dtype(np.uint8) in dtypes[:2]:
        bias = () if dtypes[0] == np.uint8 else ("bias",)
        return (*bias, *(_AWQ if len(dtypes) - len(bias) == len(_AWQ) else _GPTQ))
    if dtypes[:1] == [np.dtype(np.int8)]:
        has_bias = len(dtypes) in (3, 5)
        names = ("kernel", *(("bias",) if has_bias else ()), "kernel_scale")
        return (*names, "kernel_zero", "g_idx")[: len(dtypes)]
    if len(dtypes) >= len(_FLOAT8) + 1:
        return (*_KERNEL[: len(dtypes) - len(_FLOAT8)], *_FLOAT8)
    return _KERNEL


def _snake(name: str) -> str:
    """A class's name as Keras writes it in paths: ``Conv2DTranspose`` is ``conv2d_transpose``."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
