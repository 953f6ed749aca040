"""Caffe: ``.caffemodel``, a protocol buffer of layers and their blobs.

A layer has a name, a type and its blobs, and a blob its sides and its values, as floats or doubles
(https://github.com/BVLC/caffe, src/caffe/proto/caffe.proto). Files of before 2015 have the layers
in another field, and blobs of four sides.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Role, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.protobuf import BYTES, VARINT, Pieces, WireMessage
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import stored_tensor
from kolmo.errors import InputError

_LAYER, _OLD_LAYER = 100, 2


@dataclasses.dataclass(frozen=True)
class _Numbers:
    """The numbers of a layer's fields; those of its type are texts in new files only."""

    name: int
    type: int
    blobs: int


_FIELDS = {_LAYER: _Numbers(1, 2, 7), _OLD_LAYER: _Numbers(4, 0, 6)}
_SIDES, _FLOATS, _SHAPE, _DOUBLES = (1, 2, 3, 4), 5, 7, 8


def open_caffe(file: File) -> Checkpoint:
    """The blobs of all layers, as in ``conv1.0``, its weights, and ``conv1.1``, its biases.

    Raises
    ------
    InputError
        If the file is damaged, or no layer has a blob.
    """
    tensors: list[WeightTensor] = []
    layers: dict[str, int] = {}
    for field in WireMessage.of(file.stored).fields():
        if field.number in _FIELDS and field.wire == BYTES:
            tensors += _layer(field.message(), _FIELDS[field.number], layers)
    if not tensors:
        raise InputError(f"{file.where}: a Caffe model without blobs; name the .caffemodel file")
    return Checkpoint(tensors, source=file.where, format="Caffe", files=file.files)


def _layer(layer: WireMessage, numbers: _Numbers, layers: dict[str, int]) -> list[WeightTensor]:
    """The blobs of a layer; layers of one name are told apart by a number."""
    name, kind, blobs = "layer", "", []
    for field in layer.fields():
        if field.number == numbers.name and field.wire == BYTES:
            name = field.text()
        elif field.number == numbers.type and field.wire == BYTES:
            kind = field.text()
        elif field.number == numbers.blobs and field.wire == BYTES:
            blobs.append(field.message())
    if not blobs:
        return []
    plain = name
    while name in layers:
        layers[plain] += 1
        name = f"{plain} ({layers[plain]})"
    layers[name] = 1
    role = Role.BUFFER if kind == "BatchNorm" else None
    made = [_blob(blob, f"{name}.{number}") for number, blob in enumerate(blobs)]
    return [dataclasses.replace(tensor, role=role) for tensor in made]


def _blob(blob: WireMessage, name: str) -> WeightTensor:
    values = {_FLOATS: Pieces(), _DOUBLES: Pieces()}
    old: dict[int, int] = {}
    shape: list[int] | None = None
    for field in blob.fields():
        if field.number in values:
            values[field.number].add(field)
        elif field.number in _SIDES and field.wire == VARINT:
            old[field.number] = field.signed
        elif field.number == _SHAPE:
            inner = [f.integers() for f in field.message().fields() if f.number == 1]
            shape = [side for sides in inner for side in sides]
    sides = tuple(shape if shape is not None else [old.get(n, 1) for n in _SIDES])
    floats, doubles = (values[number].stored(blob.where) for number in (_FLOATS, _DOUBLES))
    stored, dtype = (doubles, "<f8") if doubles.size else (floats, "<f4")
    sound = len(sides) <= AXES and all(0 <= side < 1 << 48 for side in sides)
    if not sound or math.prod(sides) * np.dtype(dtype).itemsize != stored.size:
        raise InputError(
            f"{blob.where}: a Caffe model that is damaged (blob {name!r} has {stored.size:,} bytes "
            f"for {list(sides)[:8]})"
        )
    return stored_tensor(stored, name, sides, np.dtype(dtype))
