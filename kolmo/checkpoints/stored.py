"""Bytes that are read when asked, and arrays that lie in them at any strides.

A reader states where a tensor lies; nothing is read, and nothing allocated, until its weights are
wanted, and then no more than a piece at a time, whatever shape and strides a file claims.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import belongs
from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.files import LocalFile, native, native_dtype
from kolmo.checkpoints.places import Place, footprint, merged
from kolmo.checkpoints.views import View, entries
from kolmo.dtypes import PARTS
from kolmo.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """A run of bytes: ``fetch(offset, size)`` reads from what holds them, from any thread.

    ``where`` names the file, ``what`` what of it these bytes are. ``gather`` is told of ranges
    that are read soon, so that a far file gets them at once.
    """

    fetch: Callable[[int, int], bytes | bytearray | memoryview]
    offset: int
    size: int
    where: str
    what: str = "its values"
    gather: Callable[[list[tuple[int, int]]], None] | None = None

    def expect(self, places: list[tuple[int, int]]) -> None:
        """The places (offset, size) that are read soon; nothing is fetched from near files."""
        if self.gather:
            ends = [(offset, min(offset + size, self.size)) for offset, size in places]
            self.gather([(self.offset + begin, end - begin) for begin, end in ends if end > begin])

    def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Exactly these bytes; InputError if they are not there."""
        self._check(offset, size)
        data = self.fetch(self.offset + offset, size)
        self._check_whole(len(data), size)
        return data

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill ``out`` with the bytes from an offset; InputError if they are not there."""
        into = getattr(self.fetch, "into", None)
        if into is None:
            out[:] = self.read(offset, len(out))
            return
        self._check(offset, len(out))
        self._check_whole(into(self.offset + offset, out), len(out))

    def part(self, offset: int, size: int) -> Stored:
        """These bytes of it, unread; InputError if it is not that long."""
        self._check(offset, size)
        return dataclasses.replace(self, offset=self.offset + offset, size=size)

    def array(self, first: int, last: int) -> NDArray[np.uint8]:
        """Bytes [first, last) as numbers."""
        return np.frombuffer(self.read(first, last - first), np.uint8)

    def open(self) -> io.BufferedReader:
        """The bytes as a file, for libraries that read one."""
        return io.BufferedReader(_StoredFile(self))

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise InputError(f"{self.where}: the file is shorter than it claims")

    def _check_whole(self, count: int, size: int) -> None:
        if count != size:
            raise InputError(f"{self.where}: the file ends within {self.what}; was it changed?")


class _StoredFile(io.RawIOBase):
    def __init__(self, stored: Stored) -> None:
        self._stored, self._at = stored, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._stored.size}[whence]
        if base + offset < 0:
            raise OSError("a negative place in a file")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._stored.size - self._at))
        if size:
            self._stored.read_into(self._at, memoryview(buffer)[:size])
        self._at += size
        return size


def file_bytes(path: Path) -> Stored:
    """All bytes of a file, unread."""
    file = LocalFile(path)
    belongs(str(path), file.size)
    return Stored(file, 0, file.size, str(path))


def memory_bytes(data: bytes, where: str) -> Stored:
    """Bytes that are in memory."""
    view = memoryview(data)
    return Stored(lambda offset, size: view[offset : offset + size], 0, len(data), where)


def stored_tensor(
    stored: Stored, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int = 0
) -> WeightTensor:
    """A row-major tensor whose bytes begin at an offset; InputError if they are not all there."""
    size = math.prod(shape) * dtype.itemsize
    values = dataclasses.replace(stored.part(offset, size), what=f"tensor {name!r}")

    return WeightTensor(name, shape, native_dtype(dtype), PlainLoad(values, dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class PlainLoad:
    """Reads entries that lie one after the other, as ``dtype``, which may be of either byte order.

    ``load(start, stop)`` gives a fresh array, ``load.into(start, stop, out)`` fills one.
    """

    values: Stored
    dtype: np.dtype[Any]

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        size = self.dtype.itemsize
        data = self.values.read(start * size, (stop - start) * size)
        return native(np.frombuffer(data, self.dtype))

    @property
    def is_near(self) -> bool:
        """Whether the file is one of this machine."""
        return hasattr(self.values.fetch, "into")

    def offset(self, start: int) -> int:
        """The byte of the file at which the entries from ``start`` on begin."""
        return self.values.offset + start * self.dtype.itemsize

    def into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Fill ``out``, in this machine's byte order."""
        size = self.dtype.itemsize
        self.values.read_into(start * size, out.view(np.uint8).data)
        if not self.dtype.isnative:
            out.view(f"u{size}").byteswap(inplace=True)


# --- arrays in them -------------------------------------------------------------------------


class Storage:
    """The bytes behind tensors; ``stored`` comes later where a file gives it last.

    ``dtype`` is torch's name of its entries' dtype, ``big`` says that the bytes of each come in
    big-endian order.
    """

    def __init__(self, stored: Stored | None, dtype: str = "", big: bool = False) -> None:
        self.stored, self.dtype, self.big = stored, dtype, big


@dataclasses.dataclass(frozen=True, eq=False)
class Strided:
    """An array in a storage: shape, and strides and offset in entries.

    ``dtype`` is native; ``negated`` says that the values are those stored times -1.
    """

    storage: Storage
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    negated: bool = False

    @property
    def numel(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        """One past the last entry of the storage that it reaches; 0 where it has none."""
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((n - 1) * s for n, s in steps) + 1 if self.numel else 0

    @property
    def place(self) -> Place | None:
        """Where its values lie; None where it has none."""
        stored, size = self.storage.stored, self.dtype.itemsize
        if stored is None or not self.numel:
            return None
        begin = stored.offset + self.offset * size
        sides = footprint(self.shape, [stride * size for stride in self.strides])
        return Place(id(stored.fetch), begin, sides, self.dtype.name, size, self.negated)

    def in_parts(self) -> Strided:
        """Of complex numbers, their real and imaginary parts along a last axis."""
        return dataclasses.replace(
            self,
            dtype=PARTS[self.dtype.name],
            shape=(*self.shape, 2),
            strides=(*(2 * step for step in self.strides), 1),
            offset=2 * self.offset,
        )

    @property
    def loader(self) -> Callable[[int, int], NDArray[Any]]:
        """What reads it: `load`, or a `PlainLoad` where its entries lie one after the other."""
        dims, stored = merged(self.shape, self.strides), self.storage.stored
        is_plain = dims in ([], [(self.numel, 1)]) and not (self.negated or self.storage.big)
        if stored is None or not (is_plain and self.numel):
            return self.load
        size = self.dtype.itemsize
        return PlainLoad(
            stored.part(self.offset * size, self.numel * size), self.dtype.newbyteorder("<")
        )

    def load(self, start: int, stop: int) -> NDArray[Any]:
        """Entries [start, stop) in row-major order."""
        if start == stop:
            return np.empty(0, self.dtype)
        dims, size = merged(self.shape, self.strides), self.dtype.itemsize
        stored = self.storage.stored
        assert stored is not None

        def read(first: int, count: int) -> NDArray[Any]:
            return _decoded(stored.read((self.offset + first) * size, count * size), self)

        if dims in ([], [(self.numel, 1)]):
            values = read(start, stop - start)
        else:
            values = entries(View(self, read, dims, self.dtype), start, stop)
        return np.asarray(-values) if self.negated else values


def _decoded(data: bytes | bytearray | memoryview, array: Strided) -> NDArray[Any]:
    """Bytes as entries, in this machine's order."""
    size = array.dtype.itemsize
    bits = np.frombuffer(data, f"{'>' if array.storage.big else '<'}u{size}")
    return bits.astype(f"=u{size}", copy=False).view(array.dtype)
