"""The header of a GGUF file: metadata, and where each tensor lies.

A file begins with ``GGUF``, a version and two counts; then come the metadata (keys with numbers,
texts or arrays), an entry for each tensor (name, sides from the fastest to the slowest, type,
offset) and, from the next multiple of the alignment on, the tensors' bytes
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Version 1 counts in 32 bits, versions
2 and 3 in 64; a file of the other byte order tells itself by its version number.

Arrays of the metadata are passed over: a vocabulary can have hundreds of thousands of texts. What
the header claims is checked against the size of the file before it is believed.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any

from kolmo.checkpoints.ggml_cursor import HeaderCursor, damaged
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

MAGIC = b"GGUF"

_WEIGHTS = 1 << 60  # weights of a tensor, at most, and of an empty one beside its empty axes

_TEXT_TYPE, _ARRAY_TYPE = 8, 9
_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """A tensor as the header describes it.

    ``shape`` is row-major, the reverse of the order in the file; ``type`` is ggml's number of its
    type, ``offset`` counts from the start of the tensors' bytes.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def numel(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class GGUFHeader:
    """What a header says: ``big`` is the byte order, ``start`` where the tensors' bytes begin.

    Of the metadata it has the numbers and the short texts.
    """

    version: int
    big: bool
    metadata: dict[str, Any]
    entries: list[TensorInfo]
    start: int


def read_header(stored: Stored) -> GGUFHeader:
    """The header of a file.

    Raises
    ------
    InputError
        If it is no GGUF file, of an unknown version, damaged or truncated.
    """
    cursor = HeaderCursor(stored)
    if bytes(cursor.take(4)) != MAGIC:
        raise InputError(f"{stored.where}: not a GGUF file")
    version, big = _version(cursor)
    count, keys = cursor.length(), cursor.length()
    metadata: dict[str, Any] = {}
    for _ in cursor.items(keys, cursor.width + 5, "metadata entries"):
        _read_pair(cursor, metadata)
    entries: dict[str, TensorInfo] = {}
    for _ in cursor.items(count, cursor.width + 16, "tensors"):
        _read_entry(cursor, entries)
    step = _alignment(stored, metadata)
    return GGUFHeader(version, big, metadata, list(entries.values()), -(-cursor.at // step) * step)


def _version(cursor: HeaderCursor) -> tuple[int, bool]:
    """The version, and whether the file is big-endian; the cursor reads that order afterwards."""
    data = bytes(cursor.take(4))
    little, big = int.from_bytes(data, "little"), int.from_bytes(data, "big")
    is_big = not little & 0xFFFF
    version = big if is_big else little
    if not 1 <= version <= 3:
        raise InputError(
            f"{cursor.stored.where}: a GGUF file of version {version:,}, or damaged at its start; "
            f"versions 1, 2 and 3 are read"
        )
    cursor.set_form(is_big, 4 if version == 1 else 8)
    return version, is_big


def _read_pair(cursor: HeaderCursor, metadata: dict[str, Any]) -> None:
    key, kind = cursor.text(), cursor.number("I")
    if key in metadata:
        raise damaged(cursor.stored, f"its metadata have {key[:200]!r} twice")
    metadata[key] = _read_value(cursor, kind)


def _read_value(cursor: HeaderCursor, kind: int) -> Any:
    """A number or a short text; None of a long text and of an array, which are passed over."""
    if kind in _NUMBERS:
        return cursor.number(_NUMBERS[kind])
    if kind == _TEXT_TYPE:
        return cursor.short_text()
    if kind == _ARRAY_TYPE:
        return _skip_array(cursor, 0)
    raise damaged(cursor.stored, f"its metadata have a value of the unknown type {kind:,}")


def _skip_array(cursor: HeaderCursor, depth: int) -> None:
    kind, count = cursor.number("I"), cursor.length()
    if kind in _NUMBERS:
        cursor.skip(count * struct.calcsize(f"={_NUMBERS[kind]}"))
    elif kind == _TEXT_TYPE:
        cursor.skip_texts(count)
    elif kind == _ARRAY_TYPE and depth < AXES:
        for _ in cursor.items(count, cursor.width + 4, "arrays"):
            _skip_array(cursor, depth + 1)
    else:
        raise damaged(cursor.stored, f"its metadata have an array of the unknown type {kind:,}")


def _read_entry(cursor: HeaderCursor, entries: dict[str, TensorInfo]) -> None:
    name, axes = cursor.text(), cursor.number("I")
    if name in entries:
        raise damaged(cursor.stored, f"two of its tensors have the name {name[:200]!r}")
    if axes > AXES:
        raise damaged(cursor.stored, f"its tensor {name[:200]!r} claims {axes:,} axes")
    sides = [cursor.length() for _ in range(axes)]
    if math.prod(side or 1 for side in sides) >= _WEIGHTS:
        raise damaged(cursor.stored, f"its tensor {name[:200]!r} claims the sides {sides}")
    kind, offset = cursor.number("I"), cursor.number("Q")
    entries[name] = TensorInfo(name, tuple(reversed(sides)), kind, offset)


def _alignment(stored: Stored, metadata: dict[str, Any]) -> int:
    step = metadata.get("general.alignment", 32)
    if not isinstance(step, int) or step < 1 or step & (step - 1):
        raise damaged(stored, f"its alignment of {step!r} is no power of two")
    return step
