"""msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md), read as data, without copies.

Long byte strings are not read: they are `Stored`, which tells where they lie.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

from kolmo.checkpoints.cursor import FieldCursor
from kolmo.checkpoints.stored import Stored

_SHORT = 256  # bytes of a byte string that is read at once
_DEEP = 64  # containers within containers
_MOST = 1 << 24  # values of a file, of which each takes some memory

_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b",
            0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}  # fmt: skip
_BYTES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
_TEXTS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_LISTS = {0xDC: ">H", 0xDD: ">I"}
_MAPS = {0xDE: ">H", 0xDF: ">I"}
_EXTENSIONS = {0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


@dataclasses.dataclass(frozen=True)
class Extension:
    """A value of a type of the application's own."""

    code: int
    stored: Stored


def read_msgpack(stored: Stored, what: str) -> Any:
    """The one value that the bytes hold; ``what`` says what they are, for errors.

    Raises
    ------
    InputError
        If they are no msgpack, or nested deeper than any model.

    Examples
    --------
    >>> from kolmo.checkpoints.stored import memory_bytes
    >>> read_msgpack(memory_bytes(bytes.fromhex("81a16192c3ff"), "a file"), "a model")
    {'a': [True, -1]}
    """
    reader = _Reader(FieldCursor(stored, what))
    try:
        value = reader.value(0)
    except (struct.error, UnicodeDecodeError, TypeError):
        raise reader.cursor.damaged("no msgpack") from None
    if reader.cursor.left:
        raise reader.cursor.damaged(f"{reader.cursor.left:,} bytes follow")
    return value


class _Reader:
    def __init__(self, cursor: FieldCursor) -> None:
        self.cursor, self._values = cursor, 0

    def value(self, depth: int) -> Any:
        """The next value."""
        self._values += 1
        if depth > _DEEP or self._values > _MOST:
            raise self.cursor.damaged("more values, or deeper, than those of any model")
        code = self.cursor.take(1)[0]
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 0x100
        if code < 0x90:
            return self._map(code & 0xF, depth)
        if code < 0xA0:
            return self._list(code & 0xF, depth)
        if code < 0xC0:
            return self.cursor.take(code & 0x1F).decode()
        return self._marked(code, depth)

    def _marked(self, code: int, depth: int) -> Any:
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _NUMBERS:
            return self._number(_NUMBERS[code])
        if code in _BYTES:
            return self._bytes(self._number(_BYTES[code]))
        if code in _TEXTS:
            return self.cursor.take(self._number(_TEXTS[code])).decode()
        if code in _LISTS:
            return self._list(self._number(_LISTS[code]), depth)
        if code in _MAPS:
            return self._map(self._number(_MAPS[code]), depth)
        if 0xD4 <= code <= 0xD8:
            return self._extension(1 << (code - 0xD4))
        if code in _EXTENSIONS:
            return self._extension(self._number(_EXTENSIONS[code]))
        raise self.cursor.damaged(f"no value begins by the byte {code}")

    def _number(self, form: str) -> Any:
        return self.cursor.unpack(form)[0]

    def _list(self, count: int, depth: int) -> list[Any]:
        self._check(count)
        return [self.value(depth + 1) for _ in range(count)]

    def _map(self, count: int, depth: int) -> dict[Any, Any]:
        self._check(2 * count)
        pairs = ((self.value(depth + 1), self.value(depth + 1)) for _ in range(count))
        return {key.decode() if isinstance(key, bytes) else key: value for key, value in pairs}

    def _check(self, count: int) -> None:
        if count > self.cursor.left:
            raise self.cursor.damaged(f"a container claims {count:,} values")

    def _bytes(self, size: int) -> bytes | Stored:
        if size <= _SHORT:
            return self.cursor.take(size)
        return self._stored(size)

    def _extension(self, size: int) -> Extension:
        (code,) = self.cursor.unpack(">b")
        return Extension(code, self._stored(size))

    def _stored(self, size: int) -> Stored:
        begin = self.cursor.at
        self.cursor.skip(size)
        return self.cursor.stored.part(begin, size)
