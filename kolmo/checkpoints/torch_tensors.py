"""Torch tensors as weight tensors, without the formats that torch writes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Skipped, WeightTensor
from kolmo.checkpoints.places import Place, footprint
from kolmo.checkpoints.torch_coded import (
    FLOAT4,
    NARROW,
    QUANTIZED,
    affine_of,
    affine_tensor,
    narrow_view,
)
from kolmo.dtypes import DTYPES, EXTENDED_DTYPES, PARTS, bits_of
from kolmo.errors import MissingExtraError

META = "a meta tensor: it has no values"
"""Why a tensor on the device ``meta`` is not measured."""


def torch_tensor(name: str, tensor: Any) -> WeightTensor | Skipped:
    """A lazy tensor over a torch tensor; nothing is copied until it is read."""
    numel = int(tensor.numel())
    dtype_name = str(tensor.dtype).removeprefix("torch.")
    if str(tensor.layout) != "torch.strided":
        return Skipped(name, f"a {str(tensor.layout).removeprefix('torch.')} tensor", numel)
    if tensor.device.type == "meta":
        return Skipped(name, META, numel)
    if tensor.is_quantized:
        return _quantized_tensor(name, tensor, dtype_name)
    detached, shape = tensor.detach(), tuple(tensor.shape)
    if dtype_name in PARTS:
        parts = import_torch("reading a tensor").view_as_real(detached.resolve_conj())
        return _plain_tensor(name, parts, PARTS[dtype_name])
    if dtype_name == FLOAT4:
        torch = import_torch("reading a tensor")
        pairs = _plain_tensor(name, detached.view(torch.uint8), DTYPES["uint8"])
        longer = (*shape[:-1], 2 * shape[-1]) if shape else (2,)
        return narrow_view(pairs, longer, "float4_e2m1fn")
    if dtype_name not in DTYPES or bits_of(DTYPES[dtype_name]) < 8:
        return Skipped(name, f"dtype {dtype_name} is not supported", numel)
    return _plain_tensor(name, detached, DTYPES[dtype_name])


def _plain_tensor(name: str, tensor: Any, dtype: np.dtype[Any]) -> WeightTensor:
    def load(start: int, stop: int) -> NDArray[Any]:
        piece = tensor.reshape(-1)[start:stop].cpu().contiguous().resolve_neg()
        if dtype in EXTENDED_DTYPES.values():
            torch = import_torch("reading a tensor")
            piece = piece.view(torch.int16 if dtype.itemsize == 2 else torch.uint8)
            return np.asarray(piece.numpy().view(dtype))
        return np.asarray(piece.numpy())

    return WeightTensor(name, tuple(tensor.shape), dtype, load, place=_place(tensor))


def _place(tensor: Any) -> Place | None:
    """Where in this machine's memory the values are; None of a tensor without any."""
    if tensor.numel() == 0:
        return None
    size, device = int(tensor.element_size()), tensor.device
    memory = "memory" if device.type == "cpu" else str(device)
    begin = tensor.untyped_storage().data_ptr() + tensor.storage_offset() * size
    sides = footprint(tensor.shape, [stride * size for stride in tensor.stride()])
    return Place(memory, begin, sides, str(tensor.dtype).removeprefix("torch."), size)


def _quantized_tensor(name: str, tensor: Any, dtype: str) -> WeightTensor | Skipped:
    if dtype not in QUANTIZED and dtype not in NARROW:
        return Skipped(name, f"dtype {dtype} is not supported", int(tensor.numel()))
    integers = tensor.detach().int_repr()
    if dtype in NARROW:
        packed = _plain_tensor(name, integers.reshape(-1), DTYPES["uint8"])
        stored = narrow_view(packed, tuple(tensor.shape), NARROW[dtype])
    else:
        stored = _plain_tensor(name, integers, DTYPES[QUANTIZED[dtype]])
    return affine_tensor(stored, affine_of(tensor))


def import_torch(what: str) -> Any:
    """The module torch; MissingExtraError, which names what needs it."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError(what, "torch", "torch") from None
    return torch
