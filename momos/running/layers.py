"""Layers whose weights are motifs and indices: what they hold in memory, and what they compute.

::

    input ─ blocks × all motifs ─► tables ─ indices ─► sums × scales + bias ─► output

Few rows of inputs are multiplied that way (`momos.running.kernels`), compiled, on the CPU. Where
another way takes less time (many rows on few outputs, convolutions, other devices and dtypes) the
weights are expanded for the length of one call.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kolmo.errors import InputError
from momos.mosaic.mosaic import Mosaic
from momos.running import kernels
from momos.running.threads import in_shares
from momos.tensors import to_torch

MOTIFS = 256
"""Motifs of a layer at most: an index is a byte."""

# Cycles: of an expanded weight, and of a dense product.
_WEIGHT, _DENSE = 1.5, 0.05
_SHARED = 1 << 20  # outputs × blocks from which on a second thread is worth waking

Kind = TypeVar("Kind", bound="_MosaicLayer")


class _MosaicLayer(nn.Module):
    """Weights as indices of motifs; `MosaicLinear` and `MosaicConv2d` describe it."""

    indices: torch.Tensor
    motifs: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, shape: tuple[int, ...], bias: bool, block_size: int) -> None:
        super().__init__()
        if block_size < 1:
            raise InputError(f"the block size is at least 1, not {block_size}")
        self.shape, self.block_size = shape, block_size
        self._held: Any = None  # the buffers, and views of them as arrays
        rows, columns = shape[0], int(np.prod(shape[1:]))
        blocks = -(-columns // block_size)
        self.register_buffer("indices", torch.zeros(blocks, rows, dtype=torch.uint8))
        self.register_buffer("motifs", torch.zeros(block_size, MOTIFS))
        self.register_buffer("scales", torch.ones(rows))
        self.register_buffer("bias", torch.zeros(rows) if bias else None)

    @property
    def weight(self) -> torch.Tensor:
        """The weights, expanded: motifs × scales, without a gradient; new memory at each call."""
        if self.indices.device.type == "cpu" and self.motifs.dtype == torch.float32:
            rows = torch.empty(self.shape[0], len(self.indices) * self.block_size)
            kernels.expand(*self._arrays()[:3], 0, rows.numpy())
        else:
            blocks = self.motifs.T[self.indices.T.long()] * self.scales[:, None, None]
            rows = blocks.flatten(1)
        return rows[:, : self._columns].reshape(self.shape)

    @property
    def resident_bytes(self) -> int:
        """Bytes of memory that the layer holds between calls."""
        return sum(buffer.nbytes for buffer in self.buffers())

    @classmethod
    def from_mosaic(cls: type[Kind], mosaic: Mosaic, name: str, **options: Any) -> Kind:
        """The layer of a mosaic's tensor, whose weights are those of the mosaic, bit for bit.

        Parameters
        ----------
        mosaic : Mosaic
            With at most 256 motifs, whose blocks do not cross the tensor's rows.
        name : str
            Name of the weights.
        **options
            ``bias``: the name of the bias, if there is one; for a convolution those of
            ``torch.nn.Conv2d`` too, from ``stride`` on.

        Raises
        ------
        InputError
            If the mosaic has no such tensor, keeps it dense, or cuts it otherwise.
        """
        bias = options.pop("bias", None)
        indices, motifs, scales = _parts(mosaic, name)
        layer = cls._for_shape(mosaic.shape(name), bias is not None, len(motifs), **options)
        layer.take(indices, motifs, scales, _values(mosaic, bias) if bias else None)
        return layer

    def take(
        self, indices: torch.Tensor, motifs: torch.Tensor, scales: torch.Tensor, bias: Any = None
    ) -> None:
        """Take these values: indices (blocks, rows), motifs (block size, ≤ 256), scales (rows)."""
        self.indices.copy_(indices)
        self.motifs.zero_()
        self.motifs[:, : motifs.shape[1]] = motifs
        self.scales.copy_(scales)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    @classmethod
    def _for_shape(cls: type[Kind], shape: Any, bias: bool, size: int, **options: Any) -> Kind:
        raise NotImplementedError

    @property
    def _columns(self) -> int:
        return int(np.prod(self.shape[1:]))

    def _arrays(self) -> tuple[Any, Any, Any, Any]:
        """Indices, motifs, scales and bias as arrays; zeros where there is no bias."""
        tensors = tuple(self._buffers.values())
        if self._held is None or any(map(operator.is_not, tensors, self._held[0])):
            zeros = torch.zeros(self.shape[0])
            whole = (zeros if tensor is None else tensor for tensor in tensors)
            self._held = tensors, tuple(tensor.contiguous().numpy() for tensor in whole)
        arrays: tuple[Any, Any, Any, Any] = self._held[1]
        return arrays

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}  # views, which a copy makes of its own

    def extra_repr(self) -> str:
        return f"{list(self.shape)}, blocks of {self.block_size}, bias={self.bias is not None}"


class MosaicLinear(_MosaicLayer):
    """A linear layer of motifs and indices: a byte for each block of a row's weights.

    With blocks of 8 it takes 1 bit a weight, with blocks of 4 two, and of the products of inputs
    with weights only those with the 256 motifs are computed: the others are looked up and added.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    block_size : int
        Weights a block, along the inputs; where they do not divide the inputs, zeros fill the last.

    Attributes
    ----------
    indices : uint8 tensor, shape (blocks, out_features)
    motifs : float32 tensor, shape (block_size, 256)
    scales : float32 tensor, shape (out_features,)
        What a row's motifs are multiplied by.
    bias : float32 tensor, shape (out_features,), or None
    weight : tensor, shape (out_features, in_features)
        The weights that these are, made anew when asked for.

    Notes
    -----
    Buffers, not parameters: nothing of it trains, but gradients pass to its inputs. Sums are of
    products rounded to 24 bits of the largest, as exact as float32 products, and their bits do not
    depend on the threads (``torch.set_num_threads``), though on the processor. `momos.compile`
    makes such layers of those of a model, `from_mosaic` of a mosaic.

    Examples
    --------
    >>> layer = MosaicLinear(64, 32)
    >>> layer.take(torch.randint(256, (8, 32)), torch.randn(8, 256), torch.ones(32))
    >>> x = torch.randn(2, 64)
    >>> torch.allclose(layer(x), x @ layer.weight.T, atol=1e-4)
    True
    >>> layer.resident_bytes - 4 * (8 * 256 + 2 * 32)  # of 2,048 weights, one bit each
    256
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, block_size: int = 8
    ) -> None:
        super().__init__((out_features, in_features), bias, block_size)
        self.in_features, self.out_features = in_features, out_features

    @classmethod
    def _for_shape(cls, shape: Any, bias: bool, size: int, **options: Any) -> MosaicLinear:
        if len(shape) != 2:
            raise InputError(f"a linear layer has weights of two dimensions, not {list(shape)}")
        return cls(shape[1], shape[0], bias, block_size=size, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self._may_look_up(x):
            return self._expanded(x)
        if torch.compiler.is_compiling():
            apart: torch.Tensor = _apart(self, x)
            return apart
        return self.on_cpu(x)

    def _may_look_up(self, x: torch.Tensor) -> bool:
        if x.dtype != torch.float32 or not x.is_cpu or torch.compiler.is_exporting():
            return False
        motifs = self._buffers["motifs"]
        return motifs is not None and motifs.dtype == torch.float32 and motifs.is_cpu

    def _expanded(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.linear(x, self.weight.to(x.dtype), bias)

    def on_cpu(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs in the way that takes less time."""
        rows, outputs = x.numel() // max(self.in_features, 1), self.out_features
        way = _way()
        looked_up = rows * (way.table + way.output * outputs)  # cycles a block
        if looked_up > outputs * self.block_size * (_WEIGHT + _DENSE * rows):
            return self._expanded(x)
        if x.requires_grad and torch.is_grad_enabled():
            found: torch.Tensor = _LookUp.apply(x, self)  # type: ignore[no-untyped-call]
            return found
        return self.look_up(x)

    def look_up(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs by looked-up products: x is float32 on the CPU, any leading dimensions."""
        indices, motifs, scales, bias = self._arrays()
        blocks, outputs = indices.shape
        inputs = x.detach().numpy().reshape(-1, self.in_features)
        if missing := blocks * self.block_size - self.in_features:
            inputs = np.pad(inputs, ((0, 0), (0, missing)))
        inputs = np.ascontiguousarray(inputs)
        found = np.empty((len(inputs), outputs), np.float32)

        multiply, rest = _way().multiply, (motifs, indices, scales, bias)

        def some_outputs(first: int, last: int) -> None:
            multiply(inputs, *rest, found, first, last)

        def some_rows(first: int, last: int) -> None:
            multiply(inputs[first:last], *rest, found[first:last], 0, outputs)

        if found.size * blocks < _SHARED:  # another thread would take longer to wake
            some_outputs(0, outputs)
        elif len(inputs) == 1:
            in_shares(some_outputs, outputs, kernels.STRIP, torch.get_num_threads())
        else:
            in_shares(some_rows, len(inputs), 1, torch.get_num_threads())
        return torch.from_numpy(found).reshape(*x.shape[:-1], outputs)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _apart(layer: MosaicLinear, x: torch.Tensor) -> torch.Tensor:
    """The outputs, outside of a graph that is compiled."""
    return layer.on_cpu(x)


class _LookUp(torch.autograd.Function):
    """Looked-up products; their gradient is that of the weights that they are of."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: MosaicLinear) -> torch.Tensor:
        ctx.layer = layer
        found: torch.Tensor = layer.look_up(x)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0] @ ctx.layer.weight, None


class MosaicConv2d(_MosaicLayer):
    """A two-dimensional convolution of motifs and indices; its weights are expanded at each call.

    It takes the memory of its motifs and indices, and the time of a dense convolution: where there
    are some hundred outputs, the products of an input with 256 motifs are no fewer than those with
    all weights, so nothing is looked up.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        As in ``torch.nn.Conv2d``; padding is of zeros.
    block_size : int
        Weights a block, along a kernel's flattened inputs.

    Examples
    --------
    >>> layer = MosaicConv2d(16, 32, 3, padding=1)
    >>> layer(torch.randn(1, 16, 8, 8)).shape, layer.indices.shape
    (torch.Size([1, 32, 8, 8]), torch.Size([18, 32]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        block_size: int = 8,
    ) -> None:
        sides = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        super().__init__((out_channels, in_channels // groups, *sides), bias, block_size)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups = groups

    @classmethod
    def _for_shape(cls, shape: Any, bias: bool, size: int, **options: Any) -> MosaicConv2d:
        if len(shape) != 4:
            raise InputError(f"a convolution has weights of four dimensions, not {list(shape)}")
        channels = shape[1] * options.get("groups", 1)
        return cls(channels, shape[0], tuple(shape[2:]), bias=bias, block_size=size, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.conv2d(
            x, self.weight.to(x.dtype), bias, self.stride, self.padding, self.dilation, self.groups
        )


@dataclasses.dataclass(frozen=True)
class _Way:
    """How this processor looks products up, and in how many cycles.

    Those of a row of inputs are of each block's table, and of each output's part of a block.
    """

    multiply: Callable[..., None]
    table: float
    output: float


@cache
def _way() -> _Way:
    if kernels.is_quick():
        return _Way(kernels.multiply_quickly, 250.0, 0.2)
    return _Way(kernels.multiply_plainly, 500.0, 1.1)


def _parts(mosaic: Mosaic, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Indices, motifs and scales of a tensor of a mosaic, as a layer has them."""
    first = mosaic.aliases.get(name, name)
    spans = {one: (start, stop) for one, start, stop, _ in mosaic.partition.spans()}
    if first not in spans:
        what = "keeps it dense" if first in mosaic.dense else "has no such tensor"
        raise InputError(f"{name!r}: the mosaic {what}, so there are no motifs to run it with")
    shape, size = mosaic.shape(name), mosaic.partition.block_size
    if len(shape) < 2 or int(np.prod(shape[1:])) % size:
        raise InputError(f"{name!r} of shape {list(shape)}: blocks of {size} cross its rows")
    start, stop = spans[first]
    used, indices = np.unique(mosaic.indices[start:stop], return_inverse=True)
    if len(used) > MOTIFS:
        raise InputError(f"{name!r} has {len(used):,} motifs; a layer runs at most {MOTIFS}")
    motifs = mosaic.motifs[used].astype(np.float32)
    scales = np.ones(shape[0], np.float32)
    if first in mosaic.scales:
        scales = scales * mosaic.scales[first]
    table = indices.astype(np.uint8).reshape(shape[0], -1).T
    return tuple(map(to_torch, (table, motifs.T, scales)))  # type: ignore[return-value]


def _values(mosaic: Mosaic, name: str) -> torch.Tensor:
    numel = int(np.prod(mosaic.shape(name)))
    return to_torch(mosaic.values(name, 0, numel).astype(np.float32))
