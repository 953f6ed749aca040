"""Checkpoints: where weights come from. One reader a format, all lazy, all safe."""

from kolmo.checkpoints.base import CHUNK, Checkpoint, Skipped, WeightTensor, array_tensor
from kolmo.checkpoints.opening import check_unchanged, open_checkpoint

__all__ = [
    "CHUNK",
    "Checkpoint",
    "Skipped",
    "WeightTensor",
    "array_tensor",
    "check_unchanged",
    "open_checkpoint",
]
