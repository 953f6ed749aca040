"""Small convolutional networks, written as a line of layers; sized to be short files.

::

    image ─ layers of the plan ─ flattened (or its mean) ─ linear ─► logits
              c8: 3 × 3 convolution ─ (m: maximum of 2 × 2) ─ divided by its root mean square
                  ─ + bias ─ ReLU
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from kolmo.errors import InputError

_LAYER = re.compile(
    r"(?P<kind>[cd])(?P<width>\d*)(?P<options>(?:[ksg]\d+)*)(?P<pool>m?)|(?P<mean>a)"
)
_HELP = "such as 'c8m c16m c32m' or 'c16s2 d c24k1 ds2 c48k1 a'"


class _Layer(NamedTuple):
    kind: str
    width: int = 0
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    pooled: bool = False


class ConvNet(nn.Module):
    """Convolutions as planned, then a linear layer.

    After each convolution but a depthwise one an image's values are divided by their root mean
    square, over all channels and places: a norm that has nothing to store, so that only the
    relative size of weights matters. Then come a bias a channel and ReLU. Weights begin as those
    of He et al. (2015), biases as zeros.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    classes : int
    plan : str
        Layers, with a space between them: ``c8`` a convolution to 8 channels, ``d`` a depthwise
        one, which a norm and ReLU do not follow; at the end ``a`` for the mean over all places,
        which are else laid out flat. ``k5``, ``s2`` and ``g4`` after a convolution are its kernel
        (3), its stride (1) and its groups (1); ``m``, last, takes the maximum of 2 × 2 places.

    Raises
    ------
    InputError
        If the plan cannot be read, or its layers do not fit the image.

    Examples
    --------
    >>> model = ConvNet((1, 28, 28), 10, "c8m c16m c32m")
    >>> model(torch.zeros(2, 784)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 8778)
    """

    def __init__(self, shape: tuple[int, ...], classes: int, plan: str) -> None:
        super().__init__()
        self._shape = shape
        self._plan = list(_layers(plan))
        channels, *sides = shape
        made: list[nn.Conv2d] = []
        for layer in self._plan:
            if layer.kind in "cd":
                made.append(_convolution(layer, channels))
                channels = layer.width or channels
            sides = [1 if layer.kind == "a" else _smaller(side, layer) for side in sides]
            if min(sides) < 1:
                raise InputError(f"the plan {plan!r} leaves nothing of an image of shape {shape}")
        self.convolutions = nn.ModuleList(made)
        self.head = nn.Linear(channels * sides[0] * sides[1], classes)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(-1, *self._shape)
        convolutions = iter(self.convolutions)
        for layer in self._plan:
            x = x.mean(dim=(2, 3), keepdim=True) if layer.kind == "a" else next(convolutions)(x)
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits


class _Normed(nn.Conv2d):
    """A convolution whose result is divided by its root mean square, then biased and rectified."""

    pooled = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.bias is not None
        x = self._conv_forward(x, self.weight, None)
        if self.pooled:  # first, since a maximum of fewer values is all that follows needs
            x = nn.functional.max_pool2d(x, 2)
        x = x * torch.rsqrt(x.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-5)
        return torch.relu(x + self.bias[:, None, None])


def _convolution(layer: _Layer, channels: int) -> nn.Conv2d:
    kernel, stride, padding = layer.kernel, layer.stride, layer.kernel // 2
    if layer.kind == "d":
        return nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False)
    if channels % layer.groups or layer.width % layer.groups:
        raise InputError(
            f"{layer.groups} groups do not divide {channels} and {layer.width} channels"
        )
    made = _Normed(channels, layer.width, kernel, stride, padding, groups=layer.groups)
    made.pooled = layer.pooled
    return made


def _smaller(side: int, layer: _Layer) -> int:
    side = (side + 2 * (layer.kernel // 2) - layer.kernel) // layer.stride + 1
    return side // 2 if layer.pooled else side


def _layers(plan: str) -> Iterator[_Layer]:
    """The layers of a plan, checked one by one."""
    words = plan.split()
    if not words:
        raise InputError(f"a plan has one layer or more, {_HELP}")
    for place, word in enumerate(words):
        found = _LAYER.fullmatch(word)
        if found is None or (found["mean"] and place < len(words) - 1):
            raise InputError(f"{word!r} is no layer of the plan {plan!r}, {_HELP}")
        yield _Layer("a") if found["mean"] else _read_layer(word, found)


def _read_layer(word: str, found: re.Match[str]) -> _Layer:
    options = dict(re.findall(r"([ksg])(\d+)", found["options"]))
    layer = _Layer(
        found["kind"],
        int(found["width"] or 0),
        int(options.get("k", 3)),
        int(options.get("s", 1)),
        int(options.get("g", 1)),
        bool(found["pool"]),
    )
    free = layer.groups == 1 and not layer.pooled
    wide = layer.width > 0 if layer.kind == "c" else layer.width == 0 and free
    if not wide or min(layer.kernel, layer.stride, layer.groups) < 1 or layer.kernel > 99:
        raise InputError(
            f"{word!r}: a convolution is c and its channels, a depthwise one d without these, "
            f"groups and m; kernel, stride and groups are at least 1"
        )
    return layer
