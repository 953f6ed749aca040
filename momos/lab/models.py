"""The bundled models: an MLP, a small CNN, networks of planned layers, ResNet-20 and ViT-tiny.

All take images laid out flat, shape (batch, features), and give logits, shape (batch, classes).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from kolmo import specs
from kolmo.errors import InputError
from momos.lab.config import MODELS, PLAN
from momos.lab.convnets import ConvNet


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


class CNN(nn.Module):
    """Three 3 × 3 convolutions, halving the image twice, then a linear layer on their means.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    classes : int
    width : int
        Channels of the first convolution; the others have twice as many.

    Examples
    --------
    >>> model = CNN((1, 28, 28), 10)
    >>> model(torch.zeros(2, 784)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 56394)
    """

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 32) -> None:
        super().__init__()
        self._shape = shape
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(shape[0], width, 3, padding=1),
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
                nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            ]
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(-1, *self._shape)
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class ResNet20(nn.Module):
    """ResNet-20 for small images: three stages of three residual blocks, 16, 32, 64 channels.

    After He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2:
    shortcuts without parameters, which skip every other pixel and pad the channels with zeros.

    Examples
    --------
    >>> model = ResNet20((3, 32, 32), 10)
    >>> model(torch.zeros(2, 3072)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 269722)
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self._shape = shape
        self.stem = nn.Conv2d(shape[0], 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.blocks = nn.ModuleList(_Residual(*pair) for pair in itertools.pairwise(widths))
        self.head = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x.reshape(-1, *self._shape))))
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self._stride, self._more = outputs // inputs, outputs - inputs
        self.first = nn.Conv2d(inputs, outputs, 3, stride=self._stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.second_norm(self.second(torch.relu(self.first_norm(self.first(x)))))
        kept = x[:, :, :: self._stride, :: self._stride]
        kept = nn.functional.pad(kept, (0, 0, 0, 0, self._more // 2, self._more - self._more // 2))
        return torch.relu(inner + kept)


class ViT(nn.Module):
    """A vision transformer; by default ViT-tiny: width 192, 12 layers, 3 heads.

    After Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, the tiny size after
    Touvron et al., "Training data-efficient image transformers", ICML 2021; norms come first.
    Patches are 4 × 4 pixels, smaller if the image would give fewer than 16.

    Examples
    --------
    >>> model = ViT((3, 32, 32), 10)
    >>> model(torch.zeros(2, 3072)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 5362762)
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
    ) -> None:
        super().__init__()
        self._shape = shape
        side = max(1, min(4, min(shape[1:]) // 4))
        patches = (shape[1] // side) * (shape[2] // side)
        self.patches = nn.Conv2d(shape[0], width, side, stride=side)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + patches, width))
        self.blocks = nn.ModuleList(_Attentive(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x.reshape(-1, *self._shape)).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.places
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(self.norm(x[:, 0]))
        return logits


class _Attentive(nn.Module):
    """Self-attention, then a perceptron of four times the width, each beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.first_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.queries_keys_values(self.first_norm(x)).unflatten(2, (3, self._heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
        x = x + self.mix(attended.transpose(1, 2).flatten(2))
        inner = nn.functional.gelu(self.widen(self.second_norm(x)))
        summed: torch.Tensor = x + self.narrow(inner)
        return summed


def build_model(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    *,
    layers: int = 5,
    hidden: int = 256,
    plan: str = PLAN,
    seed: int = 0,
) -> nn.Module:
    """A bundled model, its weights drawn from the seed; the global generator stays as it is.

    Parameters
    ----------
    name : str
        ``cnn``, ``convnet``, ``mlp``, ``resnet20`` or ``vit-tiny``.
    shape : tuple of int
        Of an image: channels, height, width; only the MLP takes any other.
    classes : int
    layers : int
        Linear layers of the MLP.
    hidden : int
        Width between them.
    plan : str
        Layers of the convnet, as `momos.lab.convnets.ConvNet` reads them.
    seed : int

    Raises
    ------
    InputError
        For an unknown name, or a model of images where there are none.

    Examples
    --------
    >>> build_model("mlp", (1, 8, 8), 10, layers=2, hidden=5)(torch.zeros(3, 64)).shape
    torch.Size([3, 10])
    """
    if name not in MODELS:
        raise specs.unknown("model", name, MODELS)
    if name == "mlp":
        sizes = [math.prod(shape), *[hidden] * (layers - 1), classes]
        return MLP(sizes, torch.Generator().manual_seed(seed))
    if len(shape) != 3:
        raise InputError(f"the model {name!r} is for images, not for signals of shape {shape}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "cnn":
            return CNN(shape, classes)
        if name == "convnet":
            return ConvNet(shape, classes, plan)
        return ResNet20(shape, classes) if name == "resnet20" else ViT(shape, classes)
