"""Torch tensors as weight tensors, without the formats that torch writes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Skipped, WeightTensor
from kolmo.checkpoints.places import Place, footprint
from kolmo.dtypes import DTYPES, EXTENDED_DTYPES
from kolmo.errors import MissingExtraError


def torch_tensor(name: str, tensor: Any) -> WeightTensor | Skipped:
    """A lazy tensor over a torch tensor; nothing is copied until it is read."""
    numel = int(tensor.numel())
    dtype_name = str(tensor.dtype).removeprefix("torch.")
    if str(tensor.layout) != "torch.strided" or tensor.is_quantized:
        return Skipped(name, f"a {str(tensor.layout).removeprefix('torch.')} tensor", numel)
    if tensor.device.type == "meta":
        return Skipped(name, "a meta tensor: it has no values", numel)
    if dtype_name not in DTYPES:
        return Skipped(name, f"dtype {dtype_name} is not supported", numel)
    dtype = DTYPES[dtype_name]
    detached = tensor.detach()

    def load(start: int, stop: int) -> NDArray[Any]:
        piece = detached.reshape(-1)[start:stop].cpu().contiguous()
        if dtype_name in EXTENDED_DTYPES:
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


def import_torch(what: str) -> Any:
    """The module torch; MissingExtraError, which names what needs it."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError(what, "torch", "torch") from None
    return torch
