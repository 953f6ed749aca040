"""TensorFlow: checkpoints (``.index`` and ``.data``), and the folders of SavedModel.

The index is a sorted table from names to the dtype, shape and place of each tensor in the data
files (``tensor_bundle.proto``). Checkpoints of TensorFlow 2 also hold the graph of objects, which
tells the names of variables and which of them are the state of an optimizer.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File, Folder
from kolmo.checkpoints.narrow import of_parts
from kolmo.checkpoints.pieces import Box, assembled
from kolmo.checkpoints.protobuf import BYTES, MessageField, WireMessage
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.sstables import TableCursor, damaged, read_table
from kolmo.checkpoints.stored import Stored, memory_bytes, stored_tensor
from kolmo.dtypes import DTYPES, PARTS
from kolmo.errors import InputError

_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64",
    10: "bool", 11: "int8", 12: "uint8", 13: "int32", 14: "bfloat16", 15: "int16", 16: "uint16",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64", 24: "float8_e5m2",
    25: "float8_e4m3fn", 8: "complex64", 18: "complex128", 7: "text", 20: "a resource",
    21: "a variant",
}  # fmt: skip
"""By their numbers in ``types.proto``."""

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_ALL = "_all_variables/"
_SLOT = ".OPTIMIZER_SLOT"

# What the optimizers of TensorFlow 1 add to the name of a variable.
_SLOTS = re.compile(
    r"(Adam(W|WeightDecay\w*|ax|Optimizer\w*)?|adam_[mv]|LAMB\w*|Momentum|RMSProp|Adagrad|Adadelta|"
    r"Ftrl|lion_\w+|vr|vc|slot_v[rc]?)(_\d+)?"
)
_COUNTERS = re.compile(r"(beta[12]_power|(adam|optimizer)/\w+)(_\d+)?")

Entry = WeightTensor | Skipped


@dataclasses.dataclass(frozen=True)
class _Variable:
    """A tensor as the index has it; ``slices`` are the parts of one that was cut up."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    slices: tuple[tuple[tuple[int, int], ...], ...] = ()


def open_index(file: File) -> Checkpoint:
    """The variables of a checkpoint, by its ``.index``.

    Raises
    ------
    InputError
        If it is damaged, or its data files are missing.
    """
    bundle = _Bundle(file)
    entries = bundle.entries()
    if not entries:
        raise InputError(f"{file.where}: a TensorFlow checkpoint without any variable")
    return Checkpoint(
        [entry for entry in entries if isinstance(entry, WeightTensor)],
        source=file.where.removesuffix(".index"),
        format="tensorflow",
        skipped=[entry for entry in entries if isinstance(entry, Skipped)],
        files=[*file.files, *bundle.files],
    )


def open_data(file: File) -> Checkpoint:
    """The checkpoint that a data file belongs to."""
    return open_index(File(file.folder, re.sub(r"\.data-\d+-of-\d+$", ".index", file.name)))


def open_checkpoints(folder: Folder) -> Checkpoint:
    """The latest of the checkpoints in a folder.

    Raises
    ------
    InputError
        If there are several and no file says which is the latest.
    """
    found = [name for name in folder.names() if name.endswith(".index") and "/" not in name]
    note = File(folder, "checkpoint")
    if note.exists and len(found) > 1:
        text = note.head(1 << 16).decode("utf-8", "replace")
        latest = re.search(r'^model_checkpoint_path: "([^"\n]*)"', text)
        found = [n for n in found if latest and n == f"{latest[1].rpartition('/')[2]}.index"]
    if len(found) != 1:
        raise InputError(
            f"{folder.where}: holds several TensorFlow checkpoints; name the .index file of one"
        )
    return open_index(File(folder, found[0]))


def open_saved_model(folder: Folder) -> Checkpoint:
    """The variables of a SavedModel.

    Raises
    ------
    InputError
        If it has none: a frozen graph, whose weights are constants of a program.
    """
    index = File(folder, "variables/variables.index")
    if not index.exists:
        raise InputError(
            f"{folder.where}: a SavedModel without variables (a frozen graph), whose weights are "
            f"constants of a program, which is not read; save its variables as a checkpoint"
        )
    opened = open_index(index)
    opened.source = folder.where
    return opened


class _Bundle:
    """An index and the data files beside it."""

    def __init__(self, file: File) -> None:
        self._file, self.where = file, file.where
        table = read_table(file.stored)
        header = _numbers(memory_bytes(table.pop(b"", b""), self.where))
        self._shards, self._big = header.get(1, 1), header.get(2, 0) == 1
        self._slices = {key: value for key, value in table.items() if key[:1] == b"\0"}
        names = {key: value for key, value in table.items() if key not in self._slices}
        self._variables = {
            key.decode("utf-8", "replace"): self._variable(value) for key, value in names.items()
        }
        self._stored: dict[int, Stored] = {}

    @property
    def files(self) -> list[str]:
        """The local data files."""
        return [path for shard in self._stored for path in self._shard(shard).files]

    def entries(self) -> list[Entry]:
        """All tensors, under the names that people know."""
        said = self._objects()
        keys = [key for key in self._variables if key != _GRAPH]
        roles = {key: _role(key, self._variables) for key in keys}
        roles |= dict.fromkeys(_listed_again(keys, said), Role.COPY)
        names = _names([key for key in keys if roles[key] is None], said)
        return [self._entry(key, names.get(key, _cleaned(key)), roles[key]) for key in keys]

    def _entry(self, key: str, name: str, role: Role | None) -> Entry:
        variable = self._variables[key]
        dtype_name = _DTYPES.get(variable.dtype, f"of TensorFlow's number {variable.dtype}")
        dtype = np.dtype(dtype_name) if dtype_name in PARTS else DTYPES.get(dtype_name)
        if dtype is None:
            return Skipped(name, f"dtype {dtype_name} is not supported")
        dtype = dtype.newbyteorder(">" if self._big else "<")
        if variable.slices:
            made = self._assembled(key, name, variable, dtype)
        else:
            made = stored_tensor(self._values(variable), name, variable.shape, dtype)
        made = of_parts(made, PARTS[dtype_name]) if dtype_name in PARTS else made
        return dataclasses.replace(made, role=role)

    def _assembled(
        self, key: str, name: str, variable: _Variable, dtype: np.dtype[np.generic]
    ) -> WeightTensor:
        """A variable that was cut into slices, each a tensor of its own."""
        boxes = []
        for extents in variable.slices:
            kept = self._slices.get(_slice_key(key, extents))
            if kept is None:
                raise damaged(self.where)
            sides = [n if size < 0 else size
                     for (_, size), n in zip(extents, variable.shape, strict=True)]  # fmt: skip
            part = self._variable(kept)
            tensor = stored_tensor(self._values(part), name, tuple(sides), dtype)
            boxes.append(Box(tuple(start for start, _ in extents), tuple(sides), tensor.load))
        return assembled(name, variable.shape, dtype.newbyteorder("="), boxes, self.where)

    def _values(self, variable: _Variable) -> Stored:
        if variable.shard not in self._stored:
            self._stored[variable.shard] = self._shard(variable.shard).stored
        return self._stored[variable.shard].part(variable.offset, variable.size)

    def _shard(self, number: int) -> File:
        prefix = self._file.name.removesuffix(".index")
        file = File(self._file.folder, f"{prefix}.data-{number:05}-of-{self._shards:05}")
        if not file.exists:
            raise InputError(
                f"{self.where}: its data file {file.name!r} is missing; download it too"
            )
        return file

    def _variable(self, data: bytes) -> _Variable:
        numbers: dict[int, int] = {}
        shape: tuple[int, ...] = ()
        slices = []
        for field in WireMessage.of(memory_bytes(data, self.where)).fields():
            if field.number == 2 and field.wire == BYTES:
                shape = tuple(_numbers_of(dim).get(1, 0) for dim in _inner(field, 2))
            elif field.number == 7 and field.wire == BYTES:
                extents = [_numbers_of(extent) for extent in _inner(field, 1)]
                slices.append(tuple((e.get(1, 0), e.get(2, -1)) for e in extents))
            elif field.wire != BYTES:
                numbers[field.number] = field.signed
        shard, offset, size = (numbers.get(n, 0) for n in (3, 4, 5))
        found = _Variable(numbers.get(1, 0), shape, shard, offset, size, tuple(slices))
        small = all(0 <= side < 1 << 62 for side in shape) and len(shape) <= AXES
        whole = all(len(extents) == len(shape) for extents in slices)
        if not small or not whole or min(found.shard, found.offset, found.size) < 0:
            raise damaged(self.where)
        return found

    def _objects(self) -> dict[str, str]:
        """The names of variables by their keys, as the graph of objects has them."""
        graph = self._variables.get(_GRAPH)
        if graph is None or graph.slices:
            return {}
        values = self._values(graph)
        length, begin = _varint(values)
        found: dict[str, str] = {}
        for node in WireMessage.of(values.part(begin + 4, length)).fields():
            for attribute in _inner(node, 2) if node.number == 1 else ():
                texts = {f.number: f.text() for f in attribute.message().fields()
                         if f.number in (2, 3) and f.wire == BYTES}  # fmt: skip
                found[texts.get(3, "")] = texts.get(2, "")
        return found


def _inner(field: MessageField, number: int) -> Iterator[MessageField]:
    """The messages of a number within a message."""
    return (f for f in field.message().fields() if f.number == number and f.wire == BYTES)


def _numbers_of(field: MessageField) -> dict[int, int]:
    return {f.number: f.signed for f in field.message().fields() if f.wire != BYTES}


def _numbers(stored: Stored) -> dict[int, int]:
    return {f.number: f.signed for f in WireMessage.of(stored).fields() if f.wire != BYTES}


def _varint(values: Stored) -> tuple[int, int]:
    cursor = TableCursor(bytes(values.read(0, min(10, values.size))), values.where)
    return cursor.varint(), cursor.at


# --- names and roles -----------------------------------------------------------------------------


def _cleaned(key: str) -> str:
    return key.removesuffix(_VALUE)


def _names(keys: list[str], said: Mapping[str, str]) -> dict[str, str]:
    """The variables' own names where all have one, as those of Keras do; else their keys."""
    names = {key: said.get(key, "") for key in keys}
    named = {key: name for key, name in names.items() if name != "save_counter"}
    times = Counter(named.values())
    is_known = all("/" in name and times[name] == 1 for name in named.values())
    return names if named and is_known else {}


def _listed_again(keys: list[str], said: Mapping[str, str]) -> list[str]:
    """The variables of a model that Keras exports, which are listed twice."""
    once = {said.get(key) for key in keys if not key.startswith(_ALL)}
    return [key for key in keys if key.startswith(_ALL) and said.get(key) in once]


def _role(key: str, variables: Mapping[str, _Variable]) -> Role | None:
    """The role that TensorFlow's own names tell."""
    parts = _cleaned(key).split("/")
    if parts[-1] in ("save_counter", "global_step") or "keras_api" in parts:
        return Role.BUFFER
    if any(part in (_SLOT, "_optimizer", "optimizer") for part in parts[:-1]):
        # Keras's optimizers list the model's own variables too.
        return None if "_trainable_variables" in parts else Role.OPTIMIZER
    base, _, last = key.rpartition("/")
    if base in variables and _SLOTS.fullmatch(last):
        return Role.OPTIMIZER
    return Role.OPTIMIZER if _COUNTERS.fullmatch(key) else None


# --- keys of slices -------------------------------------------------------------------------


def _slice_key(name: str, extents: tuple[tuple[int, int], ...]) -> bytes:
    """The key of a slice, in an encoding whose order is that of the values."""
    numbers = b"".join(_signed(start) + _signed(size) for start, size in extents)
    return _unsigned(0) + name.encode() + b"\0\1" + _unsigned(len(extents)) + numbers


def _unsigned(value: int) -> bytes:
    """How many bytes a number has, and these.

    >>> _unsigned(0), _unsigned(300)
    (b'\\x00', b'\\x02\\x01,')
    """
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def _signed(value: int) -> bytes:
    """A number in as many bytes as its first byte has ones at its start.

    >>> _signed(0), _signed(-1), _signed(63), _signed(64)
    (b'\\x80', b'\\x7f', b'\\xbf', b'\\xc0@')
    """
    size = (value if value >= 0 else ~value).bit_length() // 7 + 1
    mark = ((1 << size) - 1) << (7 * size)
    return ((value & ((1 << 8 * size) - 1)) ^ mark).to_bytes(size, "big")
