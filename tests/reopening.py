"""Another process that opens what was pickled, and says what it reads there."""

import hashlib
import json
import pickle
import sys
from pathlib import Path

from kolmo.checkpoints import Checkpoint, WeightTensor


def facts(tensor: WeightTensor) -> list[object]:
    """What a tensor is, with a hash of its weights and one of its codes."""
    codes = tensor.codes
    read = [tensor.read(), codes.load(0, tensor.numel)] if codes else [tensor.read()]
    hashes = [hashlib.sha256(values.tobytes()).hexdigest() for values in read]
    coded = [codes.scheme, codes.alphabet.size, codes.side_bits] if codes else []
    described = [tensor.name, list(tensor.shape), tensor.dtype.name, tensor.form, tensor.role]
    stored = [facts(array) for array in codes.stored] if codes else []
    return [*described, *coded, *hashes, stored]


def everything(checkpoint: Checkpoint) -> dict[str, object]:
    """All of a checkpoint, as JSON has it."""
    skipped = [
        [entry.to_dict(), facts(entry.tensor) if entry.tensor else None]
        for entry in checkpoint.skipped
    ]
    return {
        "tensors": [facts(tensor) for tensor in checkpoint.values()],
        "skipped": skipped,
        "about": [checkpoint.source, checkpoint.format, *checkpoint.files, *checkpoint.networks],
        "fingerprints": checkpoint.fingerprints,
    }


if __name__ == "__main__":
    held = pickle.loads(Path(sys.argv[1]).read_bytes())
    print(json.dumps({name: everything(checkpoint) for name, checkpoint in held.items()}))
