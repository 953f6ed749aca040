"""Blob files of CoreML: ``weights/weight.bin`` of a package, which a program points into.

A file begins with 64 bytes: the number of blobs and the version, 2. Before each blob 64 bytes tell
its dtype, its size and where it lies
(https://github.com/apple/coremltools/tree/main/mlmodel/src/MILBlob/Blob).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np

from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.raw import raw_tensor
from kolmo.checkpoints.stored import Stored
from kolmo.dtypes import bits_of
from kolmo.errors import InputError

_SENTINEL = 0xDEADBEEF
_HEADER = 64

DTYPES: dict[int, Any] = {
    1: np.float16,
    2: np.float32,
    3: np.uint8,
    4: np.int8,
    5: ml_dtypes.bfloat16,
    6: np.int16,
    7: np.uint16,
    8: ml_dtypes.int4,
    10: ml_dtypes.uint2,
    11: ml_dtypes.uint4,
    14: np.int32,
    15: np.uint32,
    16: ml_dtypes.float8_e4m3fn,
    17: ml_dtypes.float8_e5m2,
}
"""Dtypes by their numbers; 9, 12 and 13 are unsigned integers of 1, 3 and 6 bits."""

_ODD = {9: 1, 12: 3, 13: 6}


@dataclasses.dataclass(frozen=True)
class MilBlob:
    """A blob: its bytes, unread, the bits of a number, and its dtype; None if numpy has none."""

    stored: Stored
    bits: int
    dtype: np.dtype[Any] | None
    count: int
    end: int


def blob_at(stored: Stored, offset: int) -> MilBlob:
    """The blob whose description lies there; InputError if none does."""
    if offset < 0 or offset + _HEADER > stored.size:
        raise InputError(f"{stored.where}: no blob at byte {offset:,}; the file is damaged")
    head = np.frombuffer(stored.read(offset, 32), "<u4")
    if int(head[0]) != _SENTINEL:
        raise InputError(f"{stored.where}: no blob at byte {offset:,}; the file is damaged")
    size, begin, padding = (int(n) for n in np.frombuffer(stored.read(offset + 8, 24), "<u8"))
    kind = int(head[1])
    dtype = np.dtype(DTYPES[kind]) if kind in DTYPES else None
    bits = bits_of(dtype) if dtype is not None else _ODD.get(kind, 8)
    if begin + size > stored.size:
        raise InputError(f"{stored.where}: a blob ends behind the file; it is truncated")
    count = max(0, size * 8 - (padding if bits < 8 else 0)) // bits
    return MilBlob(stored.part(begin, size), bits, dtype, count, begin + size)


def open_blobs(file: File) -> Checkpoint:
    """The blobs of a file without its model: flat, called by where they lie."""
    stored, at = file.stored, _HEADER
    tensors, skipped = list[WeightTensor](), list[Skipped]()
    count = int.from_bytes(stored.read(0, 4), "little")
    for _ in range(count):
        blob, name = blob_at(stored, at), f"blob {at}"
        if blob.dtype is None:
            why = f"numbers of {blob.bits} bits, which only the model tells how to read"
            skipped.append(Skipped(name, why, blob.count))
        else:
            tensors.append(raw_tensor(name, (blob.count,), blob.dtype, blob.stored))
        at = max(at + _HEADER, -(-blob.end // _HEADER) * _HEADER)
    return Checkpoint(
        tensors, source=file.where, format="coreml", skipped=skipped, files=file.files
    )
