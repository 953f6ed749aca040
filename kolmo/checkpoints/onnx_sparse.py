"""Sparse tensors of ONNX: the values that are not 0, and where each of them lies.

The indices ascend; each is the place in the flattened tensor, or the coordinates
(SparseTensorProto of onnx.proto).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

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
from kolmo.checkpoints.protobuf import Message
from kolmo.errors import InputError

SMALL, SPARSEST = 1 << 24, 1 << 10
"""Entries of a sparse tensor that is read whatever its share of zeros, and zeros to a value."""


def read_sparse(
    message: Message, named: Callable[[str], str], files: OnnxFiles
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
    if numel > max(SMALL, found.numel * SPARSEST):
        return Skipped(name, f"sparse: {found.numel:,} values among {numel:,} entries", numel)
    return OnnxArray(name, dims, found.kind, _Scattered(found, places, dims, files.where).load)


class _Scattered:
    """Values at their places, zeros between."""

    def __init__(
        self, values: OnnxArray, places: OnnxArray, dims: tuple[int, ...], where: str
    ) -> None:
        self._values, self._indices, self._dims, self._where = values, places, dims, where

    @functools.cached_property
    def _places(self) -> NDArray[np.int64]:
        found = self._indices.load(0, self._indices.numel)
        if len(self._indices.shape) == 2:
            strides = [math.prod(self._dims[axis + 1 :]) for axis in range(len(self._dims))]
            found = found.reshape(-1, len(self._dims)) @ np.array(strides, np.int64)
        steps, numel = np.diff(found), math.prod(self._dims)
        if found.size and (found[0] < 0 or found[-1] >= numel or (steps <= 0).any()):
            raise InputError(
                f"{self._where}: the indices of sparse tensor {self._values.name!r} do not ascend "
                f"within it; the file is damaged"
            )
        return np.asarray(found, np.int64)

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """Bit patterns [start, stop)."""
        first, last = (int(i) for i in np.searchsorted(self._places, [start, stop]))
        values = self._values.patterns(first, last)
        dense = np.zeros(stop - start, values.dtype)
        dense[self._places[first:last] - start] = values
        return dense
