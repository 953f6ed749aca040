"""Quantization-aware training: fake quantization in the forward pass.

::

    latent weight ─ round to levels ─► quantized weight ─► forward
          ▲                                                  │
          └───────────── straight-through gradient ──────────┘

The optimizer, and a projection, act on the latent weights, which are ordinary dense floats. The
quantized weights are what is saved and measured.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from momos.lab.config import check_bits
from momos.parameters import NORMS, plain_state


class _Round(torch.autograd.Function):
    """Rounds to symmetric levels; its gradient is the identity.

    The usual ``w + (q - w).detach()`` would round once more, off the levels.
    """

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, bits: int) -> torch.Tensor:
        scale = weight.abs().amax() / (2 ** (bits - 1) - 1)
        levels = torch.where(scale > 0, torch.round(weight / scale), torch.zeros_like(weight))
        rounded: torch.Tensor = (
            levels * scale + 0.0
        )  # 0.0 and −0.0 are one level, so one bit pattern
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0], None


def fake_quantize(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """A tensor rounded to symmetric levels: scale = absmax / (2^(bits − 1) − 1).

    Parameters
    ----------
    weight : float tensor, any shape
    bits : int
        2 to 16 bits a weight: at most 2^bits − 1 levels.

    Returns
    -------
    Tensor
        level × scale, of the same shape and dtype; the gradient passes straight through.

    Examples
    --------
    >>> fake_quantize(torch.tensor([-1.0, -0.4, 0.0, 0.6, 1.0]), 2).tolist()
    [-1.0, 0.0, 0.0, 1.0, 1.0]
    """
    check_bits(bits)
    if weight.numel() == 0:
        return weight
    rounded: torch.Tensor = _Round.apply(weight, bits)  # type: ignore[no-untyped-call]
    return rounded


class _FakeQuantize(nn.Module):
    has_latent_weights = True

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return fake_quantize(weight, self.bits)


def quantize_in_training(model: nn.Module, bits: int) -> None:
    """Make a model train through fake quantization, in place.

    Every parameter, biases too, becomes a latent one, except those of norm layers.

    Examples
    --------
    >>> model = nn.Linear(3, 2)
    >>> quantize_in_training(model, 4)
    >>> sorted(quantized_state_dict(model))
    ['bias', 'weight']
    """
    check_bits(bits)
    for module in list(model.modules()):
        if isinstance(module, NORMS):
            continue
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_floating_point():
                parametrize.register_parametrization(module, name, _FakeQuantize(bits))


def quantized_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the model's state as its forward pass sees it, under plain names.

    The forward pass sees quantized weights under fake quantization, those of the mosaic in a model
    that learns one, and the weights themselves in any other.
    """
    with torch.no_grad():
        state, _ = plain_state(model)
        return {name: _seen(model, name).detach().clone() for name in state}


def _seen(model: nn.Module, name: str) -> torch.Tensor:
    owner, _, attribute = name.rpartition(".")
    seen = getattr(model.get_submodule(owner), attribute)
    assert isinstance(seen, torch.Tensor)
    return seen
