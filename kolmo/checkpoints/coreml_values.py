"""Values of CoreML's programs: arrays in the model or in a file of blobs, unread.

The fields are those of MIL.proto
(https://github.com/apple/coremltools/blob/main/mlmodel/format/MIL.proto).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Role, Skipped, WeightTensor
from kolmo.checkpoints.bits import load_patterns, packed_size
from kolmo.checkpoints.coreml_blobs import blob_at
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.protobuf import Pieces, Varints, WireMessage
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored
from kolmo.dtypes import bits_of
from kolmo.errors import InputError
from kolmo.floats import is_float

_DTYPES: dict[int, Any] = {
    1: np.bool_, 10: np.float16, 11: np.float32, 12: np.float64, 13: ml_dtypes.bfloat16,
    21: np.int8, 22: np.int16, 23: np.int32, 24: np.int64, 25: ml_dtypes.int4, 31: np.uint8,
    32: np.uint16, 33: np.uint32, 34: np.uint64, 35: ml_dtypes.uint4, 36: ml_dtypes.uint2,
    40: ml_dtypes.float8_e4m3fn, 41: ml_dtypes.float8_e5m2,
}  # fmt: skip
_ODD = {37: 1, 38: 6, 39: 3}
"""Unsigned integers that numpy lacks, by their bits; each has a byte in memory."""


@dataclasses.dataclass(frozen=True, eq=False)
class MilArray:
    """An array of a program: its bit patterns, unread."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bits: int
    patterns: Callable[[int, int], NDArray[Any]]
    place: tuple[Any, ...] | None = None

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def stored_bits(self) -> int:
        """Bits that the values take."""
        return self.numel * self.bits

    @property
    def is_float(self) -> bool:
        """Whether the values are floating-point numbers."""
        return is_float(self.dtype)

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """Values [start, stop)."""
        return np.asarray(self.patterns(start, stop).view(self.dtype))

    def tensor(self, name: str, role: Role | None = None) -> WeightTensor:
        """It as a tensor."""
        return WeightTensor(name, self.shape, self.dtype, self.load, role=role, place=self.place)


class MilFiles:
    """The model's file and the files of blobs beside it."""

    def __init__(self, model: File) -> None:
        self._model = model
        self._found: dict[str, File] = {}
        self.where = model.where

    @property
    def paths(self) -> list[str]:
        """The local files that were looked into."""
        return [*self._model.files, *(path for file in self._found.values() for path in file.files)]

    def stored(self, name: str) -> Stored:
        """The bytes of a file that a value names."""
        if name not in self._found:
            file = self._model.beside(name.removeprefix("@model_path/"))
            try:
                _ = file.stored
            except InputError:
                raise InputError(
                    f"{self.where}: its weights are in {name[:200]!r}, which is not beside it; "
                    f"open the whole .mlpackage"
                ) from None
            self._found[name] = file
        return self._found[name].stored


def read_value(message: WireMessage, name: str, files: MilFiles) -> MilArray | Skipped | str | None:
    """An array, or a text; None if it is neither, Skipped if it is of no known dtype."""
    kind, shape, inside, blob = 0, tuple[int, ...](), None, None
    for field in message.fields():
        if field.number == 2:
            kind, shape = _type(field.message())
        elif field.number == 3:
            inside = field.message()
        elif field.number == 5:
            blob = field.message()
    if len(shape) > AXES or math.prod(side or 1 for side in shape) >> 59:
        raise InputError(f"{files.where}: {name!r} has a shape that is none; damaged")
    if kind == 2 and inside is not None:
        return _text(inside)
    if kind not in _DTYPES and kind not in _ODD:
        return Skipped(name, "no numbers", math.prod(shape)) if blob is not None else None
    dtype = np.dtype(_DTYPES.get(kind, np.uint8))
    bits = _ODD.get(kind) or bits_of(dtype)
    if blob is not None:
        return _outside(blob, name, shape, dtype, bits, files)
    return _inside(inside, name, shape, dtype, bits, files.where) if inside is not None else None


def _type(message: WireMessage) -> tuple[int, tuple[int, ...]]:
    """The dtype and the shape of a type, if it is that of a tensor."""
    kind, sides = 0, list[int]()
    for field in message.fields():
        if field.number == 1:
            for inner in field.message().fields():
                if inner.number == 1:
                    kind = inner.value
                elif inner.number == 3:
                    sides.append(_side(inner.message()))
    return kind, tuple(sides)


def _side(message: WireMessage) -> int:
    for field in message.fields():
        if field.number == 1:
            sizes = [inner.value for inner in field.message().fields() if inner.number == 1]
            return sizes[-1] if sizes else 0
    return 0


def _tensor_value(message: WireMessage) -> tuple[int, WireMessage] | None:
    """The kind of an immediate tensor, by its field, and its values."""
    for field in message.fields():
        if field.number == 1:
            for inner in field.message().fields():
                return inner.number, inner.message()
    return None


def _text(message: WireMessage) -> str | None:
    found = _tensor_value(message)
    if found is None or found[0] != 4:
        return None
    return next((field.text() for field in found[1].fields() if field.number == 1), "")


def _outside(
    blob: WireMessage, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], bits: int,
    files: MilFiles,
) -> MilArray:  # fmt: skip
    path, offset = "", 0
    for field in blob.fields():
        if field.number == 1:
            path = field.text()
        elif field.number == 2:
            offset = field.value
    found = blob_at(files.stored(path), offset)
    return _raw(found.stored, name, shape, dtype, bits, files.where)


def _raw(
    stored: Stored, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], bits: int, where: str
) -> MilArray:
    wanted = packed_size(math.prod(shape), bits)
    if stored.size < wanted:
        raise InputError(f"{where}: {name!r} takes {wanted:,} bytes, and has {stored.size:,}")
    place = (id(stored.fetch), stored.offset, shape, dtype.name) if stored.size else None

    def patterns(start: int, stop: int) -> NDArray[Any]:
        return load_patterns(stored, bits, start, stop)

    return MilArray(name, shape, dtype, bits, patterns, place)


def _inside(
    message: WireMessage, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], bits: int,
    where: str,
) -> MilArray | None:  # fmt: skip
    """An array in the model itself: fixed in width, varints, or bytes."""
    found = _tensor_value(message)
    if found is None:
        return None
    pieces = Pieces()
    for field in found[1].fields():
        if field.number == 1:
            pieces.add(field)
    stored = pieces.stored(where)
    if found[0] not in (2, 3, 5):
        return _raw(stored, name, shape, dtype, bits, where)
    numbers = Varints(stored)
    if stored.size < math.prod(shape):
        raise InputError(f"{where}: {name!r} has fewer numbers than its shape tells; damaged")

    def patterns(start: int, stop: int) -> NDArray[Any]:
        return numbers.load(start, stop).astype(f"u{dtype.itemsize}")

    return MilArray(name, shape, dtype, bits, patterns)
