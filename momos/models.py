"""The bundled model: a multilayer perceptron."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from kolmo.errors import InputError


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Parameters
    ----------
    sizes : sequence of int
        Features, hidden widths, classes: ``len(sizes) - 1`` linear layers.
    generator : torch.Generator, optional
        Of the initial weights, uniform in ±1/sqrt(fan-in) as torch's own; a fresh one seeded 0
        by default, never the global one.

    Examples
    --------
    >>> model = MLP([784, 256, 256, 256, 256, 10])
    >>> sum(parameter.numel() for parameter in model.parameters())
    400906
    >>> [name for name, _ in model.named_parameters()][:2]
    ['layers.0.weight', 'layers.0.bias']
    """

    def __init__(self, sizes: Sequence[int], generator: torch.Generator | None = None) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise InputError(f"an MLP has two sizes or more, each at least 1, not {list(sizes)}")
        generator = generator or torch.Generator().manual_seed(0)
        self.layers = nn.ModuleList(
            _linear(inputs, outputs, generator) for inputs, outputs in itertools.pairwise(sizes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features, shape (batch, features) → logits, shape (batch, classes)."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        logits: torch.Tensor = self.layers[-1](x)
        return logits


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    # skip_init: nn.Linear's own initialization would draw from the global generator.
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    assert isinstance(layer, nn.Linear)
    bound = 1 / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
