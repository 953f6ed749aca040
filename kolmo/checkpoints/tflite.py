"""TensorFlow Lite: the weights of a ``.tflite`` file, read from its flatbuffer.

Constants are tensors whose buffer has bytes: within the flatbuffer, or behind it in models of more
than 2 GB. Quantized ones have scales for the tensor, for slices of an axis or for blocks; pruned
ones may be stored sparse
(https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np

from kolmo.checkpoints.base import Checkpoint, Codes, Role, Skipped, WeightTensor
from kolmo.checkpoints.bits import packed_size
from kolmo.checkpoints.flatbuffers import FlatTable
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.raw import raw_tensor
from kolmo.checkpoints.scaled import ScaleBlocks, scaled
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored
from kolmo.checkpoints.tflite_operators import role_of_uses
from kolmo.checkpoints.tflite_sparse import dense_tensor
from kolmo.checkpoints.unique import unique_names
from kolmo.dtypes import bits_of
from kolmo.errors import InputError
from kolmo.floats import is_float
from kolmo.symbols import Alphabet

DTYPES: dict[int, Any] = {
    0: np.float32,
    1: np.float16,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    6: np.bool_,
    7: np.int16,
    8: np.complex64,
    9: np.int8,
    10: np.float64,
    11: np.complex128,
    12: np.uint64,
    15: np.uint32,
    16: np.uint16,
    17: ml_dtypes.int4,
    18: ml_dtypes.bfloat16,
    19: ml_dtypes.int2,
    20: ml_dtypes.uint4,
    21: ml_dtypes.float8_e4m3fn,
    22: ml_dtypes.float8_e5m2,
}
"""The dtypes of the format by their numbers; the others are text and handles."""


def open_tflite(file: File) -> Checkpoint:
    """The constant tensors of a model, unread.

    Raises
    ------
    InputError
        If it is damaged, or has no constants.
    """
    model = FlatTable.root(file.stored)
    buffers = [_buffer(table, file.stored) for table in model.tables(4)]
    codes = [max(table.integer(0, 1), table.integer(3)) for table in model.tables(1)]
    graphs = model.tables(2)
    found: list[WeightTensor | Skipped] = []
    for number, table in enumerate(graphs):
        prefix = f"{table.text(4) or f'subgraph {number}'}/" if number else ""
        found += _Subgraph(table, buffers, codes, prefix, file.where).found()
    if not found:
        raise InputError(f"{file.where}: a TensorFlow Lite model without constants: no weights")
    named = unique_names(found)
    return Checkpoint(
        [one for one in named if isinstance(one, WeightTensor)],
        source=file.where,
        format="tflite",
        skipped=[one for one in named if isinstance(one, Skipped)],
        files=file.files,
    )


def _buffer(table: FlatTable, stored: Stored) -> Stored:
    """The bytes of a buffer, in the flatbuffer or behind it."""
    offset, size = table.integer(1, 8, signed=False), table.integer(2, 8, signed=False)
    return stored.part(offset, size) if offset > 1 else table.bytes(0)


class _Subgraph:
    """The tensors of a subgraph, and the operators that use each."""

    def __init__(
        self, table: FlatTable, buffers: list[Stored], codes: list[int], prefix: str, where: str
    ) -> None:
        self._tensors, self._buffers = table.tables(0), buffers
        self._prefix, self._where = prefix, where
        self._uses: dict[int, set[tuple[int, int]]] = {}
        passed: dict[int, int] = {}
        for operator in table.tables(3):
            index = operator.integer(0, signed=False)
            code = codes[index] if index < len(codes) else -1
            inputs = [passed.get(i, i) for i in operator.numbers(1, np.int32).tolist()]
            passes = code in _PASSING and bool(inputs)
            if passes:
                passed.update(dict.fromkeys(operator.numbers(2, np.int32).tolist(), inputs[0]))
            for place, tensor in enumerate(inputs):
                if not (passes and place == 0):
                    self._uses.setdefault(tensor, set()).add((code, place))

    def found(self) -> list[WeightTensor | Skipped]:
        """The constants among the tensors."""
        self._scales = set[int]()
        made = [self._tensor(number, table) for number, table in enumerate(self._tensors)]
        return [
            dataclasses.replace(one, role=Role.BOOKKEEPING) if number in self._scales else one
            for number, one in enumerate(made)
            if one is not None
        ]

    def _stored(self, table: FlatTable) -> Stored | None:
        number = table.integer(2, signed=False)
        if number >= len(self._buffers):
            raise InputError(f"{self._where}: a tensor of a buffer that is not there; damaged")
        return self._buffers[number] if self._buffers[number].size else None

    def _tensor(self, number: int, table: FlatTable) -> WeightTensor | Skipped | None:
        stored = self._stored(table)
        if stored is None:
            return None
        name = self._prefix + (table.text(3) or f"tensor {number}")
        where = f"{self._where}: tensor {name!r}"
        shape = tuple(table.numbers(0, np.int32).tolist())
        if len(shape) > AXES or min(shape, default=0) < 0 or math.prod(n or 1 for n in shape) >> 59:
            raise InputError(f"{where} has a shape that is none; the file is damaged")
        kind = table.integer(1, 1)
        if kind not in DTYPES:
            return Skipped(name, "text" if kind == 5 else "no numbers", math.prod(shape))
        dtype = np.dtype(DTYPES[kind])
        sparsity = table.table(6)
        if sparsity is not None:
            plain = dense_tensor(sparsity, name, shape, dtype, stored, where)
        else:
            _check_size(stored, shape, dtype, where)
            plain = raw_tensor(name, shape, dtype, stored)
        if isinstance(plain, Skipped):
            return plain
        return self._with_role(number, self._logical(table, plain, where))

    def _with_role(self, number: int, tensor: WeightTensor) -> WeightTensor:
        role = role_of_uses(self._uses.get(number, set()), tensor.numel)
        if role is Role.WEIGHT and tensor.codes is None and not is_float(tensor.dtype):
            role = Role.OTHER
        return dataclasses.replace(tensor, role=role or (Role.WEIGHT if tensor.codes else None))

    def _logical(self, table: FlatTable, plain: WeightTensor, where: str) -> WeightTensor:
        """The tensor that codes stand for; the same tensor if it is not quantized."""
        told = table.table(4)
        if told is None or "int" not in plain.dtype.name:
            return plain
        if told.integer(4, 1) == 2 and (details := told.table(5)):
            return self._blockwise(details, plain, where)
        scales = told.numbers(2, np.float32)
        zeros = told.numbers(3, np.int64)
        if not scales.size:
            return plain
        axis = told.integer(6)
        if scales.size > 1 and not 0 <= axis < len(plain.shape):
            raise InputError(f"{where} is quantized along axis {axis}, which it has not")
        whole = scales.size == 1
        blocks = (
            ScaleBlocks.whole(plain.shape) if whole else ScaleBlocks.channels(plain.shape, axis)
        )
        if scales.size != blocks.count or zeros.size not in (0, 1, scales.size):
            raise InputError(f"{where} has {scales.size:,} scales for {blocks.count:,} slices")
        zeros = np.broadcast_to(zeros if zeros.size else np.int64(0), scales.shape)
        side = scales.size * 32 + told.numbers(3, np.int64).size * 64
        load = scaled(
            plain.load, lambda a, b: scales[a:b], lambda a, b: zeros[a:b], blocks, exact=True
        )
        return _coded(plain, "TFLite", load, side)

    def _blockwise(self, details: FlatTable, plain: WeightTensor, where: str) -> WeightTensor:
        """Blocks along the last axis; scales and zero points are tensors of the model."""
        scales = self._beside(details.integer(0), where)
        zeros = self._beside(details.integer(1, default=-1), where)
        size = details.integer(2)
        if scales is None or not plain.shape or size < 1:
            raise InputError(f"{where} is quantized in blocks of {size}, without scales")
        blocks = ScaleBlocks.runs(plain.shape, len(plain.shape) - 1, size)
        if scales.numel != blocks.count or (zeros and zeros.numel != blocks.count):
            raise InputError(f"{where} has {scales.numel:,} scales for {blocks.count:,} blocks")
        side = sum(bits_of(one.dtype) * one.numel for one in (scales, zeros) if one)
        load = scaled(plain.load, scales.load, zeros.load if zeros else 0, blocks)
        return _coded(plain, "TFLite", load, side)

    def _beside(self, number: int, where: str) -> WeightTensor | None:
        """A tensor of numbers that another names; None if there is none."""
        if not 0 <= number < len(self._tensors):
            return None
        table = self._tensors[number]
        stored, dtype = self._stored(table), DTYPES.get(table.integer(1, 1))
        if stored is None or dtype is None:
            return None
        shape = tuple(table.numbers(0, np.int32).tolist())
        _check_size(stored, shape, np.dtype(dtype), where)
        self._scales.add(number)
        return raw_tensor("", shape, np.dtype(dtype), stored)


_PASSING = (6, 114, 22, 39, 53, 124)
"""DEQUANTIZE, QUANTIZE, RESHAPE, TRANSPOSE, CAST, DENSIFY: what goes in counts by what takes it."""


def _check_size(stored: Stored, shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    wanted = packed_size(math.prod(shape), bits_of(dtype))
    if stored.size != wanted or min(shape, default=0) < 0:
        raise InputError(f"{where} takes {wanted:,} bytes, and has {stored.size:,}; damaged")


def _coded(plain: WeightTensor, scheme: str, load: Any, side: int) -> WeightTensor:
    width = plain.dtype.itemsize
    alphabet = Alphabet(1 << bits_of(plain.dtype))

    def codes(start: int, stop: int) -> Any:
        return plain.load(start, stop).view(f"u{width}") & (alphabet.size - 1)

    told = Codes(scheme, alphabet, codes, side, (plain,))
    return WeightTensor(plain.name, plain.shape, np.dtype(np.float32), load, told)
