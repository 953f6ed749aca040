"""Networks of layers in CoreML (``.mlmodel``): weights of layers, in floats or quantized.

Each layer has its weights in fields of its own, as floats, halves, or codes of 1 to 8 bits, the
first in the highest bits, with a scale and a bias for all or for each output channel, or a table
(https://apple.github.io/coremltools/mlmodel/Format/NeuralNetwork.html).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Codes, Role, Skipped, WeightTensor
from kolmo.checkpoints.bits import packed_size
from kolmo.checkpoints.protobuf import BYTES, Pieces, WireMessage
from kolmo.checkpoints.raw import raw_tensor
from kolmo.checkpoints.scaled import ScaleBlocks, spread
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError
from kolmo.symbols import Alphabet

_LSTM = {
    1: "inputGateWeightMatrix", 2: "forgetGateWeightMatrix", 3: "blockInputWeightMatrix",
    4: "outputGateWeightMatrix", 20: "inputGateRecursionMatrix", 21: "forgetGateRecursionMatrix",
    22: "blockInputRecursionMatrix", 23: "outputGateRecursionMatrix", 40: "inputGateBiasVector",
    41: "forgetGateBiasVector", 42: "blockInputBiasVector", 43: "outputGateBiasVector",
    60: "inputGatePeepholeVector", 61: "forgetGatePeepholeVector", 62: "outputGatePeepholeVector",
}  # fmt: skip

_GRU = {
    30: "updateGateWeightMatrix", 31: "resetGateWeightMatrix", 32: "outputGateWeightMatrix",
    50: "updateGateRecursionMatrix", 51: "resetGateRecursionMatrix",
    52: "outputGateRecursionMatrix", 70: "updateGateBiasVector", 71: "resetGateBiasVector",
    72: "outputGateBiasVector",
}  # fmt: skip

LAYERS: dict[int, dict[int, str]] = {
    100: {90: "weights", 91: "bias"},
    140: {20: "weights", 21: "bias"},
    150: {20: "weights", 21: "bias"},
    160: {15: "gamma", 16: "beta", 17: "mean", 18: "variance"},
    245: {2: "scale", 5: "bias"},
    250: {2: "bias"},
    290: {2: "data"},
    400: {30: "weightMatrix", 31: "recursionMatrix", 32: "biasVector"},
    410: _GRU,
    420: {20: "weightParams"},
    430: {20: "weightParams"},
    500: {20: "weights"},
    1040: {20: "weights", 21: "bias"},
    1045: {8: "weights", 9: "bias"},
    1070: {2: "data"},
    1350: {3: "gamma", 4: "beta"},
    1471: {60: "weights", 61: "bias"},
}
"""The fields of weights in each kind of layer, by the layer's field in the schema."""

_ACTIVATION = 130
_INNER = {605: (1, 2), 615: (3, 4)}  # networks within layers: branches, loops


def network_tensors(message: WireMessage, prefix: str = "") -> Iterator[WeightTensor | Skipped]:
    """The weights of the layers of a network, unread."""
    for field in message.fields():
        if field.number == 1:
            yield from _layer(field.message(), prefix)


def _layer(message: WireMessage, prefix: str) -> Iterator[WeightTensor | Skipped]:
    fields = list(message.fields())
    name = prefix + next((field.text() for field in fields if field.number == 1), "layer")
    for field in fields:
        if field.number in LAYERS:
            yield from _weights(field.message(), field.number, LAYERS[field.number], name)
        elif field.number == _ACTIVATION:
            for inner in field.message().fields():
                names = {1: "alpha", 2: "beta"} if inner.number in (25, 71) else {}
                if names:
                    yield from _weights(inner.message(), 0, names, name)
        elif field.number in _INNER:
            for inner in field.message().fields():
                if inner.number in _INNER[field.number]:
                    yield from network_tensors(inner.message(), f"{name}/")


def _weights(
    message: WireMessage, kind: int, names: dict[int, str], layer: str
) -> Iterator[WeightTensor | Skipped]:
    fields = list(message.fields())
    numbers: dict[int, list[int]] = {}
    for field in fields:
        if field.number not in names and (field.wire != BYTES or field.size <= 64):
            numbers.setdefault(field.number, []).extend(_integers(field))
    directions = 0
    for field in fields:
        if field.number not in names or field.wire != BYTES or directions > 2:
            continue
        what = names[field.number]
        if what == "weightParams":
            yield from _lstm(field.message(), kind, numbers, f"{layer}{_DIRECTIONS[directions]}")
            directions += kind == 430
            continue
        shape = _shape(kind, what, numbers)
        made = _tensor(field.message(), f"{layer}.{what}", shape)
        if made is not None:
            yield _with_role(made, statistic=kind == 160 and what in ("mean", "variance"))


_DIRECTIONS = ("", ".backward", ".more")


def _lstm(
    message: WireMessage, kind: int, numbers: dict[int, list[int]], layer: str
) -> Iterator[WeightTensor | Skipped]:
    for field in message.fields():
        if field.number in _LSTM and field.wire == BYTES:
            what = _LSTM[field.number]
            made = _tensor(field.message(), f"{layer}.{what}", _shape(kind, what, numbers))
            if made is not None:
                yield _with_role(made)


def _with_role(made: WeightTensor | Skipped, *, statistic: bool = False) -> WeightTensor | Skipped:
    if isinstance(made, Skipped):
        return made
    return dataclasses.replace(made, role=Role.BUFFER if statistic else Role.WEIGHT)


def _integers(field: Any) -> list[int]:
    try:
        return list(field.integers())
    except InputError:
        return []


def _shape(kind: int, what: str, numbers: dict[int, list[int]]) -> tuple[int, ...] | None:
    """The shape that the layer's numbers tell of its weights; None where they do not."""
    one = {number: values[-1] for number, values in numbers.items() if values}
    if what in ("data", "scale") or (kind == 250 and what == "bias"):
        return tuple(numbers.get(1, ())) or None
    if kind == 245 and what == "bias":
        return tuple(numbers.get(4, ())) or None
    if what != "weights":
        return _vector_shape(kind, what, numbers, one)
    if kind == 100:
        sides = (one.get(1, 0), one.get(2, 0))
        sides = (sides[1], sides[0] // max(1, one.get(10, 1))) if one.get(60) else sides
        return (*sides, *(numbers.get(20) or [3, 3]))
    if kind == 1471:
        sides = (one.get(1, 0), one.get(2, 0) // max(1, one.get(10, 1)))
        return (*sides, one.get(20, 0), one.get(21, 0), one.get(22, 0))
    if kind in (140, 150, 1040):
        return (one.get(2, 0), one.get(1, 0))
    return (one.get(6, 0), one.get(5, 0)) if kind == 1045 else None


_CHANNELS = {100: 1, 140: 2, 150: 2, 160: 1, 1040: 2, 1045: 6, 1471: 1}
"""The field of each kind of layer that has the length of its vectors."""


def _vector_shape(
    kind: int, what: str, numbers: dict[int, list[int]], one: dict[int, int]
) -> tuple[int, ...] | None:
    """The shape of biases, of norms, and of the matrices and vectors of recurrent layers."""
    if kind == 1350:
        return tuple(numbers.get(1, ())) or None
    if kind in _CHANNELS:
        return (one.get(_CHANNELS[kind], 0),)
    if kind not in (400, 410, 420, 430):
        return None
    if "ecursion" in what:
        return (one.get(2, 0), one.get(2, 0))
    return (one.get(2, 0),) if what.endswith("Vector") else (one.get(2, 0), one.get(1, 0))


def _tensor(
    message: WireMessage, name: str, shape: tuple[int, ...] | None
) -> WeightTensor | Skipped | None:
    """The tensor of a field of weights; None if it is empty."""
    floats, parts, quantization = Pieces(), dict[int, Stored](), None
    for field in message.fields():
        if field.number == 1:
            floats.add(field)
        elif field.number in (2, 30, 31):
            parts[field.number] = field.stored
        elif field.number == 40:
            quantization = field.message()
    where = f"{message.where}: {name!r}"
    values = floats.stored(where)
    if values.size:
        return _plain(name, shape, np.float32, values)
    if 2 in parts:
        return _plain(name, shape, np.float16, parts[2])
    codes = parts.get(30, parts.get(31))
    if codes is None or not codes.size:
        return None
    if quantization is None or 31 in parts:
        return Skipped(name, "raw bytes whose numbers the file does not describe", codes.size)
    return _quantized(quantization, name, shape, codes, where)


def _plain(name: str, shape: tuple[int, ...] | None, dtype: Any, stored: Stored) -> WeightTensor:
    count = stored.size // np.dtype(dtype).itemsize
    fitting = shape if shape and min(shape) >= 0 and math.prod(shape) == count else (count,)
    return raw_tensor(name, fitting, np.dtype(dtype), stored)


def _floats(message: WireMessage, number: int) -> NDArray[np.float32]:
    pieces = Pieces()
    for field in message.fields():
        if field.number == number:
            pieces.add(field)
    stored = pieces.stored(message.where)
    return np.frombuffer(stored.read(0, stored.size // 4 * 4), "<f4").astype(np.float32)


def _quantized(
    message: WireMessage, name: str, shape: tuple[int, ...] | None, codes: Stored, where: str
) -> WeightTensor:
    """Codes with a scale and a bias, or a table, for all or each slice of the first axis."""
    bits, linear, table = 0, None, None
    for field in message.fields():
        if field.number == 1:
            bits = field.value
        elif field.number == 101:
            linear = field.message()
        elif field.number == 102:
            table = _floats(field.message(), 1)
    if not 1 <= bits <= 8 or (linear is None) == (table is None):
        raise InputError(f"{where} is quantized in a way that is not defined; damaged")
    told = shape and min(shape) >= 0 and packed_size(math.prod(shape), bits) == codes.size
    sides = shape if shape and told else (codes.size * 8 // bits,)

    def patterns(start: int, stop: int) -> NDArray[np.uint8]:
        return _highest_first(codes, bits, start, stop)

    if table is not None:
        lookup = table
        if lookup.size != 1 << bits:
            raise InputError(f"{where} has a table of {lookup.size:,} for codes of {bits} bits")
        side = 32 * lookup.size
        return _coded(name, sides, bits, side, patterns, lambda a, b: lookup[patterns(a, b)])
    assert linear is not None
    scale, bias = _floats(linear, 1), _floats(linear, 2)
    blocks = _blocks(sides, scale.size, where)
    if bias.size not in (0, scale.size):
        raise InputError(f"{where} has {scale.size:,} scales and {bias.size:,} biases")
    shift = bias if bias.size else np.zeros_like(scale)

    def load(start: int, stop: int) -> NDArray[Any]:
        factor = spread(lambda a, b: scale[a:b], blocks, start, stop)
        added = spread(lambda a, b: shift[a:b], blocks, start, stop)
        with np.errstate(all="ignore"):
            return np.asarray(patterns(start, stop).astype(np.float32) * factor + added)

    return _coded(name, sides, bits, 32 * (scale.size + bias.size), patterns, load)


def _blocks(shape: tuple[int, ...], count: int, where: str) -> ScaleBlocks:
    if count == 1:
        return ScaleBlocks.whole(shape)
    for axis in range(min(2, len(shape))):
        if shape[axis] == count:
            return ScaleBlocks.channels(shape, axis)
    raise InputError(f"{where} has {count:,} scales for weights of shape {shape}; damaged")


def _coded(
    name: str, shape: tuple[int, ...], bits: int, side: int, patterns: Any, load: Any
) -> WeightTensor:
    codes = Codes("CoreML", Alphabet(1 << bits), patterns, side)
    return WeightTensor(name, shape, np.dtype(np.float32), load, codes, Role.WEIGHT)


def _highest_first(stored: Stored, bits: int, start: int, stop: int) -> NDArray[np.uint8]:
    """Codes [start, stop), the first in the highest bits of the first byte."""
    first = start * bits // 8
    data = np.frombuffer(stored.read(first, packed_size(stop, bits) - first), np.uint8)
    single = np.unpackbits(data)[start * bits - 8 * first :][: (stop - start) * bits]
    weights = (1 << np.arange(bits)[::-1]).astype(np.uint8)
    found = (single.reshape(stop - start, bits) * weights).sum(axis=1, dtype=np.uint8)
    return np.asarray(found, np.uint8)
