"""GGUF, the format of llama.cpp: one file, or parts of one model that lie together.

A file has a header (`gguf_header`) and the bytes of its tensors, numbers or blocks of codes
(`ggml_types`). Opening reads the header alone. A model may be cut into parts, which are called
``NAME-00001-of-00003.gguf``; each knows its number and how many there are, and opening one of them
opens all.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.ggml_cursor import damaged
from kolmo.checkpoints.ggml_types import Order, ggml_tensor, stored_size
from kolmo.checkpoints.gguf_header import GGUFHeader, TensorInfo, read_header
from kolmo.checkpoints.gguf_order import bytes_are_big
from kolmo.errors import InputError

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


def open_gguf(file: File) -> Checkpoint:
    """The tensors of a GGUF file, in the order of its header; of all parts, if it is one of them.

    Raises
    ------
    InputError
        If it is damaged or truncated, holds no tensor, or is a part whose other parts are not
        beside it.
    """
    parts = _parts(file)
    found = [made for part, header in parts for made in _tensors(part, header)]
    if not found:
        raise InputError(f"{file.where}: a GGUF file of metadata alone, without any tensor")
    tensors = [made for made in found if isinstance(made, WeightTensor)]
    if len({made.name for made in found}) < len(found):
        raise damaged(file.stored, "two of its parts have a tensor of one name")
    return Checkpoint(
        tensors,
        source=file.where,
        format="gguf",
        skipped=[made for made in found if isinstance(made, Skipped)],
        files=[path for part, _ in parts for path in part.files],
    )


# --- parts ------------------------------------------------------------------------------------


def _parts(file: File) -> list[tuple[File, GGUFHeader]]:
    """All parts of the model, in order; the file alone if it is whole."""
    header = read_header(file.stored)
    number, count = _place(file, header)
    if count == 1:
        return [(file, header)]
    if not 0 <= number < count:
        raise damaged(file.stored, f"it claims to be part {number} of parts 0 to {count - 1}")
    parts = []
    for other in range(count):
        beside = file if other == number else _part(file, number, other, count)
        read = header if other == number else read_header(beside.stored)
        if _place(beside, read) != (other, count):
            raise InputError(f"{beside.where}: not part {other + 1} of {count} as its name says")
        parts.append((beside, read))
    _check_total(file, [read for _, read in parts])
    return parts


def _place(file: File, header: GGUFHeader) -> tuple[int, int]:
    """The number of a part, from 0 on, and how many there are, by the metadata or by the name."""
    number, count = header.metadata.get("split.no", 0), header.metadata.get("split.count", 0)
    if not isinstance(number, int) or not isinstance(count, int):
        raise damaged(file.stored, "its number as a part, or their count, is no integer")
    name = _PART.fullmatch(file.name)
    if not count and name:
        return int(name[2]) - 1, int(name[3])
    return number, max(1, count)


def _part(file: File, number: int, other: int, count: int) -> File:
    what = f"{file.where}: this is part {number + 1} of {count} of a model"
    name = _PART.fullmatch(file.name)
    if not name:
        raise InputError(
            f"{what}, but not called NAME-{number + 1:05}-of-{count:05}.gguf, so that the others "
            f"are not found; give the parts their names back"
        )
    found = File(file.folder, f"{name[1]}-{other + 1:05}-of-{count:05}.gguf")
    if not found.exists:
        raise InputError(f"{what}, and {found.name} is not beside it; put all parts there")
    return found


def _check_total(file: File, headers: list[GGUFHeader]) -> None:
    found = sum(len(header.entries) for header in headers)
    claimed = headers[0].metadata.get("split.tensors.count", found)
    if claimed != found:
        raise InputError(
            f"{file.where}: the parts of this model have {found:,} tensors, and should have "
            f"{claimed!r}; they are not all of one model"
        )


# --- tensors ----------------------------------------------------------------------------------


def _tensors(file: File, header: GGUFHeader) -> Iterable[WeightTensor | Skipped]:
    """The tensors of a part, whose bytes are checked to be there and to be theirs alone."""
    ends = [_end(file, header, entry) for entry in header.entries]
    _check_apart(file, header, ends)
    parts = [
        file.stored.part(header.start + entry.offset, end - entry.offset)
        for entry, end in zip(header.entries, ends, strict=True)
    ]
    big = Order(header.big, header.big and bytes_are_big(header.entries, parts))
    for entry, stored in zip(header.entries, parts, strict=True):
        made = ggml_tensor(entry.name, entry.shape, entry.type, stored, big)
        role = _role(header, entry)
        yield dataclasses.replace(made, role=role) if role else made


def _role(header: GGUFHeader, entry: TensorInfo) -> Role | None:
    """The role that the metadata tell, of what a training run or a calibration left."""
    if header.metadata.get("general.type") == "imatrix":
        return Role.OTHER
    trained = any(key.startswith(("optimizer.", "training.")) for key in header.metadata)
    return Role.OPTIMIZER if trained and entry.name.startswith("optimizer.") else None


def _end(file: File, header: GGUFHeader, entry: TensorInfo) -> int:
    """Where a tensor's bytes end, counted from the first tensor's; of an unknown type its start."""
    size = stored_size(entry.type, entry.shape)
    if size is None:
        raise damaged(file.stored, f"rows of its tensor {entry.name!r} are no whole blocks")
    end = entry.offset + size
    if header.start + end > file.stored.size:
        raise damaged(
            file.stored,
            f"its tensor {entry.name!r} ends at byte {header.start + end:,}, the file at byte "
            f"{file.stored.size:,}; if the file is a piece that a tool cut off, join all pieces:  "
            f"cat PIECES > WHOLE",
        )
    return end


def _check_apart(file: File, header: GGUFHeader, ends: list[int]) -> None:
    spans = sorted(
        (entry.offset, end, entry.name) for entry, end in zip(header.entries, ends, strict=True)
    )
    filled = [span for span in spans if span[0] < span[1]]
    for (_, end, name), (begin, _, other) in itertools.pairwise(filled):
        if begin < end:
            raise damaged(file.stored, f"its tensors {name!r} and {other!r} overlap")
