"""What is in memory already: modules, state dicts, arrays, in whatever nest they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kolmo.checkpoints.base import Checkpoint, Skipped
from kolmo.checkpoints.containers import make_checkpoint, make_tensor
from kolmo.checkpoints.quantized import logical_tensors
from kolmo.checkpoints.torch import open_module
from kolmo.errors import InputError


def open_memory(source: Any) -> Checkpoint:
    if hasattr(source, "state_dict") and hasattr(source, "parameters"):
        return logical_tensors(open_module(source), None)
    if isinstance(source, (Mapping, list, tuple)):
        found = make_checkpoint(source, source="arrays in memory", format="arrays")
        return logical_tensors(found, None)
    if not hasattr(source, "shape"):
        raise InputError(
            f"cannot open a {type(source).__name__}; give a path, a URL, an nn.Module, a state "
            f"dict, or a mapping or list of arrays"
        )
    single = make_tensor("array", source)
    if isinstance(single, Skipped):
        raise InputError(f"cannot measure this array: {single.reason}")
    return open_memory({"array": source})
