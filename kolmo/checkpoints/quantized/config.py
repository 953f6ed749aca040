"""The configuration files beside a model's weights, as far as they tell of quantization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kolmo.checkpoints.folders import File
from kolmo.checkpoints.json_text import load_json
from kolmo.errors import InputError, UnansweredError

_LIMIT = 1 << 22  # bytes; configurations have some thousand

_FILES = ("config.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""transformers' and MLX's; AutoGPTQ's; AutoAWQ's; that of NVIDIA's modelopt."""


def config_beside(file: File) -> dict[str, Any] | None:
    """What the configuration files in a checkpoint's folder say; None if there is none.

    The settings of a file of its own come under ``quantization_config``, as in ``config.json``.
    """
    found = {name: _read(file, name) for name in _FILES}
    config = dict(found["config.json"] or {})
    for name in _FILES[1:]:
        more = found[name]
        if more is not None and "quantization_config" not in config:
            inner = more.get("quantization")
            config["quantization_config"] = inner if isinstance(inner, Mapping) else more
    return config or None


def _read(file: File, name: str) -> dict[str, Any] | None:
    try:
        stored = file.beside(name).stored
        if stored.size > _LIMIT:
            return None
        content = load_json(bytes(stored.read(0, stored.size)), stored.where)
    except UnansweredError:  # another answer, another time, would make other weights of the same
        raise
    except (InputError, OSError):
        return None  # what cannot be read says nothing: names and shapes suffice
    return content if isinstance(content, dict) else None
