"""What a projection changed: counts, distortion, and notes on what looks wrong."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import numpy as np

from kolmo.checkpoints.base import Skipped
from kolmo.errors import InputError
from momos.mosaic.blocks import Array
from momos.mosaic.mosaic import Mosaic

_LARGEST = 1e150  # magnitudes whose squares float64 holds


@dataclasses.dataclass(frozen=True)
class ProjectionStats:
    """What a projection did.

    Attributes
    ----------
    blocks, motifs, motifs_used : int
        Blocks *m*, motifs *k*, and the motifs that at least one block has.
    weights : int
        Weights in the projected tensors, without padding.
    changed : int
        Weights whose value changed.
    distortion : float
        Sum of the squared changes of the weights.
    coverage : float
        Share of the model's trainable weights that are in projected tensors.
    skipped : tuple of Skipped
        Tensors that were left as they are, with reasons.
    seconds : float
    notes : tuple of str
        Warnings: motifs that collapsed, norm layers that shrank.
    """

    blocks: int
    motifs: int
    motifs_used: int
    weights: int
    changed: int
    distortion: float
    coverage: float
    skipped: tuple[Skipped, ...]
    seconds: float
    notes: tuple[str, ...] = ()


def projection_stats(tensors: Mapping[str, Array], mosaic: Mosaic, start: float) -> ProjectionStats:
    """Statistics of replacing the tensors by the mosaic, a computation begun at ``start``."""
    changed, distortion = _compare(tensors, mosaic.arrays())
    motifs, used = len(mosaic.motifs), np.unique(mosaic.indices).size
    return ProjectionStats(
        blocks=mosaic.partition.count,
        motifs=motifs,
        motifs_used=used,
        notes=_collapsed(motifs, used),
        weights=mosaic.partition.numel,
        changed=changed,
        distortion=distortion,
        coverage=1.0,
        skipped=(),
        seconds=time.perf_counter() - start,
    )


def _collapsed(motifs: int, used: int) -> tuple[str, ...]:
    """A note where under half of the motifs are in use."""
    if 2 * used >= motifs:
        return ()
    return (
        f"only {used:,} of {motifs:,} motifs are in use: a high rate, or projecting without "
        f"training in between, makes motifs collapse",
    )


def _compare(before: Mapping[str, Array], after: Mapping[str, Array]) -> tuple[int, float]:
    """Weights whose value changed, and the sum of the squared changes."""
    changed, distortion = 0, 0.0
    for name, array in before.items():
        changes = after[name].astype(np.float64) - array.astype(np.float64)
        changed += int(np.count_nonzero(changes))
        distortion += float(np.square(changes).sum())
    return changed, distortion


def check_finite(name: str, array: Array) -> None:
    """InputError, which names the tensor, where a value is NaN, infinite or huge."""
    magnitudes = np.abs(array.astype(np.float64))
    if (magnitudes <= _LARGEST).all():  # NaN compares false
        return
    what = "NaN" if np.isnan(magnitudes).any() else "an infinite or huge value"
    raise InputError(
        f"tensor {name!r} holds {what}, so that it has no nearest motif: the training diverged, "
        f"or the tensor should be left out with exclude"
    )
