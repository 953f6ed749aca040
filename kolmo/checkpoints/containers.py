"""From a nest of mappings to named tensors: state dicts, training checkpoints, dicts of arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kolmo.checkpoints.averages import averages_of, says_average, says_judge
from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor, array_tensor
from kolmo.checkpoints.foreign import foreign_tensor, is_foreign
from kolmo.checkpoints.inert import CodedArray, Global, LeftOut, Ndarray, Record
from kolmo.checkpoints.narrow import of_parts
from kolmo.checkpoints.nests import (
    Again,
    Marked,
    Others,
    Seen,
    TooDeepError,
    is_array,
    is_torch,
    mapping_of,
    walk,
)
from kolmo.checkpoints.networks import NestPart, network_names, parts_of
from kolmo.checkpoints.stored import Stored, Strided
from kolmo.checkpoints.torch_tensors import META, torch_tensor
from kolmo.dtypes import DTYPES, PARTS
from kolmo.errors import InputError

_FREE = 1 << 22  # entries that a view may have however few numbers it shows
_EXPANSION = 1 << 10  # and times the numbers that it shows, beyond that

_REASONS = {
    Role.OPTIMIZER: "the state of an optimizer",
    Role.OTHER: "beside the model's weights",
}

Found = tuple[list[WeightTensor], list[Skipped]]


def make_checkpoint(
    contents: Any, *, source: str, format: str, what: str = "", files: Iterable[str] = ()
) -> Checkpoint:
    """The tensors of the networks in a container, and every other entry with its role.

    A mapping that holds tensors is a state dict; mappings within it add their key to the names, as
    in ``encoder.weight``. Keys that only say that a model comes, such as ``state_dict``, do not.
    Two tensors of one name are told apart by a number. ``what`` says what sort of file it is.

    Raises
    ------
    InputError
        If there is no tensor anywhere, or one that is damaged.
    """
    found = _Collected(source)
    try:
        parts = parts_of(contents)
        found.collect(parts)
    except TooDeepError as error:
        raise InputError(f"{source}: {error}") from None
    if not found.tensors and not any(entry.tensor for entry in found.skipped):
        raise InputError(_without_tensors(contents, source, what, found.skipped))
    return Checkpoint(
        found.tensors,
        source=source,
        format=format,
        skipped=found.skipped,
        files=files,
        networks=found.networks,
    )


def gather(contents: Any, prefix: str, source: str) -> Found:
    """Every tensor in a container, and every other entry with the reason why not."""
    found = _Collected(source)
    found.add(NestPart((prefix,), contents), prefix)
    return found.tensors, found.skipped


class _Collected:
    """Tensors and what is none, of all parts of a nest."""

    def __init__(self, source: str, seen: Seen | None = None) -> None:
        self.tensors: list[WeightTensor] = []
        self.skipped: list[Skipped] = []
        self.networks: tuple[str, ...] = ()
        self._source = source
        self._names: dict[str, int] = {}
        self._seen: Seen = {} if seen is None else seen

    def collect(self, parts: Sequence[NestPart]) -> None:
        """Every part, networks under names that tell them apart."""
        networks = [(part, self._alone(part)) for part in parts if part.role is Role.WEIGHT]
        beside = [part for part in parts if part.role is not Role.WEIGHT]
        perhaps = [(part, _network(part, self._source)) for part in beside if _may_be_average(part)]
        averages = _averages([*networks, *perhaps])
        kept = [network for network in networks if network[0] not in averages]
        names = network_names([part for part, _ in kept])
        if len(kept) > 1:
            self.networks = tuple(names.values())
        for part, found in kept:
            self._take(found, names[part])
        for part, found in (*networks, *perhaps):
            if part in averages:
                original, copies = averages[part]
                self._leave_out(found, part.name, names[original], copies)
        for part in beside:
            if part not in averages:
                self.add(part, part.name)

    def _take(self, found: _Collected, prefix: str) -> None:
        """A network, under names that begin with its own."""
        for tensor in found.tensors:
            named = dataclasses.replace(tensor, name=_joined(prefix, tensor.name))
            self.tensors.append(_told_apart(named, self._names))
        self._take_skipped(found, prefix)

    def _take_skipped(self, found: _Collected, prefix: str) -> None:
        for entry in found.skipped:
            tensor, name = entry.tensor, _joined(prefix, entry.name)
            if tensor is not None:
                tensor = _told_apart(dataclasses.replace(tensor, name=name), self._names)
                name = tensor.name
            self.skipped.append(dataclasses.replace(entry, name=name, tensor=tensor))

    def _leave_out(
        self, found: _Collected, prefix: str, original: str, copies: Mapping[str, str]
    ) -> None:
        """Averaged weights, which are copies of a network's."""
        for tensor in found.tensors:
            name = _joined(prefix, tensor.name)
            named = _told_apart(dataclasses.replace(tensor, name=name), self._names)
            if tensor.name in copies:
                of = _joined(original, copies[tensor.name])
                why, role = f"the average of {of!r}", Role.COPY
            else:
                of, why, role = "", "beside averaged weights", Role.BUFFER
            self.skipped.append(Skipped(named.name, why, tensor.numel, role, named, of))
        self._take_skipped(found, prefix)

    def _alone(self, part: NestPart) -> _Collected:
        found = _Collected(self._source, self._seen)
        found.add(part, "")
        return found

    def add(self, part: NestPart, prefix: str) -> None:
        """Every entry of a part; all that are no arrays and lie beside networks as one."""
        others: list[Any] = []
        for name, found in walk(part.value, prefix, self._seen):
            mark = found if isinstance(found, Marked) else Marked(part.role, found)
            if part.role is not Role.WEIGHT and mark.role is Role.WEIGHT:
                mark = dataclasses.replace(mark, role=part.role)
            if is_array(mark.value):
                self._add(name or "tensor", mark, is_told=mark is found)
            elif mark.role is Role.WEIGHT:
                self.skipped.append(Skipped(name, _no_tensor(mark.value)))
            else:
                others.append(mark.value)
        if others:
            reason = _no_tensor(others[0] if len(others) == 1 else Others(len(others)))
            role = Role.OPTIMIZER if part.role is Role.OPTIMIZER else Role.OTHER
            self.skipped.append(Skipped(prefix or "other entries", reason, role=role))

    def _add(self, name: str, mark: Marked, is_told: bool) -> None:
        """An array; ``is_told`` says that the object that holds it tells its role."""
        made = _made(name, mark.value, self._source)
        if isinstance(made, Skipped):
            self.skipped.append(dataclasses.replace(made, role=mark.role))
            return
        made = _told_apart(made, self._names)
        if mark.role is Role.WEIGHT or (mark.role is Role.BUFFER and not mark.reason):
            told = mark.role if is_told else None
            self.tensors.append(dataclasses.replace(made, role=told))
            return
        reason = mark.reason or _REASONS[mark.role]
        self.skipped.append(Skipped(made.name, reason, made.numel, mark.role, made))


Network = tuple[NestPart, _Collected]


def _may_be_average(part: NestPart) -> bool:
    return part.role is Role.OTHER and says_average(part.name)


def _network(part: NestPart, source: str) -> _Collected:
    """A part as if it were a network."""
    found = _Collected(source)
    found.add(NestPart(part.path, part.value), "")
    return found


def _averages(networks: Sequence[Network]) -> dict[NestPart, tuple[NestPart, dict[str, str]]]:
    """Networks that are averages of another, with that one and the original of each tensor."""
    if any(says_judge(part.name) for part, _ in networks):
        return {}
    others = [network for network in networks if not says_average(network[0].name)]
    copies = {}
    for part, found in networks:
        for original, of in others if says_average(part.name) else ():
            if pairs := averages_of(found.tensors, of.tensors):
                copies[part] = original, pairs
                break
    return copies


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


def make_tensor(name: str, value: Any) -> WeightTensor | Skipped:
    """A lazy tensor over an array, a torch tensor or a number; Skipped with the reason if not."""
    return _made(name, value, "the array")


def _made(name: str, value: Any, source: str) -> WeightTensor | Skipped:
    if isinstance(value, Ndarray):
        value = value.content
    if is_torch(value):
        return torch_tensor(name, value)
    if is_foreign(value):
        made = foreign_tensor(name, value)
        why = f"dtype {dtype_name(made.dtype)} is not supported"
        return made if is_supported(made.dtype) else Skipped(name, why, made.numel)
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.name in PARTS:
            return of_parts(array_tensor(name, array), PARTS[array.dtype.name])
        if not is_supported(array.dtype):
            return Skipped(name, f"dtype {dtype_name(array.dtype)} is not supported", array.size)
        return array_tensor(name, array)
    if isinstance(value, Strided):
        return _strided_tensor(name, value, source)
    if isinstance(value, CodedArray):
        stored = _strided_tensor(name, value.array, source)
        return stored if isinstance(stored, Skipped) else value.tensor(stored)
    if isinstance(value, LeftOut):
        return Skipped(name, value.reason, value.numel)
    return Skipped(name, _no_tensor(value))


def dtype_name(dtype: np.dtype[Any]) -> str:
    """A dtype for people: a structured one may list thousands of fields."""
    if dtype.names:
        return f"of structures ({dtype.itemsize:,} bytes each)"
    if dtype.kind == "V" and dtype.name.startswith("void"):
        return f"{dtype.str} (as files of numpy name any dtype that numpy lacks)"
    return str(dtype)[:60]


def _no_tensor(value: Any) -> str:
    if isinstance(value, Again):
        return (
            f"the same object as {value.name!r}, counted there"
            if value.name
            else "the whole itself"
        )
    if isinstance(value, Others):
        return f"{value.count:,} entries that are no tensors"
    if isinstance(value, Record) and value.called:
        return f"not a tensor but a call of {value.name[:200]!r}, which was not made"
    if isinstance(value, Record):
        return f"not a tensor but an object of class {value.name[:200]!r}"
    if isinstance(value, Global):
        return f"not a tensor but the name {value.name[:200]!r}"
    return f"not a tensor but {'bytes' if isinstance(value, Stored) else type(value).__name__}"


def _strided_tensor(name: str, array: Strided, source: str) -> WeightTensor | Skipped:
    """A tensor that lies within what a file stores, and is no few numbers spread out."""
    if array.dtype.name in PARTS:
        return _placed_tensor(name, array.in_parts(), source)
    if not is_supported(array.dtype):
        return Skipped(name, f"dtype {array.dtype} is not supported", array.numel)
    return _placed_tensor(name, array, source)


def _placed_tensor(name: str, array: Strided, source: str) -> WeightTensor | Skipped:
    stored = array.storage.stored
    there = stored.size // array.dtype.itemsize if stored else 0
    if array.end > there:
        raise InputError(
            f"{source}: tensor {name!r} reaches to entry {array.end:,} of a storage of {there:,}; "
            f"the file is damaged"
        )
    shown = min(array.numel, array.end - array.offset)
    if array.numel > max(_FREE, _EXPANSION * shown):
        return Skipped(name, f"an expanded view of {shown:,} numbers", array.numel)
    return WeightTensor(name, array.shape, array.dtype, array.loader, place=array.place)


def _told_apart(tensor: WeightTensor, names: dict[str, int]) -> WeightTensor:
    """The tensor under a name of its own, where another has its name."""
    name = tensor.name
    while name in names:
        names[tensor.name] += 1
        name = f"{tensor.name} ({names[tensor.name]})"
    names[name] = 1
    return tensor if name == tensor.name else dataclasses.replace(tensor, name=name)


def _without_tensors(contents: Any, source: str, what: str, skipped: list[Skipped]) -> str:
    """Why there is nothing to measure: what a file is, what it holds, what of it was left out."""
    maps = mapping_of(contents)
    held = ", ".join(repr(str(key)[:60]) for key in list(maps)[:8]) if maps else ""
    odd = [entry for entry in skipped if entry.numel]
    if odd and all(entry.reason == META for entry in odd):
        return (
            f"{source}: its tensors are on the device meta, where they have shapes and no values: "
            f"load the weights first (from_pretrained outside init_empty_weights, or "
            f"load_state_dict with assign=True)"
        )
    if not what:
        return f"{source}: there is no tensor in it" + (f"; it holds {held}" if held else "")
    if odd:
        left = f"{odd[0].name[:60]!r}: {odd[0].reason}"
        more = f", and {len(odd) - 1:,} more" if len(odd) > 1 else ""
        return f"{source}: {what} with no arrays in it that can be measured ({left}{more})"
    if isinstance(contents, Record):
        held = f"{_no_tensor(contents).removeprefix('not a tensor but ')}"
    elif not held:
        held = "nothing" if isinstance(contents, (list, tuple, Mapping)) else _kind(contents)
    return f"{source}: {what} with no arrays in it; it holds: {held}"


def _kind(value: Any) -> str:
    return _no_tensor(value).removeprefix("not a tensor but ")


def is_supported(dtype: np.dtype[Any]) -> bool:
    """Whether weights may have this dtype: floats of 8 to 64 bits, integers, booleans."""
    return dtype.newbyteorder("=") in DTYPES.values()
