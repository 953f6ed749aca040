"""Darknet: ``.weights`` (YOLO), whose layers only the ``.cfg`` beside it tells.

A file is a version, the number of images seen, and then float32 numbers: of each layer with
weights its biases, of one with batch normalization scales, running means and variances, and its
weights (https://github.com/AlexeyAB/darknet, src/parser.c: ``load_weights_upto``). Without a
``.cfg`` that fits there is one tensor of all numbers.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Role, Skipped
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.stored import stored_tensor
from kolmo.errors import InputError

_FLOAT = np.dtype("<f4")
_LONGEST = 1 << 20  # bytes of a .cfg
_BUFFERS = ("rolling_mean", "rolling_variance")
_SAME = ("shortcut", "dropout", "yolo", "gaussian_yolo", "region",
         "detection", "softmax", "cost", "activation", "sam", "scale_channels",
         "crop")  # fmt: skip

Sizes = list[tuple[str, tuple[int, ...]]]


def open_darknet(file: File) -> Checkpoint:
    """The layers of a network, or all its numbers as one tensor where no ``.cfg`` tells them.

    Raises
    ------
    InputError
        If the file is no whole number of float32 numbers long.
    """
    _, minor, _ = struct.unpack("<3i", file.head(12))
    begin = 20 if minor >= 2 else 16
    count, rest = divmod(file.stored.size - begin, 4)
    if rest or count <= 0:
        raise InputError(f"{file.where}: a Darknet file (.weights) that is damaged or truncated")
    beside, sizes = _layers(file, count)
    tensors, at = [], begin
    for name, shape in sizes or [("weights", (count,))]:
        tensor = stored_tensor(file.stored, name, shape, _FLOAT, at)
        is_buffer = name.endswith(_BUFFERS)
        tensors.append(dataclasses.replace(tensor, role=Role.BUFFER if is_buffer else None))
        at += 4 * math.prod(shape)
    skipped = [] if sizes else [Skipped("layers", _unknown(beside))]
    files = [*file.files, *(beside.files if sizes and beside else [])]
    return Checkpoint(tensors, source=file.where, format="Darknet", skipped=skipped, files=files)


def _unknown(beside: File | None) -> str:
    why = f"{beside.name} does not fit" if beside else "there is no .cfg beside it"
    return f"{why}; all numbers are one tensor, running statistics among them"


def _layers(file: File, count: int) -> tuple[File | None, Sizes]:
    """The .cfg beside the file, and the tensors that it gives; none where they do not fit."""
    beside = file.beside(file.name.rpartition("/")[2].removesuffix(".weights") + ".cfg")
    if not beside.exists or beside.stored.size > _LONGEST:
        return None, []
    sizes: Sizes = []
    try:
        for layer in _tensors(_sections(beside)):
            if count <= 0:  # the first layers of a network, as a start of training has them
                break
            sizes += layer
            count -= sum(math.prod(shape) for _, shape in layer)
    except (KeyError, ValueError, IndexError, OverflowError, ZeroDivisionError):
        return beside, []
    return beside, sizes if count == 0 else []


def _sections(file: File) -> Iterator[tuple[str, dict[str, str]]]:
    """The sections of a .cfg: names, and keys with their values."""
    name, keys = "", dict[str, str]()
    for line in file.head(_LONGEST).decode("utf-8", "replace").splitlines():
        text = line.split("#")[0].split(";")[0].strip()
        if text.startswith("["):
            if name:
                yield name, keys
            name, keys = text.strip("[]"), {}
        elif "=" in text:
            key, _, value = text.partition("=")
            keys[key.strip()] = value.strip()
    if name:
        yield name, keys


@dataclasses.dataclass(frozen=True)
class _Out:
    """What a layer gives: channels, height, width."""

    channels: int
    height: int
    width: int


def _tensors(sections: Iterator[tuple[str, dict[str, str]]]) -> Iterator[Sizes]:
    """The tensors of each layer; KeyError for a layer that is not known."""
    _, net = next(sections, ("", dict[str, str]()))
    outs: list[_Out] = []
    now = _Out(int(net.get("channels", 3)), int(net.get("height", 1)), int(net.get("width", 1)))
    for number, (name, keys) in enumerate(sections):
        sizes, now = _layer(name, keys, now, outs)
        outs.append(now)
        yield [(f"{number}.{name}.{part}", shape) for part, shape in sizes]


def _layer(name: str, keys: dict[str, str], before: _Out, outs: list[_Out]) -> tuple[Sizes, _Out]:
    if name in ("convolutional", "conv"):
        return _convolution(keys, before)
    if name in ("connected", "conn"):
        return _connected(keys, before)
    if name == "route":
        return [], _route(keys, outs)
    if name in ("reorg", "reorg3d"):
        stride = int(keys.get("stride", 1))
        return [], _Out(
            before.channels * stride**2, before.height // stride, before.width // stride
        )
    if name in ("maxpool", "max", "upsample", "avgpool", "avg"):
        return [], _resized(name, keys, before)
    if name in _SAME:
        return [], before
    raise KeyError(name)


def _convolution(keys: dict[str, str], before: _Out) -> tuple[Sizes, _Out]:
    filters, size = int(keys.get("filters", 1)), int(keys.get("size", 1))
    groups, stride = int(keys.get("groups", 1)), int(keys.get("stride", 1))
    padding = size // 2 if int(keys.get("pad", 0)) else int(keys.get("padding", 0))
    shape = (filters, before.channels // groups, size, size)
    sizes = [("biases", (filters,)), *_normalization(keys, filters), ("weights", shape)]
    height, width = ((n + 2 * padding - size) // stride + 1 for n in (before.height, before.width))
    return sizes, _Out(filters, height, width)


def _connected(keys: dict[str, str], before: _Out) -> tuple[Sizes, _Out]:
    inputs, outputs = before.channels * before.height * before.width, int(keys.get("output", 1))
    sizes = [("biases", (outputs,)), ("weights", (outputs, inputs))]
    return [*sizes, *_normalization(keys, outputs)], _Out(outputs, 1, 1)


def _normalization(keys: dict[str, str], filters: int) -> Sizes:
    has = int(keys.get("batch_normalize", 0))
    return [(part, (filters,)) for part in ("scales", *_BUFFERS)] if has else []


def _route(keys: dict[str, str], outs: list[_Out]) -> _Out:
    places = [int(place) for place in keys["layers"].split(",")]
    found = [outs[place] for place in places]
    channels = sum(out.channels for out in found) // int(keys.get("groups", 1))
    return dataclasses.replace(found[0], channels=channels)


def _resized(name: str, keys: dict[str, str], before: _Out) -> _Out:
    if name in ("avgpool", "avg"):
        return _Out(before.channels, 1, 1)
    stride = int(keys.get("stride", 2 if name == "upsample" else 1))
    if name == "upsample":
        return _Out(before.channels, before.height * stride, before.width * stride)
    size = int(keys.get("size", stride))
    padding = int(keys.get("padding", size - 1))
    height, width = ((n + padding - size) // stride + 1 for n in (before.height, before.width))
    return _Out(before.channels, height, width)
