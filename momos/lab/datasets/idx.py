"""idx files, the format of MNIST: a header of four bytes and the sides, then unsigned bytes."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError

_LIMIT = 1 << 30  # bytes of an idx file at most, unpacked
_PIECE = 1 << 20


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, gzipped or not.

    Raises
    ------
    InputError
        Unless the file is exactly as long as its header says.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels-idx1-ubyte"
    ...     _ = path.write_bytes(b"\\0\\0\\x08\\1" b"\\0\\0\\0\\3" b"\\7\\2\\1")
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else raw as file:
                return _parse(path, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated gzip data ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_pair(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images, shape (count, height, width), and labels of a part, ``train`` or ``t10k``.

    Raises
    ------
    InputError
        For a file that is missing or damaged, or two that do not belong together.
    """
    images = read_idx(_find(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1] or images.size == 0:
        raise InputError(
            f"{folder}: the {part} files hold images of shape {list(images.shape)} and labels of "
            f"shape {list(labels.shape)}, which do not belong together"
        )
    return images, labels


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder}: there is no {name}, nor {name}.gz; put it there, or fetch it")


def _parse(path: Path, file: IO[bytes] | Any) -> NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
        raise InputError(f"{path}: not an idx file of unsigned bytes")
    sides = file.read(4 * magic[3])
    if len(sides) != 4 * magic[3]:
        raise InputError(f"{path}: the file ends within its header")
    shape = tuple(int(side) for side in np.frombuffer(sides, ">u4"))
    size = math.prod(shape)
    if size > _LIMIT:
        raise InputError(f"{path}: the header claims {size:,} bytes, over the limit of 1 GiB")
    data = bytearray()
    while len(data) <= size and (piece := file.read(min(_PIECE, size + 1 - len(data)))):
        data += piece
    if len(data) != size:
        held = "more" if len(data) > size else f"{len(data):,}"
        raise InputError(f"{path}: the header claims {size:,} bytes, the file holds {held}")
    return np.frombuffer(data, np.uint8).reshape(shape)
