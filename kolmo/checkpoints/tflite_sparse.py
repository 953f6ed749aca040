"""Sparse tensors of TensorFlow Lite: where each stored value lies.

Axes, and the axes of blocks after them, are walked in a stated order; each is dense, with a size,
or compressed: segments tell how many indices each entry before it has (the schema's
``SparsityParameters``, after Kjolstad et al., doi:10.1145/3133901).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Skipped, WeightTensor
from kolmo.checkpoints.bits import packed_size
from kolmo.checkpoints.flatbuffers import FlatTable
from kolmo.checkpoints.raw import raw_tensor
from kolmo.checkpoints.scattered import Scattered, too_sparse
from kolmo.checkpoints.stored import Stored
from kolmo.dtypes import bits_of
from kolmo.errors import InputError

_INDICES = {1: np.int32, 2: np.uint16, 3: np.uint8}
"""The dtypes of vectors of indices, by their numbers in the union."""


def dense_tensor(
    sparsity: FlatTable,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    stored: Stored,
    where: str,
) -> WeightTensor | Skipped:
    """A sparse tensor as the dense one that it stands for, unread."""
    count = stored.size * 8 // bits_of(dtype)
    numel = math.prod(shape)
    if dtype.kind == "c" or too_sparse(count, numel):
        return Skipped(name, f"sparse: {count:,} values among {numel:,} entries", numel)
    values = raw_tensor(name, (count,), dtype, stored.part(0, packed_size(count, bits_of(dtype))))

    def places() -> NDArray[np.int64]:
        return _places(sparsity, shape, count, where)

    def ordered(start: int, stop: int) -> NDArray[Any]:
        return scattered.load(start, stop)

    scattered = _Ordered(values, places, dtype)
    return WeightTensor(name, shape, dtype, ordered)


class _Ordered:
    """Values in the order of their places, which blocks put them out of."""

    def __init__(self, values: WeightTensor, places: Any, dtype: np.dtype[Any]) -> None:
        self._values, self._find, self._dtype = values, places, dtype
        self._scattered: Scattered | None = None

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """Entries [start, stop)."""
        if self._scattered is None:
            places = self._find()
            order = np.argsort(places, kind="stable")
            values = self._values.read().view(f"u{self._dtype.itemsize}")[order]
            self._scattered = Scattered(lambda a, b: values[a:b], lambda: places[order])
        return self._scattered.load(start, stop).view(self._dtype)


def _places(
    sparsity: FlatTable, shape: tuple[int, ...], count: int, where: str
) -> NDArray[np.int64]:
    """The place of each stored value in the flat dense tensor."""
    damaged = InputError(f"{where}: the places of a sparse tensor's values are damaged")
    order = sparsity.numbers(0, np.int32).tolist()
    mapped = sparsity.numbers(1, np.int32).tolist()
    levels = sparsity.tables(2)
    sound = sorted(order) == list(range(len(order))) and len(levels) == len(order)
    if not sound or len(order) != len(shape) + len(mapped) or len(order) > 64:
        raise damaged
    if any(not 0 <= axis < len(shape) for axis in mapped):
        raise damaged
    found = np.zeros((1, len(order)), np.int64)
    for axis, level in zip(order, levels, strict=True):
        found = _expanded(found, axis, level, count, damaged)
    sizes = [1] * len(order)
    for axis, level in zip(order, levels, strict=True):
        sizes[axis] = max(1, level.integer(1))
    places = np.zeros(len(found), np.int64)
    for axis, side in enumerate(shape):
        inner = [len(shape) + i for i, outer in enumerate(mapped) if outer == axis]
        along = found[:, axis]
        for block in inner:
            along = along * sizes[block] + found[:, block]
        if along.size and (int(along.min()) < 0 or int(along.max()) >= side):
            raise damaged
        places = places * side + along
    if len(places) != count or len(np.unique(places)) != count:
        raise damaged
    return places


def _expanded(
    found: NDArray[np.int64], axis: int, level: FlatTable, count: int, damaged: InputError
) -> NDArray[np.int64]:
    """The coordinates with those along one more axis."""
    if level.integer(0, 1) == 0:
        size = level.integer(1)
        if size < 0 or len(found) * size > max(count, _ENTRIES):
            raise damaged
        repeats = np.full(len(found), size, np.int64)
        indices = np.tile(np.arange(size, dtype=np.int64), len(found))
    else:
        segments, indices = _vector(level, 2), _vector(level, 4)
        repeats = np.diff(segments)
        sound = len(segments) == len(found) + 1 and (repeats >= 0).all() and segments[0] == 0
        if not sound or segments[-1] != len(indices):
            raise damaged
    made = np.repeat(found, repeats, axis=0)
    made[:, axis] = indices
    return made


_ENTRIES = 1 << 20  # of a dense axis before a compressed one, whatever the number of values


def _vector(level: FlatTable, field: int) -> NDArray[np.int64]:
    table, dtype = level.table(field + 1), _INDICES.get(level.integer(field, 1))
    if table is None or dtype is None:
        return np.zeros(0, np.int64)
    return table.numbers(0, dtype).astype(np.int64)
