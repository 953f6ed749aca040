"""Slices of a Llama: ``consolidated.00.pth``, ``consolidated.01.pth``, … as Meta gives them.

The model was cut for model parallelism: each file has a part of the rows of some matrices
(``ColumnParallelLinear``), of the columns of others (``RowParallelLinear``), and all of the norms
(https://github.com/meta-llama/llama/blob/main/llama/model.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.formats import open_file
from kolmo.checkpoints.json_text import load_json
from kolmo.checkpoints.pieces import Box, assembled
from kolmo.errors import InputError

_BY_ROWS = re.compile(r"(.*\.)?(wq|wk|wv|w1|w3|output)\.weight")
_BY_COLUMNS = re.compile(r"(.*\.)?(wo|w2)\.weight")
_EMBEDDINGS = "tok_embeddings.weight"
_SETTINGS = 1 << 20  # bytes of params.json, at most


def open_slices(files: Sequence[File]) -> Checkpoint:
    """The model of which each file is a slice; the files are in order.

    Raises
    ------
    InputError
        If a slice is missing, or the slices do not fit together.
    """
    _refuse_missing(files)
    opened = [open_file(file) for file in files]
    if len(opened) == 1:
        return opened[0]
    where = files[0].folder.where
    names = dict.fromkeys(name for slice in opened for name in slice)
    found = {name: [slice[name] for slice in opened if name in slice] for name in names}
    tensors = [_joined(where, name, parts, found) for name, parts in found.items()]
    _check_size(files[0], {tensor.name: tensor for tensor in tensors}, found)
    same = [name for name, parts in found.items() if len(parts) > 1 and len(parts[0].shape) < 2]
    return Checkpoint(
        tensors,
        source=where,
        format=opened[0].format,
        skipped=[*opened[0].skipped, *_copies(files[1:], opened[1:], same)],
        files=[path for slice in opened for path in slice.files],
    )


def _refuse_missing(files: Sequence[File]) -> None:
    for number, file in enumerate(files):
        wanted = re.sub(r"\.[0-9]+\.", f".{number:02}.", file.name)
        if file.name != wanted:
            raise InputError(
                f"{file.folder.where}: {wanted!r} is missing, a slice of the model of which "
                f"{file.name!r} is another; put all slices there"
            )


def _joined(
    where: str, name: str, parts: list[WeightTensor], found: dict[str, list[WeightTensor]]
) -> WeightTensor:
    first = parts[0]
    if len(parts) == 1 or len(first.shape) < 2:
        return first
    axis = _axis(name, first, found)
    others = [part.shape[:axis] + part.shape[axis + 1 :] for part in parts]
    if axis < 0 or len(set(others)) > 1 or len({part.dtype for part in parts}) > 1:
        raise InputError(
            f"{where}: how the slices of tensor {name[:200]!r} are put together is not known; join "
            f"the model first, such as by transformers' convert_llama_weights_to_hf.py"
        )
    pieces, at = [], 0
    for part in parts:
        begin = tuple(at if n == axis else 0 for n in range(len(first.shape)))
        pieces.append(Box(begin, part.shape, part.load))
        at += part.shape[axis]
    shape = tuple(at if n == axis else side for n, side in enumerate(first.shape))
    return assembled(name, shape, first.dtype, pieces, where)


def _axis(name: str, part: WeightTensor, found: dict[str, list[WeightTensor]]) -> int:
    """The axis along which a tensor was cut; -1 if that is not known."""
    if _BY_ROWS.fullmatch(name):
        return 0
    if _BY_COLUMNS.fullmatch(name):
        return 1
    if name == _EMBEDDINGS and "norm.weight" in found:  # by columns in Llama 1 and 2, then by rows
        return 0 if part.shape[1] == found["norm.weight"][0].numel else 1
    return -1


def _check_size(
    file: File, tensors: dict[str, WeightTensor], found: dict[str, list[WeightTensor]]
) -> None:
    """Whether the embeddings are as long and as wide as the model says; they show a lost slice."""
    embeddings = tensors.get(_EMBEDDINGS)
    if embeddings is None or "norm.weight" not in tensors:
        return
    rows, columns = embeddings.shape
    words = _settings(file.beside("params.json")).get("vocab_size", -1)
    wanted = (words if isinstance(words, int) and words > 0 else rows, tensors["norm.weight"].numel)
    if (rows, columns) != wanted:
        raise InputError(
            f"{file.folder.where}: the {len(found[_EMBEDDINGS])} slices make embeddings of "
            f"{rows:,} x {columns:,}, the model has {wanted[0]:,} x {wanted[1]:,}; a slice is "
            f"missing"
        )


def _settings(file: File) -> dict[str, Any]:
    if not file.exists or file.stored.size > _SETTINGS:
        return {}
    try:
        found = load_json(file.head(_SETTINGS), file.where)
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def _copies(files: Sequence[File], slices: Sequence[Checkpoint], same: list[str]) -> list[Skipped]:
    """What each slice repeats of the first."""
    reason = "the same in every slice"
    return [
        Skipped(f"{name} ({file.name})", reason, t.numel, Role.COPY, t, copy_of=name)
        for file, slice in zip(files, slices, strict=True)
        for name in same
        if (t := slice.get(name)) is not None
    ]
