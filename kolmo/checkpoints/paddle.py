"""Paddle: the parameters of a model for inference, ``.pdiparams``, and the names in its graph.

Parameters lie one behind the other, each with its dtype and shape before it, in the order of their
names, which only the graph beside them knows: ``.pdmodel``, a protocol buffer, or ``.json`` since
Paddle 3 (https://github.com/PaddlePaddle/Paddle/blob/develop/paddle/fluid/framework/framework.proto).
``.pdparams`` files are pickles and read as such.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from kolmo.checkpoints.allowance import ENTRY, allowance_for
from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.json_text import load_json
from kolmo.checkpoints.protobuf import WireMessage
from kolmo.checkpoints.raw import raw_tensor
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored
from kolmo.checkpoints.unique import unique_names
from kolmo.errors import InputError

DTYPES: dict[int, Any] = {
    0: np.bool_, 1: np.int16, 2: np.int32, 3: np.int64, 4: np.float16, 5: np.float32,
    6: np.float64, 20: np.uint8, 21: np.int8, 22: ml_dtypes.bfloat16, 23: np.complex64,
    24: np.complex128, 32: ml_dtypes.float8_e4m3fn, 33: ml_dtypes.float8_e5m2,
}  # fmt: skip
"""The dtypes of the format by their numbers."""

_GRAPH = 1 << 28  # bytes of a graph in JSON
_MEAN, _VARIANCE = "Mean", "Variance"


@dataclasses.dataclass(frozen=True)
class PaddleNames:
    """The names of parameters in the order of the file, and those of running statistics."""

    names: tuple[str, ...]
    statistics: frozenset[str]
    files: tuple[str, ...] = ()


def open_parameters(file: File) -> Checkpoint:
    """The parameters of a ``.pdiparams`` file, unread; names are those of the graph beside it.

    Raises
    ------
    InputError
        If it is damaged, or the graph beside it has other parameters.
    """
    arrays = list(_arrays(file.stored))
    told = _names_beside(file)
    if told and len(told.names) != len(arrays):
        raise InputError(
            f"{file.where}: {len(arrays):,} parameters, but the graph beside it names "
            f"{len(told.names):,}; they are of different models"
        )
    names = told.names if told else [f"parameter {number}" for number in range(len(arrays))]
    statistics = told.statistics if told else frozenset[str]()
    made = [_tensor(name, *array) for name, array in zip(names, arrays, strict=True)]
    found = unique_names(
        dataclasses.replace(one, role=Role.BUFFER)
        if isinstance(one, WeightTensor) and one.name in statistics
        else one
        for one in made
    )
    return Checkpoint(
        [one for one in found if isinstance(one, WeightTensor)],
        source=file.where,
        format="paddle",
        skipped=[one for one in found if isinstance(one, Skipped)],
        files=[*file.files, *(told.files if told else ())],
    )


def open_graph(file: File) -> Checkpoint:
    """The parameters of the model whose graph this is, from the file beside it."""
    stem = file.name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    beside = file.beside("__params__" if stem == "__model__" else f"{stem}.pdiparams")
    try:
        _ = beside.stored
    except InputError:
        raise InputError(
            f"{file.where}: the graph of a Paddle model, whose parameters are in "
            f"{beside.name[:200]!r}, which is not beside it"
        ) from None
    return open_parameters(beside)


def _tensor(
    name: str, dtype: np.dtype[Any] | None, shape: tuple[int, ...], stored: Stored
) -> WeightTensor | Skipped:
    if dtype is None:
        return Skipped(name, "a dtype that is not known", math.prod(shape))
    return raw_tensor(name, shape, dtype, stored)


def _arrays(stored: Stored) -> Iterator[tuple[np.dtype[Any], tuple[int, ...], Stored]]:
    """The dtype, shape and bytes of each parameter in a file."""
    at, charge = 0, allowance_for(stored.where, stored.size).charge
    while at < stored.size:
        levels = int.from_bytes(stored.read(at + 4, 8), "little")
        charge(ENTRY)
        if levels > 64 or any(stored.read(at, 4)):
            raise _damaged(stored)
        at += 12
        for _ in range(levels):
            at += 8 + int.from_bytes(stored.read(at, 8), "little")
        size = int.from_bytes(stored.read(at + 4, 4), "little")
        if not 0 < size <= 1 << 12 or any(stored.read(at, 4)):
            raise _damaged(stored)
        dtype, shape = _described(stored.part(at + 8, size))
        at += 8 + size
        length = math.prod(shape) * dtype.itemsize
        yield dtype, shape, stored.part(at, length)
        at += length


def _damaged(stored: Stored) -> InputError:
    return InputError(f"{stored.where}: no parameter where one should begin; the file is damaged")


def _described(stored: Stored) -> tuple[np.dtype[Any], tuple[int, ...]]:
    kind, dims = -1, list[int]()
    for field in WireMessage.of(stored).fields():
        if field.number == 1:
            kind = field.value
        elif field.number == 2:
            dims += field.integers()
    sound = kind in DTYPES and len(dims) <= AXES and min(dims, default=0) >= 0
    if not sound or math.prod(side or 1 for side in dims) >> 59:
        raise _damaged(stored)
    return np.dtype(DTYPES[kind]), tuple(dims)


# --- names ----------------------------------------------------------------------------------


def _names_beside(file: File) -> PaddleNames | None:
    """What the graph beside a file of parameters tells; None if there is none."""
    stem = file.name.rsplit("/", 1)[-1].removesuffix(".pdiparams")
    candidates = ("__model__",) if stem == "__params__" else (f"{stem}.pdmodel", f"{stem}.json")
    for name in candidates:
        beside = file.beside(name)
        try:
            stored = beside.stored
        except InputError:
            continue
        told = _of_json(stored) if name.endswith(".json") else _of_program(stored)
        return dataclasses.replace(told, files=tuple(beside.files))
    return None


def _of_program(stored: Stored) -> PaddleNames:
    names, statistics = set[str](), set[str]()
    for block in WireMessage.of(stored).fields():
        for field in block.message().fields() if block.number == 1 else ():
            if field.number == 3 and (name := _persistable(field.message())):
                names.add(name)
            elif field.number == 4:
                statistics |= _statistics(field.message())
    return PaddleNames(tuple(sorted(names)), frozenset(statistics))


def _persistable(variable: WireMessage) -> str:
    """The name of a variable that is saved; empty if it is not."""
    name, kept, kind = "", False, -1
    for field in variable.fields():
        if field.number == 1:
            name = field.text()
        elif field.number == 2:
            kinds = [inner.value for inner in field.message().fields() if inner.number == 1]
            kind = kinds[-1] if kinds else -1
        elif field.number == 3:
            kept = bool(field.value)
    return name if kept and kind not in (9, 10, 17) else ""


def _statistics(operator: WireMessage) -> set[str]:
    """The running mean and variance that an operator of batch norm takes."""
    fields = list(operator.fields())
    kind = next((field.text() for field in fields if field.number == 3), "")
    if "batch_norm" not in kind:
        return set()
    found = set[str]()
    for field in fields:
        if field.number == 1:
            inner = list(field.message().fields())
            if any(one.number == 1 and one.text() in (_MEAN, _VARIANCE) for one in inner):
                found |= {one.text() for one in inner if one.number == 2}
    return found


def _of_json(stored: Stored) -> PaddleNames:
    if stored.size > _GRAPH:
        raise InputError(f"{stored.where}: {stored.size:,} bytes of JSON are more than a graph has")
    program = load_json(bytes(stored.read(0, stored.size)), stored.where)
    by_output: dict[Any, str] = {}
    statistics = set[str]()
    for operator in _operators(program):
        kind, attributes = operator.get("#"), operator.get("A")
        if kind == "p" and isinstance(attributes, list):
            name = next((one for one in attributes if isinstance(one, str)), "")
            by_output[_number(operator.get("O"))] = name
        elif isinstance(kind, str) and "batch_norm" in kind:
            inputs = operator.get("I")
            numbers = [_number(one) for one in inputs[1:3]] if isinstance(inputs, list) else []
            statistics |= {by_output[one] for one in numbers if one in by_output}
    return PaddleNames(tuple(sorted(set(by_output.values()) - {""})), frozenset(statistics))


def _number(value: Any) -> int:
    """The number of a value of the graph."""
    found = value.get("%") if isinstance(value, dict) else None
    return found if isinstance(found, int) else -1


def _operators(program: Any) -> Iterator[dict[str, Any]]:
    """All operators, inner ones too, in their order."""
    left = [program]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "#" in value:
                yield value
            left += reversed(list(value.values()))
        elif isinstance(value, list):
            left += reversed(value)
