"""Tensors in pieces: each a box of the whole, in a file of its own, put together when read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.errors import InputError

_LAYERS = 16  # times that pieces may lie upon each other, on average


@dataclasses.dataclass(frozen=True, eq=False)
class Box:
    """A box of a tensor: where it begins along each axis, its sides, and its entries.

    ``load(start, stop)`` gives entries of the box in its own row-major order.
    """

    begin: tuple[int, ...]
    shape: tuple[int, ...]
    load: Callable[[int, int], NDArray[Any]]


def assembled(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Sequence[Box], where: str
) -> WeightTensor:
    """The tensor that pieces make; where they overlap, the later one counts.

    Raises
    ------
    InputError
        If a piece is not within the tensor, or all of them are less than it, or far more. What
        else they leave out is found when it is read.

    Examples
    --------
    >>> left, right = np.arange(4.0).reshape(2, 2), np.arange(2.0)
    >>> pieces = [Box((0, 0), (2, 2), lambda a, b: left.ravel()[a:b]),
    ...           Box((0, 2), (2, 1), lambda a, b: right[a:b])]
    >>> assembled("w", (2, 3), left.dtype, pieces, "here").read().tolist()
    [[0.0, 1.0, 0.0], [2.0, 3.0, 1.0]]
    """
    sides = shape or (1,)
    whole = _distinct(p if shape else Box((0,), (1,), p.load) for p in pieces if math.prod(p.shape))
    begins = np.array([p.begin for p in whole], np.int64).reshape(-1, len(sides))
    ends = begins + np.array([p.shape for p in whole], np.int64).reshape(-1, len(sides))
    held, numel = sum(math.prod(p.shape) for p in whole), math.prod(shape)
    if not numel <= held <= _LAYERS * numel or (begins < 0).any() or (ends > sides).any():
        raise InputError(
            f"{where}: the shards of tensor {name[:200]!r} are no boxes that make it up "
            f"({held:,} of {numel:,} weights); a shard is missing, or its index is damaged"
        )

    def load(start: int, stop: int) -> NDArray[Any]:
        out, done = np.empty(stop - start, dtype), 0
        for prefix, low, high in _boxes(sides, start, stop):
            rest = sides[len(prefix) + 1 :]
            block = out[done : done + (high - low) * math.prod(rest)].reshape(high - low, *rest)
            done += block.size
            if not _fill(block, prefix, low, whole, begins, ends):
                raise InputError(f"{where}: the shards of tensor {name[:200]!r} leave a hole in it")
        return out

    return WeightTensor(name, shape, dtype, load)


def _distinct(pieces: Iterable[Box]) -> list[Box]:
    """Of pieces at the same place, which each process may have saved, the last one."""
    found: dict[Any, Box] = {}
    for piece in pieces:
        found.pop((piece.begin, piece.shape), None)
        found[piece.begin, piece.shape] = piece
    return list(found.values())


def _boxes(
    sides: tuple[int, ...], start: int, stop: int, prefix: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Entries [start, stop) as boxes: indexes of the first axes, a range of the next, all others.

    >>> list(_boxes((3, 4), 2, 9))
    [((0,), 2, 4), ((), 1, 2), ((2,), 0, 1)]
    """
    if start >= stop:
        return
    if len(sides) == 1:
        yield prefix, start, stop
        return
    row, inner = math.prod(sides[1:]), sides[1:]
    first, last = -(-start // row), stop // row
    if first > last:
        yield from _boxes(inner, start - last * row, stop - last * row, (*prefix, last))
        return
    yield from _boxes(inner, row - (first * row - start), row, (*prefix, first - 1))
    if first < last:
        yield prefix, first, last
    yield from _boxes(inner, 0, stop - last * row, (*prefix, last))


def _fill(
    block: NDArray[Any],
    prefix: tuple[int, ...],
    low: int,
    pieces: Sequence[Box],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> bool:
    """Put into a box what the pieces have of it; whether that is all."""
    axis, high = len(prefix), low + len(block)
    inside = ((begins[:, :axis] <= prefix) & (prefix < ends[:, :axis])).all(axis=1)
    found = np.flatnonzero(inside & (begins[:, axis] < high) & (ends[:, axis] > low))
    filled = np.zeros(block.shape, bool) if len(found) > 1 else None
    size = 0
    for number in found:
        box = pieces[int(number)]
        begin, sides = box.begin, box.shape[axis + 1 :]
        first, last = max(low, begin[axis]), min(high, begin[axis] + box.shape[axis])
        rest = [slice(a, a + n) for a, n in zip(begin[axis + 1 :], sides, strict=True)]
        target = (slice(first - low, last - low), *rest)
        at = _flat(box, (*prefix, first))
        data = box.load(at, at + (last - first) * math.prod(sides))
        block[target] = data.reshape(last - first, *sides)
        size = data.size
        if filled is not None:
            filled[target] = True
    return size == block.size if filled is None else bool(filled.all())


def _flat(box: Box, index: tuple[int, ...]) -> int:
    """The row-major place in a box of the entry whose first indexes in the whole are these."""
    place = 0
    for axis, side in enumerate(box.shape):
        place = place * side + (index[axis] - box.begin[axis] if axis < len(index) else 0)
    return place
