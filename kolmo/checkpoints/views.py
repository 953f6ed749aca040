"""Arrays at any strides, each byte of which is read about once, in whatever order they lie.

A box of an array is read along its longest strides first: in one run where there are no gaps to
speak of, else axis by axis. Of a transposed array a run of entries reaches through the whole file,
so that a block of many runs is read at once, and kept while the others are asked for.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import weakref
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.recent import Box, Recent, boxes

_BLOCK = 1 << 24  # bytes of a transposed array that are read at once
_SPAN = 1 << 24  # bytes that are read at once, gaps included
_GAP = 1 << 12  # bytes that are sooner read than left out

_recent = Recent()


@dataclasses.dataclass(frozen=True)
class View:
    """An array in a run of entries.

    ``read(first, count)`` gives entries of the run; ``sides`` are pairs (side, stride), strides in
    entries. ``owner`` is what blocks that were read are kept for, as long as it is there.
    """

    owner: Any
    read: Callable[[int, int], NDArray[Any]]
    sides: Sequence[tuple[int, int]]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""
        return tuple(side for side, _ in self.sides)

    @property
    def is_in_order(self) -> bool:
        """Whether what comes later in it lies later in the file, or at the same places."""
        return all(a >= b for (_, a), (_, b) in itertools.pairwise(self.sides))


def entries(view: View, start: int, stop: int) -> NDArray[Any]:
    """Entries [start, stop) of a view in row-major order."""
    part = partial(part_of, view)
    if view.is_in_order:
        return _joined(view.shape, part, start, stop)
    return in_blocks(view.shape, view.dtype, part, start, stop, _recent, weakref.ref(view.owner))


def in_blocks(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    part: Callable[[Box], NDArray[Any]],
    start: int,
    stop: int,
    recent: Recent,
    key: Hashable,
) -> NDArray[Any]:
    """Entries [start, stop) of an array of which ``part`` gives any box, a block at a time; the
    last blocks are kept by the array's key."""
    block = _block(shape, dtype.itemsize)
    if stop - start >= block:
        return _joined(shape, part, start, stop)
    numel, found = math.prod(shape), []
    for at in range(start // block * block, stop, block):
        kept = recent.get((key, at), partial(_joined, shape, part, at, min(at + block, numel)))
        found.append(kept[max(start - at, 0) : stop - at])
    return np.concatenate(found)


def _block(shape: tuple[int, ...], size: int) -> int:
    """Entries of a block: whole rows, or whole rows of rows, if they are not too many."""
    most = max(1, _BLOCK // size)
    rows = [math.prod(shape[axis:]) for axis in range(len(shape) + 1)]
    row = next(row for row in rows if row <= most)
    return most // row * row


def _joined(
    shape: tuple[int, ...], part: Callable[[Box], NDArray[Any]], start: int, stop: int
) -> NDArray[Any]:
    found = [part(box).reshape(-1) for box in boxes(shape, start, stop)]
    return found[0] if len(found) == 1 else np.concatenate(found)


def part_of(view: View, box: Box) -> NDArray[Any]:
    """The entries of a box."""
    strides = [stride for _, stride in view.sides]
    made = np.empty([end - first for first, end in box], view.dtype)
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    first = sum(begin * stride for (begin, _), stride in zip(box, strides, strict=True))
    _fill(view, first, made.transpose(order), [strides[axis] for axis in order])
    return made


def _fill(view: View, first: int, out: NDArray[Any], strides: Sequence[int]) -> None:
    """Read what lies at these strides, the longest first, from an entry of the run on."""
    while out.ndim and len(out) == 1:
        out, strides = out[0, ...], strides[1:]
    size, span = view.dtype.itemsize, _span(out.shape, strides)
    if not out.ndim or (span * size <= _SPAN and _is_dense(out, strides, size)):
        steps = [stride * size for stride in strides]
        run = np.ascontiguousarray(view.read(first, span)).view(np.uint8)
        out[...] = np.ndarray(out.shape, view.dtype, run.data, strides=steps)
        return
    inner = _span(out.shape[1:], strides[1:])
    rows = 1 if strides[0] - inner > _GAP // size else max(1, (_SPAN // size - inner) // strides[0])
    rows = min(rows, -(-len(out) // 2))
    for at in range(0, len(out), rows):
        _fill(view, first + at * strides[0], out[at : at + rows], strides)


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
    return 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))


def _is_dense(out: NDArray[Any], strides: Sequence[int], size: int) -> bool:
    """Whether no axis leaves gaps that are worth a read of their own."""
    inner = [_span(out.shape[axis:], strides[axis:]) for axis in range(1, out.ndim + 1)]
    return all(step - held <= _GAP // size for step, held in zip(strides, inner, strict=True))
