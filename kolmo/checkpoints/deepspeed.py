"""Folders of DeepSpeed's ZeRO: ``mp_rank_00_model_states.pt``, and ``*_optim_states.pt`` per rank.

The model's weights in float32 lie in flat vectors, cut over the ranks, in the states of the
optimizers. Stages 1 and 2 cut the vector of all parameters of a group, stage 3 cuts each parameter.
``param_shapes`` says which parameters they are, in order. What is made of them here is what
DeepSpeed's own ``zero_to_fp32.py`` makes (https://deepspeed.readthedocs.io/en/latest/
model-checkpointing.html).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.containers import gather
from kolmo.checkpoints.folders import File, Folder
from kolmo.checkpoints.inert import LeftOut, Record
from kolmo.checkpoints.nests import total
from kolmo.checkpoints.pickled import read_torch
from kolmo.checkpoints.pieces import Box, assembled
from kolmo.checkpoints.rebuilding import sides
from kolmo.checkpoints.stored import Strided
from kolmo.errors import InputError

_STATES = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
_MODEL = re.compile(r"(?:zero_pp_rank_(\d+)_)?mp_rank_(\d+)_model_states\.pt")

Flat = Sequence[Strided]
"""Vectors that are one after the other."""


def open_zero(folder: Folder) -> Checkpoint:
    """The model's parameters in float32, of all ranks; its buffers; the rest is left out.

    Raises
    ------
    InputError
        If a rank is missing, the model is cut over several ranks of tensor parallelism too, or the
        states do not fit the parameters.
    """
    states, models = _files(folder, _STATES), _files(folder, _MODEL)
    model = _read(models[0])
    ranks = [_state(file, _read(file)) for file in states]
    try:
        _refuse_missing(folder, states, ranks[0])
        tensors = _parameters(folder, model, ranks)
        others, skipped = _others(folder, models[0], model, {tensor.name for tensor in tensors})
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder.where}: no sound states of DeepSpeed's ZeRO ({type(error).__name__})"
        ) from None
    moments = [
        Skipped(f"optimizer state ({file.name})", "state of the optimizer", count, Role.OPTIMIZER)
        for file, rank in zip(states, ranks, strict=True)
        if (count := total(rank.get("base_optimizer_state"), {}))
    ]
    return Checkpoint(
        [*tensors, *others],
        source=folder.where,
        format="torch",
        skipped=[*skipped, *moments],
        files=[path for file in (*models, *states) for path in file.files],
    )


def _files(folder: Folder, pattern: re.Pattern[str]) -> list[File]:
    """The files of all ranks in their order."""
    found = [(m, File(folder, m[0])) for n in folder.names() if (m := pattern.fullmatch(n))]
    cut = {match[2] for match, _ in found}
    if len(cut) > 1:
        raise InputError(
            f"{folder.where}: a checkpoint of DeepSpeed whose model is cut over {len(cut)} ranks "
            f"of tensor parallelism too, which is not read; run its zero_to_fp32.py, and give the "
            f"result"
        )
    return [file for match, file in sorted(found, key=lambda pair: int(pair[0][1] or 0))]


def _read(file: File) -> Mapping[Any, Any]:
    read = read_torch(file.stored)
    if read is None or not isinstance(read[0], dict):
        raise InputError(f"{file.where}: not a file of DeepSpeed's; it is damaged")
    return read[0]


def _state(file: File, contents: Mapping[Any, Any]) -> Mapping[Any, Any]:
    state = contents.get("optimizer_state_dict")
    if not isinstance(state, dict):
        raise InputError(f"{file.where}: there is no state of an optimizer of DeepSpeed's in it")
    return state


def _refuse_missing(folder: Folder, states: Sequence[File], state: Mapping[Any, Any]) -> None:
    count = state["partition_count"]
    count = max(count) if isinstance(count, list) else count
    ranks = [int(match[1]) for file in states if (match := _STATES.fullmatch(file.name))]
    missing = [rank for rank in range(min(count, 1 << 20)) if rank not in set(ranks)]
    if missing or len(ranks) != count:
        raise InputError(
            f"{folder.where}: {len(ranks)} of the {count:,} ranks of a checkpoint of DeepSpeed's "
            f"are there" + (f"; the states of rank {missing[0]} are missing" if missing else "")
        )


# --- parameters -----------------------------------------------------------------------------


def _parameters(
    folder: Folder, model: Mapping[Any, Any], ranks: Sequence[Mapping[Any, Any]]
) -> list[WeightTensor]:
    groups = model["param_shapes"]
    groups = [_shapes(group) for group in (groups if isinstance(groups, list) else [groups])]
    if "fp32_flat_groups" in ranks[0]:
        flats = [_vectors(rank["fp32_flat_groups"]) for rank in ranks]
        shapes = {name: shape for group in groups for name, shape in group.items()}
        return list(_cut_each(folder.where, shapes, flats))
    parts = [rank["single_partition_of_fp32_groups"] for rank in ranks]
    return [
        tensor
        for number, group in enumerate(groups)
        for tensor in _cut_whole(
            folder.where, group, [v for part in parts for v in _vectors(part[number])]
        )
    ]


def _shapes(group: Mapping[Any, Any]) -> dict[str, tuple[int, ...]]:
    found = {str(name): sides(tuple(shape)) for name, shape in group.items()}
    if any(isinstance(shape, LeftOut) for shape in found.values()):
        raise ValueError("no shape")
    return {name: shape for name, shape in found.items() if not isinstance(shape, LeftOut)}


def _vectors(value: Any) -> list[Strided]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(v, Strided) and len(v.shape) == 1 for v in found):
        raise ValueError("no flat vectors")
    return found


def _cut_whole(
    where: str, shapes: Mapping[str, tuple[int, ...]], parts: Flat
) -> Iterator[WeightTensor]:
    """Parameters that lie one after the other in a vector, which is cut over the ranks."""
    whole = _Vector(where, parts)
    at = 0
    for name, shape in shapes.items():
        numel = math.prod(shape)
        yield _shaped(name, shape, whole.dtype, whole.boxes(at, at + numel, 0), where)
        at += numel


def _cut_each(
    where: str, shapes: Mapping[str, tuple[int, ...]], flats: Sequence[Flat]
) -> Iterator[WeightTensor]:
    """Parameters that are each cut over the ranks, padded to equal parts."""
    ranks = [_Vector(where, flat) for flat in flats]
    at = 0
    for name, shape in shapes.items():
        numel = math.prod(shape)
        part = -(-numel // len(ranks))
        boxes = []
        for number, rank in enumerate(ranks):
            size = min(part, numel - number * part)
            boxes += rank.boxes(at, at + max(0, size), number * part)
        yield _shaped(name, shape, ranks[0].dtype, boxes, where)
        at += part


class _Vector:
    """Vectors, one after the other, of which ranges are wanted in rising order."""

    def __init__(self, where: str, parts: Flat) -> None:
        self.parts, self.dtype = parts, parts[0].dtype
        self.ends = np.cumsum([part.numel for part in parts])
        reach = [(p.end, p.storage.stored.size if p.storage.stored else 0) for p in parts]
        if any(end * self.dtype.itemsize > size for end, size in reach):
            raise InputError(f"{where}: the states of an optimizer are truncated")
        if any(part.dtype != self.dtype for part in parts):
            raise ValueError("vectors of several dtypes")

    def boxes(self, start: int, stop: int, place: int) -> list[Box]:
        """Entries [start, stop), as boxes of a vector in which they begin at a place."""
        found = []
        first = int(np.searchsorted(self.ends, start, "right"))
        for number in range(first, len(self.parts)):
            begin = int(self.ends[number]) - self.parts[number].numel
            low, high = max(start, begin), min(stop, int(self.ends[number]))
            if low >= high:
                break
            load = _shifted(self.parts[number].load, low - begin)
            found.append(Box((place + low - start,), (high - low,), load))
        return found


def _shifted(
    load: Callable[[int, int], NDArray[Any]], offset: int
) -> Callable[[int, int], NDArray[Any]]:
    return lambda start, stop: load(offset + start, offset + stop)


def _shaped(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], boxes: list[Box], where: str
) -> WeightTensor:
    flat = assembled(name, (math.prod(shape),), dtype, boxes, where)
    return dataclasses.replace(flat, shape=shape)


# --- what lies beside -----------------------------------------------------------------------


def _others(
    folder: Folder, file: File, model: Mapping[Any, Any], known: set[str]
) -> tuple[list[WeightTensor], list[Skipped]]:
    """Buffers and frozen parameters, which no optimizer has; and the copies of those it has."""
    module, buffers = model.get("module"), model.get("buffer_names")
    frozen = model.get("frozen_param_shapes")
    frozen = frozen if isinstance(frozen, dict) else {}
    found, skipped = gather(module if isinstance(module, (dict, Record)) else {}, "", file.where)
    shared, tensors = _shared(model.get("shared_params")), []
    skipped = [_alias(e, shared[e.name]) if e.name in shared else e for e in skipped]
    for tensor in found:
        if tensor.name in shared:
            skipped.append(_alias(tensor, shared[tensor.name]))
        elif tensor.name in known or not tensor.numel:
            reason = "a copy of the float32 weights, as the model computes with it"
            name = f"{tensor.name} ({file.name})"
            skipped.append(
                Skipped(name, reason, tensor.numel, Role.COPY, tensor, copy_of=tensor.name)
            )
        elif isinstance(buffers, list) and tensor.name in buffers:
            tensors.append(dataclasses.replace(tensor, role=Role.BUFFER))
        elif tensor.name in frozen and tensor.shape != tuple(frozen[tensor.name]):
            raise InputError(
                f"{folder.where}: the frozen parameter {tensor.name[:80]!r} is cut over the ranks, "
                f"which is not read; run its zero_to_fp32.py, and give the result"
            )
        else:
            tensors.append(tensor)
    return tensors, skipped


def _shared(value: Any) -> dict[str, str]:
    """The names of parameters that are others, by their own."""
    pairs = value.items() if isinstance(value, dict) else value if isinstance(value, list) else []
    return {str(alias): str(name) for alias, name in pairs}


def _alias(entry: WeightTensor | Skipped, name: str) -> Skipped:
    reason = f"tied to {name!r}, counted once"
    return Skipped(entry.name, reason, entry.numel, Role.COPY, copy_of=name)
