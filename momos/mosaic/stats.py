"""What a projection changed: counts, distortion, and notes on what looks wrong."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Mapping

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
    relative_errors : mapping of str to float
        Of each tensor, the sum of the squared changes over that of the squared weights: 0 is the
        tensor itself, 1 what zeros would give. Infinite where zeros became something else.
    relative_error : float
        The same of all projected weights.
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
    relative_errors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    relative_error: float = 0.0


def projection_stats(tensors: Mapping[str, Array], mosaic: Mosaic, start: float) -> ProjectionStats:
    """Statistics of replacing the tensors by the mosaic, a computation begun at ``start``."""
    after = _after(tensors, mosaic)
    compared = {name: _compare(array, next(after)) for name, array in tensors.items()}
    changed, distortion, energy = map(sum, zip(*compared.values(), strict=True))
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
        relative_errors={name: _share(lost, of) for name, (_, lost, of) in compared.items()},
        relative_error=_share(distortion, energy),
    )


def _collapsed(motifs: int, used: int) -> tuple[str, ...]:
    """A note where under half of the motifs are in use."""
    if 2 * used >= motifs:
        return ()
    return (
        f"only {used:,} of {motifs:,} motifs are in use: a high rate, or projecting without "
        f"training in between, makes motifs collapse",
    )


def _after(tensors: Iterable[str], mosaic: Mosaic) -> Iterator[Array]:
    """The tensors as the mosaic has them, one at a time."""
    for name in tensors:
        shape = mosaic.partition.shapes[name]
        yield mosaic.values(name, 0, math.prod(shape)).reshape(shape)


def _compare(before: Array, after: Array) -> tuple[int, float, float]:
    """Weights whose value changed, the sum of the squared changes, and that of the weights."""
    weights = before.astype(np.float64)
    changes = after.astype(np.float64) - weights
    squares = float(np.square(changes).sum()), float(np.square(weights).sum())
    return int(np.count_nonzero(changes)), *squares


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.inf if part else 0.0


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
