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
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.compressed import kept_file
from kolmo.checkpoints.recent import Box, Recent, boxes
from kolmo.checkpoints.stored import Stored
from kolmo.checkpoints.views import View, in_blocks, part_of
from kolmo.temporary import nameless_file


@dataclasses.dataclass(frozen=True)
class _Unpacked:
    """Chunks in a file, and the entries before each."""

    stored: Stored
    places: dict[tuple[int, ...], int]

    def entries(self, dtype: np.dtype[Any], place: int, first: int, count: int) -> NDArray[Any]:
        """Some of a chunk."""
        size = dtype.itemsize
        return np.frombuffer(self.stored.read((place + first) * size, count * size), dtype)


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
            key = self, "blocks"
            return in_blocks(self.shape, self.dtype, self._spooled, start, stop, self.recent, key)
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
    def _unpacked(self) -> _Unpacked:
        """All chunks, one after the other, in a file without a name."""
        places: dict[tuple[int, ...], int] = {}
        with nameless_file() as spool:
            for index in self._chunks(tuple((0, side) for side in self.shape)):
                chunk = self.decode(index)
                if chunk is not None:
                    places[index] = spool.tell() // self.dtype.itemsize
                    spool.write(np.ascontiguousarray(chunk).tobytes())
            spool.flush()
            stored = kept_file(spool, spool.tell(), "an array unpacked to a temporary file")
        return _Unpacked(stored, places)

    def _spooled(self, box: Box) -> NDArray[Any]:
        """The entries of a box, of the chunks in that file."""
        made = np.full([end - first for first, end in box], self.fill, self.dtype)
        steps = [math.prod(self.chunk[axis + 1 :]) for axis in range(len(self.chunk))]
        sides = list(zip(self.chunk, steps, strict=True))
        for index in self._chunks(box):
            if (place := self._unpacked.places.get(index)) is not None:
                into, of = self._overlap(box, index)
                read = partial(self._unpacked.entries, self.dtype, place)
                view = View(self, read, sides, self.dtype)
                made[into] = part_of(view, tuple((part.start, part.stop) for part in of))
        return made

    def _decoded(self, index: tuple[int, ...]) -> NDArray[Any] | None:
        found = self.recent.get((self, index), lambda: self._made(index))
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
