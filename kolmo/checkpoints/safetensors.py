"""safetensors: single files.

A file is an 8-byte little-endian header length, a JSON header that says where each tensor lies,
and the tensors' bytes (https://huggingface.co/docs/safetensors). Only the header is read on
opening, and everything that it claims is checked against the size of the file.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.stored import stored_tensor
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError

HEADER_LIMIT = 100_000_000
"""Bytes of header at most, as in the reference implementation."""

_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BOOL": "bool",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}

CODES: dict[str, np.dtype[Any]] = {
    code: DTYPES[name].newbyteorder("<") for code, name in _NAMES.items()
}
"""The dtypes of files, by their codes there."""


def open_safetensors(file: File) -> Checkpoint:
    """The tensors of one file, in the order of their bytes."""
    tensors, skipped = read_header(file)
    return Checkpoint(
        tensors, source=file.where, format="safetensors", skipped=skipped, files=file.files
    )


def read_header(file: File) -> tuple[list[WeightTensor], list[Skipped]]:
    """The tensors that a file's header describes, every claim of it checked."""
    where, size = file.where, file.stored.size
    length = int.from_bytes(file.head(8), "little")
    if length > size - 8:
        raise InputError(
            f"{where}: the header claims {length:,} bytes, the file has {size:,}; "
            f"it is truncated or not a safetensors file"
        )
    if length > HEADER_LIMIT:
        raise InputError(f"{where}: a header of {length:,} bytes is over the format's limit")
    header = parse_json(where, bytes(file.stored.read(8, length)))
    start = 8 + length
    entries = [_Entry(where, name, entry) for name, entry in header.items() if name != _METADATA]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    end = 0
    for entry in entries:
        if entry.begin != end:
            raise InputError(f"{where}: tensor {entry.name!r} overlaps another or leaves a hole")
        end = entry.end
    if start + end != size:
        kind = "truncated" if start + end > size else "longer than its header says"
        raise InputError(
            f"{where}: the tensors take {end:,} bytes, the file has {size - start:,} for them; "
            f"it is {kind}"
        )
    tensors, skipped = [], []
    for entry in entries:
        dtype = CODES.get(entry.dtype)
        if dtype is None:
            skipped.append(Skipped(entry.name, f"dtype {entry.dtype} is not supported"))
        elif entry.end - entry.begin != math.prod(entry.shape) * dtype.itemsize:
            raise InputError(
                f"{where}: tensor {entry.name!r} has {entry.end - entry.begin:,} bytes, "
                f"which is not {entry.dtype} {entry.shape}"
            )
        else:
            offset, shape = start + entry.begin, tuple(entry.shape)
            tensors.append(stored_tensor(file.stored, entry.name, shape, dtype, offset))
    return tensors, skipped


_METADATA = "__metadata__"


class _Entry:
    """One tensor as the header describes it, checked."""

    def __init__(self, where: str, name: str, entry: Any) -> None:
        wrong = InputError(f"{where}: the header's entry for {name!r} is not that of a tensor")
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
            raise wrong
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        sound = isinstance(dtype, str) and _are_sizes(shape) and _are_sizes(offsets)
        if not sound or len(offsets) != 2 or offsets[0] > offsets[1] or len(shape) > 64:
            raise wrong
        self.name, self.dtype, self.shape = name, dtype, shape
        self.begin, self.end = offsets


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**63 for v in values
    )


def parse_json(where: str, data: bytes) -> dict[str, Any]:
    """A header of JSON; InputError if it is none, or a key occurs twice in it."""
    try:
        header = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: the header is not valid JSON ({error})") from None
    if not isinstance(header, dict):
        raise InputError(f"{where}: the header is not a JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found
