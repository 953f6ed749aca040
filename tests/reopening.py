"""Another process that opens what was pickled, and says what it reads there."""

import hashlib
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

from kolmo.checkpoints import Checkpoint, WeightTensor

Read = Callable[[WeightTensor], bytes]


def whole(tensor: WeightTensor) -> bytes:
    """A tensor's bytes, read at once."""
    return tensor.read().tobytes()


def in_chunks(tensor: WeightTensor) -> bytes:
    """The same, by chunks whose memory is used again."""
    return b"".join(chunk.tobytes() for chunk in tensor.chunks(1000, reuse=True))


def facts(tensor: WeightTensor, read: Read = whole) -> list[object]:
    """What a tensor is, with a hash of its weights and one of its codes."""
    codes = tensor.codes
    held = [read(tensor), codes.load(0, tensor.numel).tobytes()] if codes else [read(tensor)]
    hashes = [hashlib.sha256(values).hexdigest() for values in held]
    coded = [codes.scheme, codes.alphabet.size, codes.side_bits] if codes else []
    described = [tensor.name, list(tensor.shape), tensor.dtype.name, tensor.form, tensor.role]
    stored = [facts(array, read) for array in codes.stored] if codes else []
    return [*described, *coded, *hashes, stored]


def everything(checkpoint: Checkpoint, read: Read = whole) -> dict[str, object]:
    """All of a checkpoint, as JSON has it."""
    skipped = [
        [entry.to_dict(), facts(entry.tensor, read) if entry.tensor else None]
        for entry in checkpoint.skipped
    ]
    return {
        "tensors": [facts(tensor, read) for tensor in checkpoint.values()],
        "skipped": skipped,
        "about": [checkpoint.source, checkpoint.format, *checkpoint.files, *checkpoint.networks],
        "fingerprints": checkpoint.fingerprints,
    }


if __name__ == "__main__":
    held = pickle.loads(Path(sys.argv[1]).read_bytes())
    print(
        json.dumps({name: everything(checkpoint, in_chunks) for name, checkpoint in held.items()})
    )
