"""Arrays that are stored in chunks of a grid, as HDF5 and zarr do: any run of entries, lazily.

A chunk is decoded when entries of it are wanted. What was decoded last is kept, up to `KEPT`
bytes in all, so that reading an array from its first entry to its last decodes each chunk once;
where a row of chunks is larger than that, the array is unpacked once to a temporary file.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.compressed import kept_file
from kolmo.checkpoints.recent import Box, Recent, boxes
from kolmo.checkpoints.stored import Stored
from kolmo.temporary import nameless_file


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """An array in chunks.

    ``decode(index)`` gives the chunk of these coordinates in the grid as an array of the shape
    ``chunk``, or None where the file has none and all entries are ``fill``.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype[Any]
    decode: Callable[[tuple[int, ...]], NDArray[Any] | None]
    fill: Any
    recent: Recent

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """Entries [start, stop) in row-major order."""
        if self._slab > self.recent.budget:
            size = self.dtype.itemsize
            data = self._unpacked.read(start * size, (stop - start) * size)
            return np.frombuffer(data, self.dtype)
        parts = [self.box(box).reshape(-1) for box in boxes(self.shape, start, stop)]
        return np.concatenate(parts) if parts else np.empty(0, self.dtype)

    def box(self, box: Box) -> NDArray[Any]:
        """The entries of a box."""
        made = np.full([end - first for first, end in box], self.fill, self.dtype)
        for index in self._chunks(box):
            chunk = self._decoded(index)
            if chunk is not None:
                into, of = self._overlap(box, index)
                made[into] = chunk[of]
        return made

    @property
    def _slab(self) -> int:
        """Bytes of all chunks that a row reaches."""
        sides = [math.ceil(n / c) * c for n, c in zip(self.shape[1:], self.chunk[1:], strict=True)]
        return math.prod([*self.chunk[:1], *sides]) * self.dtype.itemsize

    @cached_property
    def _unpacked(self) -> Stored:
        """All entries in row-major order, in a file without a name; holes where chunks lack."""
        size = math.prod(self.shape) * self.dtype.itemsize
        with nameless_file() as spool:
            spool.truncate(size)
            for index in self._chunks(tuple((0, side) for side in self.shape)):
                chunk = self.decode(index)
                chunk = self._filled() if chunk is None else chunk
                if chunk is not None:
                    self._put(spool, index, chunk)
            spool.flush()
            return kept_file(spool, size, "an array unpacked to a temporary file")

    def _filled(self) -> NDArray[Any] | None:
        """A missing chunk; None if it is of zeros, as are the holes of a file."""
        fill = np.full((1,) * len(self.shape), self.fill, self.dtype)
        return np.broadcast_to(fill, self.chunk) if any(fill.tobytes()) else None

    def _put(self, spool: Any, index: tuple[int, ...], chunk: NDArray[Any]) -> None:
        whole = tuple((0, side) for side in self.shape)
        into, of = self._overlap(whole, index)
        inside = chunk[of]
        steps = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        first = [part.start for part in into]
        for row in np.ndindex(inside.shape[:-1]):
            at = sum((a + b) * s for a, b, s in zip(first, (*row, 0), steps, strict=True))
            spool.seek(at * self.dtype.itemsize)
            spool.write(np.ascontiguousarray(inside[row]).tobytes())

    def _decoded(self, index: tuple[int, ...]) -> NDArray[Any] | None:
        found = self.recent.get((id(self), index), lambda: self._made(index))
        return found if found.ndim == len(self.shape) else None

    def _made(self, index: tuple[int, ...]) -> NDArray[Any]:
        chunk = self.decode(index)
        return np.empty((0,) * (len(self.shape) + 1)) if chunk is None else chunk

    def _chunks(self, box: Box) -> Iterator[tuple[int, ...]]:
        """The grid's coordinates of the chunks that a box reaches."""
        sides = zip(box, self.chunk, strict=True)
        return itertools.product(*[range(a // c, -(-b // c)) for (a, b), c in sides])

    def _overlap(
        self, box: Box, index: tuple[int, ...]
    ) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where a chunk lies in a box, and which part of the chunk that is."""
        into, of = [], []
        for (first, end), at, side in zip(box, index, self.chunk, strict=True):
            low, high = max(first, at * side), min(end, (at + 1) * side)
            into.append(slice(low - first, high - first))
            of.append(slice(low - at * side, high - at * side))
        return tuple(into), tuple(of)
