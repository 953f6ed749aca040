"""safetensors: single files.

A file is an 8-byte little-endian header length, a JSON header that says where each tensor lies,
and the tensors' bytes (https://huggingface.co/docs/safetensors). Only the header is read on
opening, and everything that it claims is checked against the size of the file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.json_text import load_json
from kolmo.checkpoints.narrow import narrow_tensor
from kolmo.checkpoints.stored import Stored, stored_tensor
from kolmo.dtypes import DTYPES, PARTS, bits_of
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
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "F4": "float4_e2m1fn",
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
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    for entry in entries:
        made = _tensor(file.stored, entry, start + entry.begin)
        if isinstance(made, Skipped):
            skipped.append(made)
        else:
            tensors.append(made)
    return tensors, skipped


_PARTS = {"C64": PARTS["complex64"].newbyteorder("<")}
"""The dtype of the two parts of complex numbers, by the codes in files."""


def _tensor(stored: Stored, entry: _Entry, offset: int) -> WeightTensor | Skipped:
    """The tensor of an entry; of complex numbers their two parts, along a last axis."""
    shape = (*entry.shape, 2) if entry.dtype in _PARTS else tuple(entry.shape)
    dtype = CODES.get(entry.dtype, _PARTS.get(entry.dtype))
    if dtype is None:
        numel = math.prod(shape)
        return Skipped(entry.name, f"dtype {entry.dtype[:40]} is not supported", numel)
    if 8 * (entry.end - entry.begin) != math.prod(shape) * bits_of(dtype):
        raise InputError(
            f"{stored.where}: tensor {entry.name!r} has {entry.end - entry.begin:,} bytes, "
            f"which is not {entry.dtype} {entry.shape}"
        )
    if bits_of(dtype) < 8:
        packed = stored.part(offset, entry.end - entry.begin)
        return narrow_tensor(entry.name, shape, dtype, packed.array)
    return stored_tensor(stored, entry.name, shape, dtype, offset)


_METADATA = "__metadata__"
_AXES = 1 << 10  # the format sets no limit; no tensor has as many


class _Entry:
    """One tensor as the header describes it, checked."""

    def __init__(self, where: str, name: str, entry: Any) -> None:
        wrong = InputError(f"{where}: the header's entry for {name!r} is not that of a tensor")
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
            raise wrong
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        sound = isinstance(dtype, str) and _are_sizes(shape) and _are_sizes(offsets)
        if not sound or len(offsets) != 2 or offsets[0] > offsets[1] or len(shape) > _AXES:
            raise wrong
        self.name, self.dtype, self.shape = name, dtype, shape
        self.begin, self.end = offsets


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**63 for v in values
    )


def parse_json(where: str, data: bytes) -> dict[str, Any]:
    """A header of JSON in UTF-8; InputError if it is none, or a key occurs twice in it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: the header is not UTF-8 ({error}); it is damaged") from None
    header = load_json(text, where, "the header", _unique, _no_number)
    if not isinstance(header, dict):
        raise InputError(f"{where}: the header is not a JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    "".join(found).encode("utf-8")  # half a character, which JSON can spell, is none
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")
