"""Reading a source: every tensor with its coder, and the hash of its symbols."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.as_stored import as_stored
from kolmo.container.decoding import Digests
from kolmo.container.format import (
    Entry,
)
from kolmo.execution import Progress, in_order
from kolmo.quantize import Quantizer


def arrays_of(checkpoint: Checkpoint, quantizer: Quantizer) -> Checkpoint:
    """What a container holds of a checkpoint: under ``native`` every array of the file as it lies
    there, codes and scales too; under any other quantizer the weights."""
    return as_stored(checkpoint) if quantizer.name == "native" else checkpoint


def read_entries(
    checkpoint: Checkpoint, quantizer: Quantizer, threads: int, progress: Progress | None
) -> tuple[list[Entry], list[bytes]]:
    """Every tensor with its coder, and the SHA-256 of its symbols; equal tensors become copies."""
    entries: list[Entry] = []
    digests: list[bytes] = []
    first: dict[tuple[bytes, np.dtype[Any]], int] = {}
    done, total = 0, checkpoint.numel
    job = _Reading(checkpoint, quantizer)
    for _, (entry, digest) in in_order(job.read, list(checkpoint), threads):
        original = first.setdefault((digest, entry.dtype), len(entries)) if entry.numel else None
        same = original if original is not None and original < len(entries) else None
        entries.append(dataclasses.replace(entry, copy_of=same))
        digests.append(digest)
        done += entry.numel
        if progress:
            progress(done, total, "reading")
    return entries, digests


@dataclasses.dataclass(frozen=True)
class _Reading:
    checkpoint: Checkpoint
    quantizer: Quantizer

    def read(self, name: str) -> tuple[Entry, bytes]:
        tensor = self.checkpoint[name]
        entry = Entry(name, tensor.shape, tensor.dtype, self.quantizer.fit(tensor))
        digests = Digests([entry])
        for chunk in tensor.chunks():
            digests.update(0, entry.coder.encode(chunk))
        return entry, digests.each()[0]
