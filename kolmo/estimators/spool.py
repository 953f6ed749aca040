"""Arrays put aside and read again in order: in memory while they are small, else in a file."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import NotApplicableError
from kolmo.temporary import nameless_file

HELD = 1 << 25
"""Most bytes that are kept in memory."""

Items = NDArray[Any]


class Spool:
    """A sequence of items that is written once, and then read as often as need be.

    The file has no name where the system allows it, so that it vanishes with the process, however
    that ends. It lies in the system's temporary folder (``TMPDIR``).

    Parameters
    ----------
    dtype : numpy dtype
    most : int
        Items that will be written, at most.

    Examples
    --------
    >>> spool = Spool(np.dtype(np.uint8), 4)
    >>> spool.append(np.uint8([1, 2, 3])); spool.append(np.uint8([4]))
    >>> [chunk.tolist() for chunk in spool.chunks(3)], spool.size
    ([[1, 2, 3], [4]], 4)
    """

    def __init__(self, dtype: np.dtype[Any], most: int) -> None:
        self.dtype, self.size = dtype, 0
        held = most * dtype.itemsize <= HELD
        self._room: Items = np.empty(most if held else 0, dtype)  # taken as it is written
        self._file: Any = None if held else nameless_file()
        if self._file:
            weakref.finalize(self, self._file.close)

    def append(self, items: Items) -> None:
        """Write the next items."""
        if self._file is None:
            self._room[self.size : self.size + items.size] = items
        else:
            self._file.seek(self.size * self.dtype.itemsize)
            self._file.write(np.ascontiguousarray(items, self.dtype).data)
        self.size += items.size

    def chunks(self, step: int) -> Iterator[Items]:
        """All items in order, ``step`` at a time; each chunk is valid until the next one."""
        starts = range(0, self.size, step)
        if self._file is None:
            yield from (self._room[start : min(start + step, self.size)] for start in starts)
            return
        buffer = np.empty(min(step, self.size), self.dtype)
        for start in starts:
            size = min(step, self.size - start)
            self._read(start, buffer[:size])
            yield buffer[:size]

    def _read(self, start: int, chunk: Items) -> None:
        """Fill the chunk; several readers may take turns, so that each says where it is."""
        self._file.seek(start * self.dtype.itemsize)
        if self._file.readinto(chunk.data) != chunk.nbytes:
            raise OSError("a temporary file was cut short")

    def close(self) -> None:
        """Give the memory or the file back."""
        self._room = np.empty(0, self.dtype)
        if self._file is not None:
            self._file.close()


def check_room(size: int, what: str) -> None:
    """Raise NotApplicableError if the temporary folder has no room for so many bytes.

    >>> check_room(0, "mosaic")
    """
    if not size:
        return
    folder = tempfile.gettempdir()
    if size > (free := shutil.disk_usage(folder).free):
        raise NotApplicableError(
            f"{what}: puts up to {size >> 20:,} MiB in {folder}, where {free >> 20:,} MiB are free;"
            f" name a roomier folder in TMPDIR"
        )
