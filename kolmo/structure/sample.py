"""The weights that the test of structure looks at: windows of rows, stratified over tensors."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import WeightTensor, array_tensor
from kolmo.nulls.seeds import name_seed

WEIGHTS = 3 << 17
"""Weights of a sample, about; a checkpoint of no more is looked at whole."""

TENSORS = 512
"""Tensors of a checkpoint that is looked at whole, at most: to begin with each takes its time."""

WINDOWS = 64
"""Windows of a sample, at least, unless it is everything."""

_MANY = 1 << 21  # weights in the samples of many checkpoints together
_LEAST = 1 << 17

_ROWS = 8  # of a window, at least, where rows are so long that they are cut

Range = tuple[int, int]


def sample_size(checkpoints: int) -> int:
    """Weights in the sample of each of so many checkpoints: fewer, where these are many.

    >>> [sample_size(number) for number in (1, 4, 8, 1000)]
    [393216, 393216, 262144, 131072]
    """
    return min(WEIGHTS, max(_LEAST, _MANY // checkpoints))


@dataclasses.dataclass(frozen=True)
class SampledTensor:
    """What is taken of one tensor.

    Attributes
    ----------
    tensor : WeightTensor
        The sample of it, in memory; of its windows, one after the other, a matrix is made.
    numel : int
        Weights of the tensor that it is taken from.
    stands_for : float
        Weights of the checkpoint that it stands for.
    windows : int
    """

    tensor: WeightTensor
    numel: int
    stands_for: float
    windows: int


@dataclasses.dataclass(frozen=True)
class Sample:
    """The sample of a checkpoint."""

    pieces: tuple[SampledTensor, ...]
    of: int

    @property
    def weights(self) -> int:
        """Weights in it."""
        return sum(piece.tensor.numel for piece in self.pieces)

    @property
    def share(self) -> float:
        """Share of the checkpoint's weights that is in it."""
        return self.weights / self.of if self.of else 1.0


def draw_sample(checkpoint: Checkpoint, weights: int = WEIGHTS, seed: int = 0) -> Sample:
    """The sample of a checkpoint, the same for a seed.

    A checkpoint of up to ``weights`` weights in up to `TENSORS` tensors is taken whole. Of another
    each tensor that is not tiny has a window and as many more as its share says; if there are more
    such tensors than windows, tensors are drawn with chances in proportion to their sizes
    (systematic sampling).

    Examples
    --------
    >>> import kolmo
    >>> big, small = np.zeros((512, 512), np.float32), np.zeros((64, 512), np.float32)
    >>> checkpoint = kolmo.open_checkpoint({"big": big, "small": small})
    >>> sample = draw_sample(checkpoint, weights=1 << 17)
    >>> [(piece.tensor.name, piece.tensor.shape, piece.windows) for piece in sample.pieces]
    [('big', (228, 512), 57), ('small', (28, 512), 7)]
    """
    tensors = [tensor for tensor in checkpoint.values() if tensor.numel]
    total = sum(tensor.numel for tensor in tensors)
    if total <= weights and len(tensors) <= TENSORS:
        whole = (SampledTensor(_whole(t), t.numel, float(t.numel), 1) for t in tensors)
        return Sample(tuple(whole), total)
    length = max(1, weights // WINDOWS)
    large = [t for t in tensors if 4 * t.numel >= length] or tensors
    counts = _shared_out([t.numel for t in large], WINDOWS, seed)
    pieces = [
        _sampled(tensor, count, length, stands_for, seed)
        for tensor, (count, stands_for) in zip(large, counts, strict=True)
        if count
    ]
    return Sample(tuple(pieces), total)


def _shared_out(sizes: Sequence[int], windows: int, seed: int) -> list[tuple[int, float]]:
    """How many windows each tensor has, and the weights that they stand for."""
    total = sum(sizes)
    if len(sizes) <= windows:
        ideal = [size * windows / total for size in sizes]
        counts = [max(1, round(share)) for share in ideal]
        return [(count, float(size)) for count, size in zip(counts, sizes, strict=True)]
    step = total / windows
    first = np.random.default_rng((seed, len(sizes))).uniform(0, step)
    ends = list(itertools.accumulate(sizes))
    hit = np.searchsorted(ends, first + step * np.arange(windows), side="right")
    counts = np.bincount(hit, minlength=len(sizes)).tolist()
    return [(count, count * step) for count in counts]


def _sampled(
    tensor: WeightTensor, count: int, length: int, stands_for: float, seed: int
) -> SampledTensor:
    if tensor.numel <= count * length:
        return SampledTensor(_whole(tensor), tensor.numel, stands_for, count)
    draw = np.random.default_rng((seed, name_seed(tensor.name)))
    shape, ranges = _windows(tensor.shape, count, length, draw)
    values = np.concatenate([tensor.load(*each) for each in ranges])
    return SampledTensor(
        array_tensor(tensor.name, values.reshape(shape)), tensor.numel, stands_for, count
    )


def _windows(
    shape: Sequence[int], count: int, length: int, draw: np.random.Generator
) -> tuple[tuple[int, ...], list[Range]]:
    """The shape of a sample of a tensor, and the ranges of weights that it is made of.

    Windows are whole rows; where a row is longer than a window, the same part of several rows.
    """
    rows, rest = (shape[0], tuple(shape[1:])) if len(shape) > 1 else (1, tuple(shape))
    row = math.prod(rest)
    if row <= length:
        tall = max(1, min(rows // count, length // row))
        bands = list(_bands(rows, count, tall, draw))
        ranges = [(first * row, (first + tall) * row) for first in bands]
        return (len(bands) * tall, *rest), ranges
    taps = math.prod(rest[1:])  # of a kernel, which is not cut
    taken = min(rows, _ROWS * count)
    wide = max(1, min(row, count * length // taken) // taps)
    column = taps * int(draw.integers(0, row // taps - wide + 1))
    starts = [each * row + column for each in _bands(rows, taken, 1, draw)]
    return (taken, wide, *rest[1:]), [(start, start + wide * taps) for start in starts]


def _bands(rows: int, count: int, tall: int, draw: np.random.Generator) -> Iterator[int]:
    """The first rows of so many bands, one at random in each of as many strata of equal height."""
    for number in range(count):
        low, high = rows * number // count, rows * (number + 1) // count
        yield low + int(draw.integers(0, max(1, high - low - tall + 1)))


def _whole(tensor: WeightTensor) -> WeightTensor:
    values: NDArray[np.generic] = tensor.read()
    return array_tensor(tensor.name, values)
