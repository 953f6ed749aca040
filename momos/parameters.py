"""Which of a model's parameters take part in a mosaic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from kolmo.checkpoints.base import Skipped
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from momos.attaching import is_learners
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
    trainable = {name: p for name, p in named_parameters(model).items() if p.requires_grad}
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
    plain = plain_names(model)
    names = (
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    )
    return frozenset(plain.get(name, name) for name in names)


def named_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """A model's parameters by plain name; a tied one by its first."""
    plain = plain_names(model)
    return {plain.get(name, name): parameter for name, parameter in model.named_parameters()}


def plain_state(model: torch.nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A model's state under plain names, without a learner's, and its tied tensors.

    Those are a mapping of every other name of a tensor to its first. Latent weights are as they
    are.
    """
    plain, first, aliases = plain_names(model), dict[int, str](), dict[str, str]()
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if is_learners(name) or not isinstance(tensor, torch.Tensor):
            continue
        name = plain.get(name, name)
        state[name] = tensor.detach()
        if (of := first.setdefault(id(tensor), name)) != name:
            aliases[name] = of
    return state, aliases


def plain_names(model: torch.nn.Module) -> dict[str, str]:
    """Names of latent weights, and the names of what they are the latent weights of.

    Only parametrizations that say so, as quantization-aware training does, have those: the
    originals of any other, such as a spectral norm's, are parameters like others.
    """
    latent = [
        f"{prefix}.original".lstrip(".")
        for prefix, module in model.named_modules()
        if isinstance(module, ParametrizationList)
        and all(getattr(one, "has_latent_weights", False) for one in module)
    ]
    return {name: plain_name(name) for name in latent}
