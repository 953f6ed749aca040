"""Tensors that lie whole in a run of bytes, of any dtype, little-endian and row-major."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.bits import load_patterns
from kolmo.checkpoints.stored import PlainLoad, Stored
from kolmo.dtypes import PARTS, bits_of


def raw_tensor(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored: Stored
) -> WeightTensor:
    """The tensor that these bytes are; a complex one as real and imaginary parts.

    The caller has checked that there are as many bytes as its numbers take.

    >>> from kolmo.checkpoints.stored import memory_bytes
    >>> stored = memory_bytes(np.float32([1, 2]).tobytes(), "example")
    >>> raw_tensor("w", (2,), np.dtype(np.float32), stored).read().tolist()
    [1.0, 2.0]
    """
    if dtype.name in PARTS:
        part = PARTS[dtype.name]
        return raw_tensor(name, (*shape, 2), part, stored)

    load = (
        PlainLoad(stored, dtype.newbyteorder("<"))
        if bits_of(dtype) >= 8
        else _packed(stored, dtype)
    )
    place = (id(stored.fetch), stored.offset, shape, dtype.name) if stored.size else None
    return WeightTensor(name, shape, dtype, load, place=place)


def _packed(stored: Stored, dtype: np.dtype[Any]) -> Callable[[int, int], NDArray[Any]]:
    """What reads numbers that are narrower than a byte."""

    def load(start: int, stop: int) -> NDArray[Any]:
        return np.asarray(load_patterns(stored, bits_of(dtype), start, stop).view(dtype))

    return load
