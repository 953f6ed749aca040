"""Torch tensors whose entries are codes: quantized ones, and two 4-bit floats in each byte.

A quantized tensor (``torch.quantize_per_tensor`` and ``_per_channel``) has integers of a storage,
and one scale and zero point or those of each slice along an axis. The weight is
(code − zero point) · scale, in float32 as ``dequantize()`` gives it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Codes, WeightTensor
from kolmo.checkpoints.bits import packed_size
from kolmo.checkpoints.inert import CodedArray
from kolmo.checkpoints.narrow import narrow_tensor
from kolmo.checkpoints.rebuilding import dense_strides
from kolmo.checkpoints.stored import Storage, Strided
from kolmo.dtypes import DTYPES, bits_of
from kolmo.floats import bit_patterns
from kolmo.symbols import Alphabet

Array = NDArray[Any]

QUANTIZED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
"""The integers of torch's quantized dtypes."""

NARROW = {"quint4x2": "uint4", "quint2x4": "uint2"}
"""The integers of torch's quantized dtypes that are narrower than a byte."""

FLOAT4 = "float4_e2m1fn_x2"
"""Torch's name of the dtype whose every entry is two floats of 4 bits."""


@dataclasses.dataclass(frozen=True, eq=False)
class AffineScale:
    """What makes numbers of codes: scales and zero points, of the tensor or along an axis.

    Attributes
    ----------
    scales, zeros : callable
        Give float64 and int64 (or float) arrays, of one number or of one for each slice.
    axis : int, optional
    side_bits : int
        Bits of scales and zero points as they are stored.
    """

    scales: Callable[[], Array]
    zeros: Callable[[], Array]
    axis: int | None
    side_bits: int

    def weights(self, codes: Array, places: Array | int) -> NDArray[np.float32]:
        """The weights of codes, each of which belongs to a slice."""
        scales, zeros = self.scales()[places], self.zeros()[places]
        if zeros.dtype.kind == "f" or self.axis is None:
            scales = scales.astype(np.float32)
        if zeros.dtype.kind == "f":
            return np.asarray((codes.astype(np.float32) - zeros.astype(np.float32)) * scales)
        centred = (codes.astype(np.int64) - zeros).astype(scales.dtype)
        return (centred * scales).astype(np.float32)


def affine_tensor(stored: WeightTensor, affine: AffineScale) -> WeightTensor:
    """The logical tensor of a quantized one, whose integers are ``stored``."""
    kind = stored.dtype
    codes = Codes(
        f"torch q{kind.name}",
        Alphabet.of_dtype(kind),
        lambda start, stop: bit_patterns(stored.load(start, stop)),
        affine.side_bits,
    )
    load = functools.partial(_dequantized, stored, affine)
    return dataclasses.replace(stored, dtype=np.dtype(np.float32), load=load, codes=codes)


def _dequantized(stored: WeightTensor, affine: AffineScale, start: int, stop: int) -> Array:
    values, places = stored.load(start, stop), 0
    if affine.axis is None:
        return affine.weights(values.astype(np.int64), places)
    inner = math.prod(stored.shape[affine.axis + 1 :])
    slices = np.arange(start, stop) // max(1, inner) % max(1, stored.shape[affine.axis])
    return affine.weights(values.astype(np.int64), slices)


# --- in pickles -----------------------------------------------------------------------------


def coded_pairs(pairs: Strided, dtype: str) -> CodedArray:
    """A tensor of two numbers in each byte of an array; torch's shape counts the bytes."""
    shape = (*pairs.shape[:-1], 2 * pairs.shape[-1]) if pairs.shape else (2,)
    return CodedArray(pairs, 2 * pairs.numel, lambda stored: narrow_view(stored, shape, dtype))


def coded_integers(
    storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: Any
) -> tuple[Strided, Callable[[WeightTensor], WeightTensor]] | None:
    """The integers of a quantized tensor in a pickle: an array of the file, and what makes the
    codes of it. None where they are of a kind that is not known."""
    steps = (*strides, offset)
    if len(strides) != len(shape) or any(type(n) is not int or n < 0 for n in steps):
        raise TypeError("no strides")
    if storage.dtype in QUANTIZED:
        kind = DTYPES[QUANTIZED[storage.dtype]]
        return Strided(storage, kind, shape, strides, offset), lambda stored: stored
    if storage.dtype not in NARROW or offset or strides != dense_strides(shape):
        return None
    dtype = NARROW[storage.dtype]
    size = packed_size(math.prod(shape), bits_of(DTYPES[dtype]))
    packed = Strided(storage, DTYPES["uint8"], (size,), (1,))
    return packed, lambda stored: narrow_view(stored, shape, dtype)


def narrow_view(stored: WeightTensor, shape: tuple[int, ...], dtype: str) -> WeightTensor:
    """The tensor of narrow numbers whose bytes, in order, are those of ``stored``."""
    made = narrow_tensor(stored.name, shape, DTYPES[dtype], stored.load)
    return dataclasses.replace(made, role=stored.role, place=stored.place)


# --- in memory ------------------------------------------------------------------------------


def affine_of(tensor: Any) -> AffineScale:
    """The scales and zero points of a live quantized tensor."""
    if str(tensor.qscheme()).startswith("torch.per_tensor"):
        scale, zero = np.array([tensor.q_scale()]), np.array([tensor.q_zero_point()])
        return AffineScale(lambda: scale, lambda: zero, None, 64 + 64)
    scales = tensor.q_per_channel_scales().cpu().numpy()
    zeros = tensor.q_per_channel_zero_points().cpu().numpy()
    bits = 8 * (scales.nbytes + zeros.nbytes)
    return AffineScale(lambda: scales, lambda: zeros, tensor.q_per_channel_axis(), bits)
