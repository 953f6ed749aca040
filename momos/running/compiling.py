"""A trained model whose linear layers and convolutions become layers of motifs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from kolmo.errors import InputError
from kolmo.progress import Wanted, progress_bar
from momos.attaching import attached
from momos.running.fitting import fit_layer
from momos.running.layers import MOTIFS, MosaicConv2d, MosaicLinear

Layer = nn.Linear | nn.Conv2d


def compile(
    model: nn.Module,
    *,
    block_size: int = 8,
    motifs: int = MOTIFS,
    inputs: Any = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    rounds: int = 15,
    seed: int = 0,
    progress: Wanted = None,
) -> nn.Module:
    """A copy of a model whose linear layers and convolutions run as mosaics.

    Motifs are fitted to each layer's blocks by k-means, and each row has a scale. Given inputs, a
    block's error counts by how large its inputs are, and the blocks after it make it good (see
    `momos.running.fitting`).

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    block_size : int
        Weights a block: 8 for one bit a weight, 4 for two, with 256 motifs.
    motifs : int
        Motifs of each layer, 2 to 256; an index is a byte, however few.
    inputs : tensor, tuple, mapping, or iterable of them, optional
        Batches to call the model with, some hundred rows in all or more: tuples are positional
        arguments, mappings are keywords.
    include, exclude : globs
        Names of the layers to change; by default all that get smaller.
    rounds : int
        Of k-means; 0 leaves the layers empty, to load a state dict into.
    seed : int
        Of the first motifs.
    progress : bool or callable, optional

    Returns
    -------
    nn.Module

    Raises
    ------
    InputError
        If a number is out of range, or no layer is left to change.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 3))
    >>> small = compile(model, block_size=4, inputs=torch.randn(64, 128))
    >>> small[0], type(small[2]).__name__  # which would get no smaller
    (MosaicLinear([256, 128], blocks of 4, bias=True), 'Linear')
    >>> again = compile(model, block_size=4, rounds=0)
    >>> _ = again.load_state_dict(small.state_dict())
    """
    _require(model, block_size, motifs, rounds)
    names = {
        name: module
        for name, module in model.named_modules()
        if _fits(module, block_size, motifs) and _is_chosen(name, include, exclude)
    }
    if not names:
        raise InputError(
            f"{type(model).__name__}: no linear layer or convolution of those chosen gets smaller"
        )
    moments = {} if inputs is None else _input_moments(model, names, inputs)
    random = torch.Generator().manual_seed(seed)
    made: dict[int, nn.Module] = {}
    with progress_bar(progress) as report, torch.no_grad():
        for number, (name, layer) in enumerate(names.items()):
            report(number, len(names), name or "the model")
            mosaic = _like(layer, block_size)
            if rounds:
                flat = layer.weight.flatten(1).cpu()
                fitted = fit_layer(flat, block_size, motifs, moments.get(name), rounds, random)
                mosaic.take(fitted.indices, fitted.motifs, fitted.scales, layer.bias)
            made[id(layer)] = mosaic.to(layer.weight.device).train(layer.training)
    return copy.deepcopy(model, made)  # which takes the new layers wherever the old ones are


def _require(model: Any, block_size: int, motifs: int, rounds: int) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"momos.compile takes a torch.nn.Module, not {type(model).__name__}")
    if attached(model) is not None:
        raise InputError("the model learns a mosaic: freeze() it first")
    if not 2 <= motifs <= MOTIFS:
        raise InputError(f"a layer has 2 to {MOTIFS} motifs, not {motifs}")
    if block_size < 1 or rounds < 0:
        raise InputError("the block size is at least 1, and the rounds are not negative")


def _is_chosen(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    include, exclude = ([g] if isinstance(g, str) else g for g in (include, exclude))
    wanted = not include or any(fnmatchcase(name, glob) for glob in include)
    return wanted and not any(fnmatchcase(name, glob) for glob in exclude)


def _fits(module: nn.Module, size: int, motifs: int) -> bool:
    """Whether it is a layer, no subclass that others look into, and a mosaic of it is smaller."""
    if type(module) not in (nn.Linear, nn.Conv2d) or hasattr(module, "parametrizations"):
        return False
    if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
        return False
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    rows, columns = len(weight), weight[0].numel()
    return rows * -(-columns // size) + 4 * (MOTIFS * size + rows) < 4 * weight.numel()


def _like(layer: Any, size: int) -> MosaicLinear | MosaicConv2d:
    has_bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return MosaicLinear(layer.in_features, layer.out_features, has_bias, block_size=size)
    return MosaicConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
        layer.dilation, layer.groups, has_bias, block_size=size,
    )  # fmt: skip


def _input_moments(
    model: nn.Module, layers: Mapping[str, nn.Module], inputs: Any
) -> dict[str, torch.Tensor]:
    """Of each layer that the inputs reach, the sum of the outer products of its inputs."""
    moments: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Any:
        def add(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            rows = _rows(layer, (*given, *named.values())[0].detach()).float().cpu()
            moments[name] = moments.get(name, 0) + rows.T @ rows

        return add

    handles = [
        layer.register_forward_pre_hook(watch(name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            for batch in _batches(inputs):
                _call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in was_training.items():
            module.training = training
    return moments


def _rows(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """What a layer multiplies with its weights, a row for each time; of all groups alike."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, layer.in_features)
    if isinstance(layer.padding, str):
        both = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        sides = [(total // 2, total - total // 2) for total in both]
        if layer.padding == "same":
            x = functional.pad(x, (*sides[1], *sides[0]))
        padding: Any = 0
    else:
        padding = layer.padding
    patches = functional.unfold(
        x if x.ndim == 4 else x[None], layer.kernel_size, layer.dilation, padding, layer.stride
    )
    return patches.reshape(len(patches) * layer.groups, -1, patches.shape[-1]).mT.flatten(0, 1)


def _batches(inputs: Any) -> Iterable[Any]:
    return [inputs] if isinstance(inputs, torch.Tensor | tuple | Mapping) else inputs


def _call(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    else:
        model(*(batch if isinstance(batch, tuple | list) else (batch,)))
