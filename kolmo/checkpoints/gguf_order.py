"""The byte order of blocks and of bfloat16 in big-endian GGUF files, which is seen in them.

By the format all numbers of such a file are big-endian, those in blocks too, and llama.cpp's
converter of byte orders swaps them. But the writer of gguf-py takes blocks and bfloat16 as bytes,
so that those that a little-endian machine made are little-endian in its big-endian files. Which it
is, the numbers tell: in their own order the scales of blocks, and weights, are near each other; in
the other one, the lowest bits of mantissas are read as exponents, which scatters them over all
magnitudes. Where they are all equal, and nothing tells, they are read as gguf-py reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.ggml_types import BFLOAT16, BLOCKS
from kolmo.checkpoints.gguf_header import TensorInfo
from kolmo.checkpoints.stored import Stored

_TENSORS, _SEEN = 8, 64  # tensors that are looked at, and blocks or numbers of each
_Halves = tuple[NDArray[Any], int]  # numbers of 16 bits, and how many of these are mantissa


def bytes_are_big(entries: Sequence[TensorInfo], parts: Sequence[Stored]) -> bool:
    """Whether blocks and bfloat16 of a big-endian file are big-endian; False if none can tell."""
    pairs = [
        (entry.type, stored)
        for entry, stored in zip(entries, parts, strict=True)
        if entry.type in BLOCKS or entry.type == BFLOAT16
    ]
    halves = [half for number, stored in pairs[:_TENSORS] for half in _halves(number, stored)]
    as_big, as_little = (
        sum(_scatter(bits.view(f"{order}u2"), mantissa) for bits, mantissa in halves)
        for order in "><"
    )
    return as_big < as_little


def _halves(number: int, stored: Stored) -> Iterable[_Halves]:
    """The first weights of bfloat16, or each float16 field of the first blocks."""
    form: np.dtype[Any] = np.dtype(np.uint16) if number == BFLOAT16 else BLOCKS[number].fields
    seen = np.frombuffer(stored.read(0, min(stored.size, _SEEN * form.itemsize)), form)
    if number == BFLOAT16:
        yield seen, 7
    for name in form.names or ():
        if form[name] == np.float16:
            yield np.ascontiguousarray(seen[name]), 10


def _scatter(bits: NDArray[Any], mantissa: int) -> float:
    """How far exponents are from their median, on average; zeros have none."""
    exponents = (bits[bits & 0x7FFF != 0].astype(np.int64) & 0x7FFF) >> mantissa
    return float(np.abs(exponents - np.median(exponents)).mean()) if exponents.size else 0.0
