"""Programs of CoreML (``.mlpackage``): constants, and what compressed ones stand for.

A constant has its value in the program or in a file of blobs. Operators whose names begin with
``constexpr_`` make weights of codes: by a scale and an offset, a table, or a mask
(https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Codes, Role, Skipped, WeightTensor
from kolmo.checkpoints.bits import patterns_of
from kolmo.checkpoints.coreml_values import MilArray, MilFiles, read_value
from kolmo.checkpoints.protobuf import WireMessage
from kolmo.checkpoints.scaled import Load, ScaleBlocks, scaled
from kolmo.checkpoints.scattered import Scattered, too_sparse
from kolmo.errors import InputError
from kolmo.symbols import Alphabet

Value = MilArray | Skipped | str


@dataclasses.dataclass
class _Operation:
    op: str
    name: str
    arguments: dict[str, Value]
    names: dict[str, str]


class MilProgram:
    """The constants of a program, and the weights that its operators make of them."""

    def __init__(self, message: WireMessage, files: MilFiles, prefix: str = "") -> None:
        self._files, self._prefix = files, prefix
        self._values: dict[str, Value] = {}
        self._uses: dict[str, set[tuple[str, str]]] = {}
        self._made: dict[str, WeightTensor | Skipped] = {}
        self._parts: set[str] = set()
        for field in message.fields():
            if field.number == 2:
                self._function(field.message())

    def found(self) -> list[WeightTensor | Skipped]:
        """Constants that are arrays, and logical weights; operators' settings are neither."""
        plain = [self._plain(name, value) for name, value in self._values.items()]
        return [*(one for one in plain if one is not None), *self._made.values()]

    def _plain(self, name: str, value: Value) -> WeightTensor | Skipped | None:
        if name in self._parts or isinstance(value, str):
            return None
        if isinstance(value, Skipped):
            return value
        uses = self._uses.get(name, set())
        if uses and all(op.startswith("constexpr_") for op, _ in uses):
            return value.tensor(name, Role.BOOKKEEPING)
        if value.place is None and not (value.is_float and value.numel > 1):
            return None
        if not value.is_float or not value.shape:
            return value.tensor(name, Role.OTHER)
        statistic = uses and all(argument in ("mean", "variance") for _, argument in uses)
        role = Role.BUFFER if statistic else Role.WEIGHT if uses else None
        return value.tensor(name, role)

    def _function(self, message: WireMessage) -> None:
        name, body = _entry(message)
        prefix = self._prefix + ("" if name == "main" else f"{name}/")
        for field in body.fields() if body else ():
            if field.number == 3:
                block = _entry(field.message())[1]
                if block is not None:
                    self._block(block, prefix)

    def _block(self, message: WireMessage, prefix: str) -> None:
        for field in message.fields():
            if field.number == 3:
                operation = self._operation(field.message(), prefix)
                if operation.op == "const":
                    self._constant(operation)
                elif operation.op.startswith("constexpr_"):
                    self._compressed(operation)
                for argument, name in operation.names.items():
                    self._uses.setdefault(name, set()).add((operation.op, argument))

    def _operation(self, message: WireMessage, prefix: str) -> _Operation:
        """An operator with the values of its attributes and arguments; of inner blocks too."""
        found = _Operation("", "", {}, {})
        inner = list[WireMessage]()
        values = list[tuple[str, WireMessage]]()
        for field in message.fields():
            if field.number == 1:
                found.op = field.text()
            elif field.number == 2:
                key, argument = _entry(field.message())
                self._argument(found, key, argument, values, prefix)
            elif field.number == 3 and not found.name:
                names = [one.text() for one in field.message().fields() if one.number == 1]
                found.name = prefix + (names[0] if names else "")
            elif field.number == 4:
                inner.append(field.message())
            elif field.number == 5:
                key, value = _entry(field.message())
                if value is not None:
                    values.append((key, value))
        for key, value in values:
            name = found.name if found.op == "const" else f"{found.name}.{key}"
            read = read_value(value, name, self._files)
            if read is not None:
                found.arguments[key] = read
        for block in inner:
            self._block(block, prefix)
        return found

    def _argument(
        self, found: _Operation, key: str, argument: WireMessage | None,
        values: list[tuple[str, WireMessage]], prefix: str,
    ) -> None:  # fmt: skip
        for binding in argument.fields() if argument else ():
            for field in binding.message().fields() if binding.number == 1 else ():
                if field.number == 2:
                    values.append((key, field.message()))
                elif field.number == 1:
                    name = prefix + field.text()
                    found.names[key] = name
                    if name in self._values:
                        found.arguments[key] = self._values[name]

    def _constant(self, operation: _Operation) -> None:
        value = operation.arguments.get("val")
        if value is not None:
            self._values[operation.name] = value

    def _compressed(self, operation: _Operation) -> None:
        """The weights that a ``constexpr_`` operator makes, under the name of its output."""
        make = _MAKERS.get(operation.op)
        found = make(operation, self._files.where) if make else None
        data = operation.arguments.get(_DATA.get(operation.op, ""))
        made: WeightTensor | Skipped
        if found is not None:
            made = found
        else:
            numel = data.numel if isinstance(data, MilArray) else 0
            why = f"compressed by {operation.op} in a way that is not understood"
            made = Skipped(operation.name, why, numel)
        name = operation.names.get(_DATA.get(operation.op, ""), "")
        if name:
            self._parts.add(name)
        self._made[operation.name] = made


def _entry(message: WireMessage) -> tuple[str, WireMessage | None]:
    """The key and the value of an entry of a map."""
    key, value = "", None
    for field in message.fields():
        if field.number == 1:
            key = field.text()
        elif field.number == 2:
            value = field.message()
    return key, value


def _array(operation: _Operation, *names: str) -> MilArray | None:
    for name in names:
        value = operation.arguments.get(name)
        if isinstance(value, MilArray):
            return value
    return None


def _logical(
    operation: _Operation, data: MilArray, shape: tuple[int, ...], load: Load, bits: int,
    codes: Load, beside: list[MilArray | None],
) -> WeightTensor:  # fmt: skip
    side = sum(one.stored_bits for one in beside if one is not None)
    scheme = operation.op.removeprefix("constexpr_")
    told = Codes(scheme, Alphabet(1 << bits), codes, side, (data.tensor(data.name),))
    return WeightTensor(operation.name, shape, np.dtype(np.float32), load, told, Role.WEIGHT)


def _affine(operation: _Operation, where: str) -> WeightTensor | None:
    """(codes - zero point) x scale, along an axis."""
    data, scale = _array(operation, "quantized_data"), _array(operation, "scale")
    zero, axis = _array(operation, "zero_point"), _array(operation, "axis")
    if data is None or scale is None or data.is_float:
        return None
    along = int(axis.load(0, 1)[0]) if axis is not None and axis.numel == 1 else 0
    blocks = ScaleBlocks.whole(data.shape)
    if scale.numel > 1 or (zero is not None and zero.numel > 1):
        if not -len(data.shape) <= along < len(data.shape):
            raise _misfit(operation, where)
        blocks = ScaleBlocks.channels(data.shape, along)
    if any(one is not None and one.numel not in (1, blocks.count) for one in (scale, zero)):
        raise _misfit(operation, where)
    load = scaled(data.load, _each(scale, blocks), _each(zero, blocks) if zero else 0, blocks)
    return _logical(operation, data, data.shape, load, data.bits, data.patterns, [scale, zero])


def _each(values: MilArray, blocks: ScaleBlocks) -> Load:
    if values.numel == 1 < blocks.count:
        return lambda start, stop: np.repeat(values.load(0, 1), stop - start)
    return values.load


def _blockwise(operation: _Operation, where: str) -> WeightTensor | None:
    """(codes - offset) x scale, each for a block of any sides."""
    data, scale, zero = (_array(operation, name) for name in ("data", "scale", "offset"))
    if data is None or scale is None or data.is_float:
        return None
    blocks = _grid(data.shape, scale.shape, operation, where)
    if zero is not None and zero.numel != blocks.count:
        raise _misfit(operation, where)
    load = scaled(data.load, scale.load, zero.load if zero else 0, blocks)
    return _logical(operation, data, data.shape, load, data.bits, data.patterns, [scale, zero])


def _grid(
    shape: tuple[int, ...], grid: tuple[int, ...], operation: _Operation, where: str
) -> ScaleBlocks:
    """The blocks of a grid of so many along each axis."""
    if len(grid) != len(shape) or any(
        n < 1 or side % n for side, n in zip(shape, grid, strict=True)
    ):
        raise _misfit(operation, where)
    sides = tuple(max(1, side // n) for side, n in zip(shape, grid, strict=True))
    return ScaleBlocks(shape, sides)


def _misfit(operation: _Operation, where: str) -> InputError:
    return InputError(f"{where}: the parts of {operation.name!r} do not fit each other; damaged")


def _table(operation: _Operation, where: str) -> WeightTensor | None:
    """Codes that a table turns into weights: one table, or one for each block."""
    indices, lut = _array(operation, "indices"), _array(operation, "lut")
    told = _array(operation, "shape")
    if indices is None or lut is None or not lut.numel:
        return None
    if told is not None:
        return _old_table(operation, indices, lut, told, where)
    size = 1 << indices.bits
    if lut.shape[-1:] != (1,) or lut.shape[-2:-1] != (size,):
        return None
    blocks = _grid(indices.shape, lut.shape[:-2], operation, where)

    def load(start: int, stop: int) -> NDArray[Any]:
        places = blocks.places(start, stop) * size + indices.patterns(start, stop)
        if not places.size:
            return np.empty(0, np.float32)
        first, last = int(places.min()), int(places.max())
        return np.asarray(lut.load(first, last + 1)[places - first], np.float32)

    return _logical(operation, indices, indices.shape, load, indices.bits, indices.patterns, [lut])


def _sides(told: MilArray, operation: _Operation, where: str) -> tuple[int, ...]:
    if told.numel > 32:
        raise _misfit(operation, where)
    return tuple(int(side) for side in told.load(0, told.numel))


def _old_table(
    operation: _Operation, indices: MilArray, lut: MilArray, told: MilArray, where: str
) -> WeightTensor:
    """One table; the codes lie packed in bytes, the first in the lowest bits."""
    shape, bits = _sides(told, operation, where), max(1, (lut.numel - 1).bit_length())
    if bits > 8 or lut.numel != 1 << bits or indices.numel * 8 < math.prod(shape) * bits:
        raise _misfit(operation, where)

    def codes(start: int, stop: int) -> NDArray[Any]:
        return patterns_of(indices.patterns, bits, start, stop)

    def load(start: int, stop: int) -> NDArray[Any]:
        return np.asarray(lut.load(0, lut.numel)[codes(start, stop)], np.float32)

    return _logical(operation, indices, shape, load, bits, codes, [lut])


def _cast(operation: _Operation, where: str) -> WeightTensor | None:
    source = _array(operation, "source_val")
    return source.tensor(operation.name, Role.WEIGHT) if source is not None else None


def _sparse(operation: _Operation, where: str) -> WeightTensor | None:
    """Values where a mask has ones, zeros elsewhere."""
    data, mask = _array(operation, "nonzero_data"), _array(operation, "mask")
    told = _array(operation, "shape")
    if data is None or mask is None:
        return None
    shape = _sides(told, operation, where) if told is not None else mask.shape
    numel = math.prod(shape)
    if too_sparse(data.numel, numel) or mask.stored_bits < numel:
        raise _misfit(operation, where)

    def places() -> NDArray[np.int64]:
        ones = patterns_of(mask.patterns, 1, 0, numel) if told else mask.patterns(0, numel)
        found = np.flatnonzero(ones)
        if len(found) != data.numel:
            raise _misfit(operation, where)
        return found

    scattered = Scattered(data.load, places)
    return WeightTensor(operation.name, shape, data.dtype, scattered.load, role=Role.WEIGHT)


_MAKERS = {
    "constexpr_affine_dequantize": _affine,
    "constexpr_blockwise_shift_scale": _blockwise,
    "constexpr_lut_to_dense": _table,
    "constexpr_cast": _cast,
    "constexpr_sparse_to_dense": _sparse,
}

_DATA = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
    "constexpr_lut_to_dense": "indices",
    "constexpr_cast": "source_val",
    "constexpr_sparse_to_dense": "nonzero_data",
}
"""The argument of each operator that has the codes."""
