"""Which of a model's parameters take part in a mosaic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from kolmo.checkpoints.base import Skipped
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from momos.config import Policy
from momos.tensors import plain_name, require_one_dtype

NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)
"""Classes of norm layers."""


def select_parameters(
    model: torch.nn.Module, policy: Policy, include: Sequence[str], exclude: Sequence[str]
) -> tuple[dict[str, torch.nn.Parameter], tuple[Skipped, ...]]:
    """The trainable parameters that take part, by plain name, and those left out, with reasons."""
    trainable = {plain_name(name): p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise InputError(f"{type(model).__name__}: it has no trainable parameter to project")
    selected = open_source(trainable).select(include, exclude)
    norms = norm_parameters(model)
    kept = {n: trainable[n] for n in selected if _takes_part(n, trainable[n], policy, norms)}
    dtypes = {name: selected[name].dtype for name in kept}
    require_one_dtype(type(model).__name__, dtypes)
    left = [Skipped(n, f"policy {policy}", trainable[n].numel()) for n in selected if n not in kept]
    return kept, (*selected.skipped, *left)


def _takes_part(
    name: str, parameter: torch.nn.Parameter, policy: Policy, norms: frozenset[str]
) -> bool:
    if policy == "matrices":
        return parameter.ndim > 1 and name not in norms
    return policy == "all" or name not in norms


def norm_parameters(model: torch.nn.Module) -> frozenset[str]:
    """Plain names of the parameters of norm layers."""
    return frozenset(
        plain_name(f"{prefix}.{name}" if prefix else name)
        for prefix, module in model.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    )
