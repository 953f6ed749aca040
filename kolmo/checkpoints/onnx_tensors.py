"""Tensors of ONNX: raw bytes, typed numbers, bytes of another file; of all dtypes of the format.

Numbers of less than 8 bits lie packed, the first in the lowest bits. ``float_data`` and
``double_data`` are fixed in width; the other typed fields are varints, of which small floats take
the bits as integers (onnx.proto, https://onnx.ai/onnx/repo-docs/ExternalData.html).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Role, Skipped, WeightTensor
from kolmo.checkpoints.bits import load_patterns, packed_size, unpacked
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.protobuf import MessageField, Pieces, Varints, WireMessage
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import PlainLoad, Stored, memory_bytes
from kolmo.errors import InputError

Load = Callable[[int, int], NDArray[Any]]

FLOATS, INT32S, STRINGS, INT64S, RAW, DOUBLES, UINT64S = 4, 5, 6, 7, 9, 10, 11
"""Fields of a tensor that hold its values."""

MOST = 1 << 59
"""Values of a tensor: fewer, so that their bytes can be counted."""


@dataclasses.dataclass(frozen=True)
class OnnxKind:
    """A dtype of the format: the dtype of its values here, its bits, and its typed field."""

    name: str
    dtype: np.dtype[Any]
    bits: int
    field: int
    parts: int = 1

    @property
    def is_float(self) -> bool:
        """Whether the values are floating-point numbers, complex ones among them."""
        return self.dtype.kind in "fV" and self.dtype.name not in _INTEGERS


_INTEGERS = ("int2", "uint2", "int4", "uint4")


def _kind(name: str, dtype: Any, field: int, bits: int = 0, parts: int = 1) -> OnnxKind:
    found = np.dtype(dtype)
    return OnnxKind(name, found, bits or 8 * found.itemsize * parts, field, parts)


KINDS = {
    1: _kind("FLOAT", np.float32, FLOATS),
    2: _kind("UINT8", np.uint8, INT32S),
    3: _kind("INT8", np.int8, INT32S),
    4: _kind("UINT16", np.uint16, INT32S),
    5: _kind("INT16", np.int16, INT32S),
    6: _kind("INT32", np.int32, INT32S),
    7: _kind("INT64", np.int64, INT64S),
    9: _kind("BOOL", np.bool_, INT32S),
    10: _kind("FLOAT16", np.float16, INT32S),
    11: _kind("DOUBLE", np.float64, DOUBLES),
    12: _kind("UINT32", np.uint32, UINT64S),
    13: _kind("UINT64", np.uint64, UINT64S),
    14: _kind("COMPLEX64", np.float32, FLOATS, parts=2),
    15: _kind("COMPLEX128", np.float64, DOUBLES, parts=2),
    16: _kind("BFLOAT16", ml_dtypes.bfloat16, INT32S),
    17: _kind("FLOAT8E4M3FN", ml_dtypes.float8_e4m3fn, INT32S),
    18: _kind("FLOAT8E4M3FNUZ", ml_dtypes.float8_e4m3fnuz, INT32S),
    19: _kind("FLOAT8E5M2", ml_dtypes.float8_e5m2, INT32S),
    20: _kind("FLOAT8E5M2FNUZ", ml_dtypes.float8_e5m2fnuz, INT32S),
    21: _kind("UINT4", ml_dtypes.uint4, INT32S, 4),
    22: _kind("INT4", ml_dtypes.int4, INT32S, 4),
    23: _kind("FLOAT4E2M1", ml_dtypes.float4_e2m1fn, INT32S, 4),
    24: _kind("FLOAT8E8M0", ml_dtypes.float8_e8m0fnu, INT32S),
    25: _kind("UINT2", ml_dtypes.uint2, INT32S, 2),
    26: _kind("INT2", ml_dtypes.int2, INT32S, 2),
    27: _kind("FLOAT6E2M3", ml_dtypes.float6_e2m3fn, INT32S, 6),
    28: _kind("FLOAT6E3M2", ml_dtypes.float6_e3m2fn, INT32S, 6),
}
"""The dtypes of the format by their numbers; text (8) is no number."""


@dataclasses.dataclass
class OnnxProto:
    """A tensor as the file writes it."""

    name: str = ""
    dims: list[int] = dataclasses.field(default_factory=list)
    dtype: int = 0
    raw: Stored | None = None
    typed: dict[int, Pieces] = dataclasses.field(default_factory=dict)
    outside: dict[str, str] | None = None
    in_segments: bool = False
    external: bool = False


def read_proto(message: WireMessage) -> OnnxProto:
    """The fields of a tensor; its values stay unread."""
    proto = OnnxProto()
    for field in message.fields():
        if field.number == 1:
            proto.dims += field.integers()
        elif field.number == 2:
            proto.dtype = field.value
        elif field.number == 3:
            proto.in_segments = True
        elif field.number == 8:
            proto.name = field.text()
        elif field.number == RAW:
            proto.raw = field.stored
        elif field.number in (FLOATS, INT32S, INT64S, DOUBLES, UINT64S):
            proto.typed.setdefault(field.number, Pieces()).add(field)
        else:
            _outside(proto, field)
    return proto


def _outside(proto: OnnxProto, field: MessageField) -> None:
    if field.number == 13:
        texts = {inner.number: inner.text() for inner in field.message().fields()}
        proto.outside = {**(proto.outside or {}), texts.get(1, ""): texts.get(2, "")}
    elif field.number == 14:
        proto.external = field.value == 1


# --- arrays ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class OnnxArray:
    """A tensor of the file whose values can be read.

    Attributes
    ----------
    shape : tuple of int
        Of a complex tensor with a last axis of two: real and imaginary parts.
    patterns : callable
        ``patterns(start, stop)`` gives the bit patterns of the values [start, stop) as unsigned
        integers.
    place : tuple, optional
        Where the values lie, as that of a `WeightTensor`.
    """

    name: str
    shape: tuple[int, ...]
    kind: OnnxKind
    patterns: Load
    place: tuple[Any, ...] | None = None

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def stored_bits(self) -> int:
        """Bits that the values take."""
        return self.numel * self.kind.bits // self.kind.parts

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """Values [start, stop) in the format's own dtype."""
        return np.asarray(self.patterns(start, stop).view(self.kind.dtype))

    def tensor(self, role: Role | None = None) -> WeightTensor:
        """It as a tensor."""
        load, dtype, patterns = self.load, self.kind.dtype, self.patterns
        if isinstance(patterns, PlainLoad):
            load = PlainLoad(patterns.values, dtype.newbyteorder("<"))
        return WeightTensor(self.name, self.shape, dtype, load, role=role, place=self.place)


class OnnxFiles:
    """The files of external data beside a model, each looked up once."""

    def __init__(self, model: File) -> None:
        self._model = model
        self._found: dict[str, Stored] = {}
        self.where, self.paths = model.where, list(model.files)

    def stored(self, location: str, name: str) -> Stored:
        """The bytes of a file that a tensor names; InputError if it is none of this folder."""
        if location not in self._found:
            file = self._model.beside(location)
            try:
                self._found[location] = file.stored
            except InputError:
                raise InputError(
                    f"{self._model.where}: the values of {name!r} are in {location[:200]!r}, which "
                    f"is not beside it; put that file into the same folder"
                ) from None
            self.paths += file.files
        return self._found[location]


def read_tensor(proto: OnnxProto, name: str, files: OnnxFiles) -> OnnxArray | Skipped:
    """The array of a tensor, unread; Skipped if it is none of numbers.

    Raises
    ------
    InputError
        If its values are not there, or too few.
    """
    where = f"{files.where}: tensor {name!r}"
    check_shape(proto.dims, where)
    numel, kind = math.prod(proto.dims), KINDS.get(proto.dtype)
    if kind is None:
        what = "text" if proto.dtype == 8 else f"dtype {proto.dtype}, which ONNX does not define"
        return Skipped(name, what, numel)
    if proto.in_segments:
        return Skipped(name, "a part of a tensor (a segment), which ONNX reads nowhere", numel)
    shape = (*proto.dims, kind.parts) if kind.parts > 1 else tuple(proto.dims)
    stored = _bytes(proto, name, files, packed_size(numel, kind.bits), where)
    if stored is not None:
        return _raw(name, shape, kind, stored)
    return OnnxArray(name, shape, kind, _typed(proto, kind, math.prod(shape), where))


def check_shape(dims: Sequence[int], where: str) -> None:
    """InputError unless an array may have these sides."""
    if len(dims) > AXES or min(dims, default=0) < 0 or math.prod(n or 1 for n in dims) >= MOST:
        raise InputError(f"{where} has a shape that is none; the file is damaged")


def _raw(name: str, shape: tuple[int, ...], kind: OnnxKind, stored: Stored) -> OnnxArray:
    bits = kind.bits // kind.parts
    whole = bits >= 8
    patterns = PlainLoad(stored, np.dtype(f"<u{bits // 8}")) if whole else _packed(stored, bits)
    place = (id(stored.fetch), stored.offset, shape, kind.name) if stored.size else None
    return OnnxArray(name, shape, kind, patterns, place)


def _packed(stored: Stored, bits: int) -> Load:
    """What reads patterns that are narrower than a byte."""
    return lambda start, stop: load_patterns(stored, bits, start, stop)


def _bytes(proto: OnnxProto, name: str, files: OnnxFiles, size: int, where: str) -> Stored | None:
    """The bytes of a tensor that is raw or lies outside; None if its numbers are typed."""
    if proto.external:
        return _external(proto, name, files, size, where)
    if proto.raw is None or (proto.typed and not proto.raw.size):
        return None
    if proto.raw.size != size:
        raise InputError(f"{where} takes {size:,} bytes, and has {proto.raw.size:,}")
    return proto.raw


def _external(proto: OnnxProto, name: str, files: OnnxFiles, size: int, where: str) -> Stored:
    entries = proto.outside or {}
    stored = files.stored(entries.get("location", ""), name)
    offset = _whole(entries.get("offset", "0"), where)
    length = _whole(entries.get("length", str(size)), where)
    if length != size:
        raise InputError(f"{where} takes {size:,} bytes, and has {length:,} in another file")
    if offset + size > stored.size:
        raise InputError(
            f"{where}: its values end at byte {offset + size:,} of {stored.where}, which has "
            f"{stored.size:,}; that file is incomplete, or another model's"
        )
    return stored.part(offset, size)


def _whole(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"{where}: its place in another file is no number; the file is damaged")
    return int(text)


def _typed(proto: OnnxProto, kind: OnnxKind, count: int, where: str) -> Load:
    """The loader of numbers in a typed field."""
    pieces = proto.typed.get(kind.field)
    stored = pieces.stored(where) if pieces else memory_bytes(b"", where)
    if kind.field in (FLOATS, DOUBLES):
        width = 4 if kind.field == FLOATS else 8
        if stored.size != count * width:
            raise _few(where, count, stored.size // width)
        return lambda start, stop: load_patterns(stored, 8 * width, start, stop)
    halves = kind.bits in (2, 4)  # these come packed, a byte a number of the field
    entries = packed_size(count, kind.bits) if halves else count
    numbers = Varints(stored)
    if stored.size < entries or (stored.size <= _COUNTED and numbers.count != entries):
        raise _few(where, entries, numbers.count if stored.size <= _COUNTED else stored.size)
    width = max(kind.dtype.itemsize, 1)

    def patterns(start: int, stop: int) -> NDArray[Any]:
        return numbers.load(start, stop).astype(f"u{width}")

    def parts(start: int, stop: int) -> NDArray[Any]:
        per = 8 // kind.bits
        first = start // per
        data = patterns(first, packed_size(stop, kind.bits))
        return unpacked(data, kind.bits)[start - first * per : stop - first * per]

    if kind.bits == 6:
        return lambda start, stop: patterns(start, stop) & np.uint8(0x3F)
    return parts if halves else patterns


_COUNTED = 1 << 16  # bytes of varints, at most, that are counted when a file is opened


def _few(where: str, wanted: int, found: int) -> InputError:
    if not found:
        return InputError(f"{where} has no values: the model was saved without its weights")
    return InputError(f"{where} takes {wanted:,} numbers, and has {found:,}; the file is damaged")
