"""Reading pieces of files, from any thread; arrays in this machine's byte order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError


def read_at(path: Path, offset: int, size: int) -> memoryview:
    """Bytes [offset, offset + size) of a file, fewer where it ends."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = max(0, min(size, os.fstat(file.fileno()).st_size - offset))
            data = np.empty(size, np.uint8).data  # not zeroed, as a bytearray is
            file.seek(offset)
            done = 0
            while done < size and (count := file.readinto(data[done:])):
                done += count
            return data[:done]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's byte order."""
    return array.astype(native_dtype(array.dtype), copy=False)


def native_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in this machine's byte order."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def plural(count: int, noun: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
