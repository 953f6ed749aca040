"""Output errors of layers: how far each layer's outputs move for given inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kolmo.errors import InputError
from kolmo.lossy.moments import call

if TYPE_CHECKING:
    import torch


def layer_errors(
    model: torch.nn.Module, changed: torch.nn.Module, batches: Iterable[Any]
) -> dict[str, float]:
    """Σ‖y − ŷ‖² / Σ‖y‖² of every layer that has parameters, on the inputs that it sees.

    Parameters
    ----------
    model : torch.nn.Module
        Its layers get the inputs that they get in it; errors of earlier layers do not count.
    changed : torch.nn.Module
        A copy with other weights.
    batches : iterable
        Tensors, or tuples or dicts of arguments of the model.

    Returns
    -------
    dict of str to float
        By name of the layer, in the order of the model; of layers that are called and give a
        tensor, or several of which the first counts.

    Raises
    ------
    InputError
        If there is no batch.

    Examples
    --------
    >>> import copy, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    >>> other = copy.deepcopy(model)
    >>> with torch.no_grad():
    ...     _ = other[0].weight.mul_(0.5)
    >>> layer_errors(model, other, [torch.ones(3, 2)])
    {'0': 0.25}
    """
    import torch

    twins = dict(changed.named_modules())
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if any(True for _ in layer.parameters(recurse=False))
    }
    errors, powers = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0)

    def watch(name: str) -> Any:
        def hook(_: Any, args: Any, kwargs: Any, output: Any) -> None:
            made, other = _first(output), _first(twins[name](*args, **kwargs))
            errors[name] += float((made - other).double().square().sum())
            powers[name] += float(made.double().square().sum())

        return hook

    mode, given = model.training, list(batches)
    if not given:
        raise InputError("layers: there is no batch of inputs to look at")
    hooks = [
        layer.register_forward_hook(watch(name), with_kwargs=True) for name, layer in layers.items()
    ]
    try:
        model.eval()
        with torch.no_grad():
            for batch in given:
                call(model, batch)
    finally:
        model.train(mode)
        for hook in hooks:
            hook.remove()
    return {name: errors[name] / powers[name] for name in layers if powers[name]}


def _first(output: Any) -> Any:
    while isinstance(output, tuple | list):
        output = output[0]
    return output
