"""Numbers that are narrower than a byte, and others that lie in memory as no number does.

Narrow numbers fill bytes from the least significant bit on, as a stream of bits: of two numbers of
4 bits the first has the low half of the byte. So they lie in safetensors (F4, F6_E2M3, F6_E3M2),
in torch's ``float4_e2m1fn_x2``, and in the words of most quantized models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.bits import patterns_of
from kolmo.dtypes import bits_of

Bytes = NDArray[np.uint8]


def unpack(data: Bytes, bits: int) -> Bytes:
    """The numbers of ``bits`` bits, 1 to 8, in the bytes of the last axis.

    >>> unpack(np.uint8([0x21, 0x43]), 4).tolist(), unpack(np.uint8([0b11, 0, 0]), 3).tolist()
    ([1, 2, 3, 4], [3, 0, 0, 0, 0, 0, 0, 0])
    """
    data = np.ascontiguousarray(data)
    if bits == 8:
        return data
    if 8 % bits == 0:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        numbers = (data[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    else:
        numbers = _eights(data, bits)
    return numbers.reshape(*data.shape[:-1], -1)[..., : data.shape[-1] * 8 // bits]


def _eights(data: Bytes, bits: int) -> Bytes:
    """Eight numbers from every ``bits`` bytes, zeros after the last of them."""
    data = np.pad(data, [(0, 0)] * (data.ndim - 1) + [(0, -data.shape[-1] % bits)])
    groups = data.reshape(*data.shape[:-1], -1, bits).astype(np.uint64)
    word = np.zeros(groups.shape[:-1], np.uint64)
    for byte in range(bits):
        word |= groups[..., byte] << np.uint64(8 * byte)
    shifts = np.arange(8, dtype=np.uint64) * np.uint64(bits)
    return ((word[..., None] >> shifts) & np.uint64((1 << bits) - 1)).astype(np.uint8)


def pack(numbers: Bytes, bits: int) -> Bytes:
    """Undo `unpack` for a flat array; the last byte is filled with zeros.

    >>> pack(np.uint8([1, 2, 3]), 4).tobytes().hex()
    '2103'
    """
    spread = np.unpackbits(numbers[:, None], axis=1, bitorder="little")[:, :bits]
    return np.packbits(spread.reshape(-1), bitorder="little")


def narrow_tensor(
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: Callable[[int, int], NDArray[Any]],
) -> WeightTensor:
    """A tensor of a dtype narrower than a byte; ``read(first, last)`` gives its packed bytes."""

    def load(start: int, stop: int) -> NDArray[Any]:
        return patterns_of(read, bits_of(dtype), start, stop).view(dtype)

    return WeightTensor(name, shape, dtype, load)


def of_parts(tensor: WeightTensor, part: np.dtype[Any]) -> WeightTensor:
    """A complex tensor as its real and imaginary parts, along a last axis of two."""
    return WeightTensor(
        tensor.name,
        (*tensor.shape, 2),
        part,
        functools.partial(_load_parts, tensor, part),
        role=tensor.role,
        place=tensor.place,
    )


def _load_parts(tensor: WeightTensor, part: np.dtype[Any], start: int, stop: int) -> NDArray[Any]:
    whole = tensor.load(start // 2, -(-stop // 2))
    return whole.view(part)[start % 2 : start % 2 + stop - start]
