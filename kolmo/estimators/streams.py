"""Symbols cut into streams of blocks that no tensor's border divides."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.estimators.spool import Spool
from kolmo.symbols import Alphabet, Symbols

Keys = NDArray[Any]

KEY_BITS = 64
"""Bits of the largest block that is a number of its own."""

_CHUNK = 1 << 20  # symbols that are looked at together


@dataclasses.dataclass(frozen=True)
class Cut:
    """How blocks are cut: their sizes, each twice the one before, or a single size.

    >>> Cut((1, 2, 4, 8, 16, 32), 16).base, Cut((12,), 8).base, Cut((12,), 8).width
    (4, 8, 16)
    """

    sizes: tuple[int, ...]
    bits: int

    @functools.cached_property
    def base(self) -> int:
        """Symbols of the largest block that is a number; larger ones are made of such."""
        fitting = [size for size in self.sizes if size * self.bits <= KEY_BITS]
        return fitting[-1] if fitting else max(1, KEY_BITS // self.bits)

    @functools.cached_property
    def width(self) -> int:
        """Symbols that are stored for each of the largest blocks: a power of two times `base`,
        which a single size may have to be padded to."""
        width = self.base
        while width < self.sizes[-1]:
            width *= 2
        return width


class BlockStreams:
    """The symbols of all tensors, in a stream for each size.

    The stream of the largest size has as many blocks as a tensor holds, that of each smaller size
    the one that is left at a tensor's end, if any. All blocks of a size are then the parts of the
    streams of this size and larger ones; what is in no block of the smallest size is left out.

    >>> streams = BlockStreams([7], Cut((1, 2, 4), 8), Alphabet(256))
    >>> streams.update(np.arange(7, dtype=np.uint8))
    >>> {size: [c.tolist() for c in s.chunks(8)] for size, s in streams.spools.items()}
    {1: [[6]], 2: [[4, 5]], 4: [[0, 1, 2, 3]]}
    """

    def __init__(self, numels: Sequence[int], cut: Cut, alphabet: Alphabet) -> None:
        self.cut, self._dtype = cut, alphabet.container
        self.numel = sum(numels)
        self._numels = iter([numel for numel in numels if numel])
        self._left = 0  # symbols that the current tensor still lacks
        self._tail: Symbols = np.empty(0, self._dtype)
        self.spools: dict[int, Spool] = {}  # by symbols that are stored for a block
        for size in cut.sizes[:-1]:
            left = sum(numel // size % 2 for numel in numels)
            self.spools[size] = Spool(self._dtype, left * size)
        whole = sum(numel // cut.sizes[-1] for numel in numels)
        self.spools[cut.width] = Spool(self._dtype, whole * cut.width)

    def update(self, symbols: Symbols) -> None:
        while symbols.size:
            self._left = self._left or next(self._numels)
            piece, symbols = symbols[: self._left], symbols[self._left :]
            self._left -= piece.size
            self._take(piece)
            if not self._left:
                self._end_tensor()

    def of(self, size: int) -> list[Spool]:
        """The streams that hold blocks of this size, as they are stored."""
        return [spool for width, spool in self.spools.items() if width >= size and spool.size]

    def blocks(self, size: int) -> int:
        return sum(spool.size // size for spool in self.of(size))

    def keys(self, size: int) -> Iterator[Keys]:
        """The keys of all blocks of a size."""
        for spool in self.of(size):
            for chunk in spool.chunks(step_of(size)):
                yield pack(chunk, size, self.cut.bits)

    def close(self) -> None:
        for spool in self.spools.values():
            spool.close()

    def _take(self, piece: Symbols) -> None:
        """Put aside blocks of the largest size, and keep what is left for later."""
        size, width = self.cut.sizes[-1], self.cut.width
        if self._tail.size:
            piece = np.concatenate([self._tail, piece])
        end = piece.size // size * size
        self._tail = piece[end:].astype(self._dtype)
        blocks = piece[:end]
        if width > size:
            blocks = np.pad(blocks.reshape(-1, size), ((0, 0), (0, width - size))).reshape(-1)
        self.spools[width].append(blocks)

    def _end_tensor(self) -> None:
        tail, self._tail = self._tail, self._tail[:0]
        for size in self.cut.sizes[-2::-1]:
            if tail.size >= size:
                self.spools[size].append(tail[:size])
                tail = tail[size:]


def step_of(size: int) -> int:
    """Symbols that are looked at together: whole blocks of this size."""
    return max(1, _CHUNK // size) * size


def pack(symbols: Symbols, size: int, bits: int) -> Keys:
    """The keys of blocks of ``size`` symbols of so many bits.

    Symbols that fill their dtype are a key as they lie in memory, the first one lowest; of others
    the first is the highest.

    >>> pack(np.uint8([1, 2, 3, 0]), 2, 4).tolist()
    [18, 48]
    >>> pack(np.uint8([1, 2, 3, 0]), 4, 8).tolist() == [1 + (2 << 8) + (3 << 16)]
    True
    """
    from kolmo.estimators import kernels_mosaic as kernels

    dtype, width = key_dtype(size, bits), symbols.itemsize
    if bits == 8 * width and size * width == dtype.itemsize and symbols.dtype.isnative:
        return symbols[: symbols.size // size * size].view(dtype)
    keys = np.empty(symbols.size // size, dtype)
    kernels.pack_keys(symbols, size, bits, keys)
    return keys


def key_dtype(size: int, bits: int) -> np.dtype[Any]:
    """The dtype of the keys of such blocks."""
    return np.dtype(np.uint32 if size * bits <= 32 else np.uint64)
