"""Sparse tensors of ONNX: the values that are not 0, and where each of them lies.

The indices ascend; each is the place in the flattened tensor, or the coordinates
(SparseTensorProto of onnx.proto).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Skipped
from kolmo.checkpoints.onnx_tensors import (
    OnnxArray,
    OnnxFiles,
    OnnxProto,
    check_shape,
    read_proto,
    read_tensor,
)
from kolmo.checkpoints.protobuf import WireMessage
from kolmo.checkpoints.scattered import Scattered, too_sparse
from kolmo.errors import InputError


def read_sparse(
    message: WireMessage, named: Callable[[str], str], files: OnnxFiles
) -> OnnxArray | Skipped:
    """A sparse tensor as the dense one that it stands for.

    Parameters
    ----------
    named : callable
        ``named(name)`` gives what it is called; its values have the name in the file.

    Raises
    ------
    InputError
        If its indices are not those of its values.
    """
    values, indices, dims = OnnxProto(), OnnxProto(), list[int]()
    for field in message.fields():
        if field.number == 1:
            values = read_proto(field.message())
        elif field.number == 2:
            indices = read_proto(field.message())
        elif field.number == 3:
            dims += field.integers()
    name = named(values.name)
    check_shape(dims, f"{files.where}: tensor {name!r}")
    return _dense(name, tuple(dims), values, indices, files)


def _dense(
    name: str, dims: tuple[int, ...], values: OnnxProto, indices: OnnxProto, files: OnnxFiles
) -> OnnxArray | Skipped:
    found, places = read_tensor(values, name, files), read_tensor(indices, name, files)
    numel = math.prod(dims)
    if isinstance(found, Skipped) or isinstance(places, Skipped) or found.kind.parts > 1:
        return Skipped(name, "a sparse tensor of no plain numbers", numel)
    axes = len(dims) if len(places.shape) == 2 else 1
    if places.kind.name != "INT64" or places.numel != found.numel * axes:
        raise InputError(f"{files.where}: sparse tensor {name!r} has indices of no use; damaged")
    if too_sparse(found.numel, numel):
        return Skipped(name, f"sparse: {found.numel:,} values among {numel:,} entries", numel)
    scattered = Scattered(found.patterns, lambda: _linear(places, dims, files.where))
    return OnnxArray(name, dims, found.kind, scattered.load)


def _linear(places: OnnxArray, dims: tuple[int, ...], where: str) -> NDArray[np.int64]:
    """Places in the flat array, which ascend."""
    found = places.load(0, places.numel)
    if len(places.shape) == 2:
        strides = [math.prod(dims[axis + 1 :]) for axis in range(len(dims))]
        found = found.reshape(-1, len(dims)) @ np.array(strides, np.int64)
    if found.size and (found[0] < 0 or found[-1] >= math.prod(dims) or (np.diff(found) <= 0).any()):
        raise InputError(
            f"{where}: the indices of sparse tensor {places.name!r} do not ascend within it; the "
            f"file is damaged"
        )
    return np.asarray(found, np.int64)
