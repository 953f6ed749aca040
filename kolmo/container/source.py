"""Reading a source: every tensor with its coder, and the hash of its symbols."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Role
from kolmo.container.decoding import Digests
from kolmo.container.format import NATIVE, Entry
from kolmo.container.state import Kept
from kolmo.execution import Progress, in_order
from kolmo.quantize import Quantizer
from kolmo.symbols import Alphabet


def read_entries(
    state: Sequence[Kept], quantizer: Quantizer, threads: int, progress: Progress | None
) -> tuple[list[Entry], list[bytes]]:
    """Every tensor with its coder, and the SHA-256 of its symbols; equal tensors become copies."""
    entries: list[Entry] = []
    digests: list[bytes] = []
    first: dict[tuple[bytes, np.dtype[Any], Alphabet, bool], int] = {}
    done, total = 0, sum(kept.tensor.numel for kept in state)
    job = _Reading(quantizer)
    for kept, (entry, digest) in in_order(job.read, state, threads):
        key = (digest, entry.dtype, entry.alphabet, kept.is_quantized)
        original = first.setdefault(key, len(entries)) if entry.numel else None
        same = original if original is not None and original < len(entries) else None
        if same is None and not kept.is_quantized and entry.role is Role.COPY:
            entry = dataclasses.replace(entry, role=Role.BUFFER)  # else it would be quantized
        entries.append(dataclasses.replace(entry, copy_of=same))
        digests.append(digest)
        done += entry.numel
        if progress:
            progress(done, total, "reading")
    return entries, digests


@dataclasses.dataclass(frozen=True)
class _Reading:
    quantizer: Quantizer

    def read(self, kept: Kept) -> tuple[Entry, bytes]:
        tensor = kept.tensor
        coder = (self.quantizer if kept.is_quantized else NATIVE).fit(tensor)
        packed = kept.packed_weights
        entry = Entry(tensor.name, tensor.shape, tensor.dtype, coder, None, kept.role, packed)
        digests = Digests([entry])
        for symbols in entry.coder.symbols(tensor):
            digests.update(0, symbols)
        return entry, digests.each()[0]
