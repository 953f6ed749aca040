"""Quantized weights that a scale and a zero point turn back: (code - zero) x scale.

Scales are shared by blocks of weights: one for a tensor, one for a channel, one for each run of so
many weights along an axis. Only the scales of the weights that are read are read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError

Load = Callable[[int, int], NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class ScaleBlocks:
    """The blocks that a tensor is cut into, each of which has one scale.

    Attributes
    ----------
    shape : tuple of int
        Of the weights.
    sides : tuple of int
        Of a block, for each axis; the last block of an axis may be shorter.

    Examples
    --------
    >>> ScaleBlocks((2, 4), (1, 2)).grid, ScaleBlocks((2, 4), (1, 2)).places(1, 7).tolist()
    ((2, 2), [0, 1, 1, 2, 2, 3])
    """

    shape: tuple[int, ...]
    sides: tuple[int, ...]

    @classmethod
    def whole(cls, shape: Sequence[int]) -> ScaleBlocks:
        """One block: a scale for the whole tensor."""
        return cls(tuple(shape), tuple(max(1, side) for side in shape))

    @classmethod
    def channels(cls, shape: Sequence[int], axis: int) -> ScaleBlocks:
        """A scale for each slice of an axis.

        >>> ScaleBlocks.channels((3, 4), -1).grid
        (1, 4)
        """
        sides = [max(1, side) for side in shape]
        sides[axis] = 1
        return cls(tuple(shape), tuple(sides))

    @classmethod
    def runs(cls, shape: Sequence[int], axis: int, size: int) -> ScaleBlocks:
        """A scale for each run of ``size`` weights along an axis."""
        sides = [1] * len(shape)
        sides[axis] = size
        return cls(tuple(shape), tuple(sides))

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of blocks along each axis: the shape of the scales."""
        return tuple(-(-n // side) for n, side in zip(self.shape, self.sides, strict=True))

    @property
    def count(self) -> int:
        """The number of blocks."""
        return math.prod(self.grid)

    def places(self, start: int, stop: int) -> NDArray[np.int64]:
        """Which block each of the weights [start, stop) is in, blocks in row-major order."""
        left = np.arange(start, stop, dtype=np.int64)
        found = np.zeros(stop - start, np.int64)
        stride = 1
        for n, side, blocks in reversed(list(zip(self.shape, self.sides, self.grid, strict=True))):
            left, index = np.divmod(left, n)
            if blocks > 1:
                found += index // side * stride
            stride *= blocks
        return found


def spread(values: Load, blocks: ScaleBlocks, start: int, stop: int) -> NDArray[Any]:
    """For each of the weights [start, stop) the value of its block."""
    if blocks.count == 1:
        return values(0, 1)
    places = blocks.places(start, stop)
    if not places.size:
        return values(0, 0)
    first, last = int(places.min()), int(places.max())
    return np.asarray(values(first, last + 1)[places - first])


def scaled(
    codes: Load,
    scales: Load,
    zeros: Load | float,
    blocks: ScaleBlocks,
    dtype: Any = np.float32,
    *,
    exact: bool = False,
) -> Load:
    """A loader of (code - zero) x scale as ``dtype``, computed in 32-bit floats; or in 64-bit ones.

    Parameters
    ----------
    codes : callable
        ``codes(start, stop)`` gives the codes [start, stop) as numbers.
    scales, zeros : callable
        The same of scales and zero points, by blocks; one number may be the zero point of all.

    Examples
    --------
    >>> codes = np.arange(8, dtype=np.uint8)
    >>> blocks = ScaleBlocks((2, 4), (1, 4))
    >>> scaled(lambda a, b: codes[a:b], lambda a, b: np.float32([1, 10])[a:b], 3, blocks)(2, 6)
    array([-1.,  0., 10., 20.], dtype=float32)
    """

    wide = np.float64 if exact else np.float32

    def load(start: int, stop: int) -> NDArray[Any]:
        found: NDArray[Any] = codes(start, stop).astype(wide)
        if callable(zeros):
            found = found - spread(zeros, blocks, start, stop).astype(wide)
        elif zeros:
            found = found - wide(zeros)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            found = found * spread(scales, blocks, start, stop).astype(wide)
            return found.astype(dtype, copy=False)

    return load


def check_count(where: str, what: str, count: int, blocks: ScaleBlocks) -> None:
    """InputError unless there is one value for each block."""
    if count != blocks.count:
        raise InputError(
            f"{where}: {count:,} {what} for weights of shape {blocks.shape}, which need "
            f"{blocks.count:,}; the file is damaged"
        )
