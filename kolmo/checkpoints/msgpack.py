"""msgpack (https://github.com/msgpack/msgpack): maps and lists; long bytes stay in the file."""

from __future__ import annotations

import dataclasses
import io
import struct
from typing import Any

from kolmo.checkpoints.allowance import allowance_for
from kolmo.checkpoints.stored import Stored

_DEPTH = 256
_KEPT = 1 << 16  # bytes that are read at once; longer ones stay in the file

_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
            0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4,
            0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}  # fmt: skip


class MsgpackError(ValueError):
    """The bytes are not sound msgpack."""


@dataclasses.dataclass(frozen=True, eq=False)
class Extension:
    """A value of a kind that a program defines, by its number; its bytes are not read."""

    code: int
    stored: Stored


def unpack(stored: Stored) -> Any:
    """The value in these bytes: dicts, lists, numbers, text, bytes (a `Stored` if they are many)
    and `Extension`.

    Raises
    ------
    ValueError
        If they are damaged, hold more than a model's description would, or go on after it.
    """
    unpacker = _Unpacker(stored)
    value = unpacker.value(0)
    if unpacker.at != stored.size:
        raise MsgpackError("it goes on after its end")
    return value


class _Unpacker:
    def __init__(self, stored: Stored) -> None:
        self._stored, self.at = stored, 0
        self._allowance = allowance_for(stored.where, stored.size)
        self._file: io.BufferedReader = stored.open()

    def value(self, depth: int) -> Any:
        """The next value."""
        first = self._take(1)[0]
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 0x100
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        if first in _NUMBERS:
            form = _NUMBERS[first]
            return struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if 0xD4 <= first <= 0xD8:
            return self._extension(1 << first - 0xD4)
        size = self._size(first)
        if first < 0x90 or first in (0xDE, 0xDF):
            return self._map(size, depth)
        if first < 0xA0 or first in (0xDC, 0xDD):
            return [self.value(depth + 1) for _ in self._counted(size, depth)]
        if first < 0xC0 or first in (0xD9, 0xDA, 0xDB):
            return self._text(size)
        return self._extension(size) if first >= 0xC7 else self._bytes(size)

    def _size(self, first: int) -> int:
        if first < 0xC0:
            return first & (0x1F if first >= 0xA0 else 0x0F)
        if first not in _LENGTHS:
            raise MsgpackError("not msgpack")
        return int.from_bytes(self._take(_LENGTHS[first]), "big")

    def _map(self, size: int, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for _ in self._counted(size, depth):
            key = self.value(depth + 1)
            if isinstance(key, bytes):
                key = key.decode("utf-8", "replace")
            if not isinstance(key, (str, int, float, type(None))) or key in found:
                raise MsgpackError("a map whose keys are no names")
            found[key] = self.value(depth + 1)
        return found

    def _counted(self, size: int, depth: int) -> range:
        if depth > _DEPTH or size > self._stored.size - self.at:
            raise MsgpackError("more than such a file can hold")
        self._allowance.charge(size)
        return range(size)

    def _text(self, size: int) -> str:
        if size > _KEPT:
            raise MsgpackError("a very long text")
        return self._take(size).decode("utf-8", "replace")

    def _bytes(self, size: int) -> bytes | Stored:
        return self._take(size) if size <= _KEPT else self._skip(size)

    def _extension(self, size: int) -> Extension:
        code = self._take(1)[0]
        return Extension(code, self._skip(size))

    def _skip(self, size: int) -> Stored:
        if size > self._stored.size - self.at:
            raise MsgpackError("it ends early")
        part = self._stored.part(self.at, size)
        self.at += size
        self._file.seek(self.at)
        return part

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise MsgpackError("it ends early")
        self.at += size
        return data
