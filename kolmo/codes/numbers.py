"""Numbers in as few bytes as they need, and their reader."""

from __future__ import annotations

from kolmo.errors import InputError


def number_bytes(value: int) -> bytes:
    """A number in LEB128: seven bits a byte, the least significant first, the last byte < 128.

    >>> number_bytes(5).hex(), number_bytes(300).hex()
    ('05', 'ac02')
    """
    data = bytearray()
    while value >= 128:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


class Reader:
    """Reads bytes from their beginning.

    >>> reader = Reader(bytes.fromhex("ac0207"))
    >>> reader.number(), reader.rest()
    (300, b'\\x07')
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def number(self) -> int:
        """The next number, of at most 63 bits.

        Raises
        ------
        InputError
            If the bytes end within the number, or it is larger.
        """
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise InputError("the code holds a number that is too large")

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; InputError if there are fewer."""
        end = self._place + size
        if end > len(self._data):
            raise InputError("the code ends before its symbols do")
        part = self._data[self._place : end]
        self._place = end
        return part

    def rest(self) -> bytes:
        """The bytes that are left."""
        return self._data[self._place :]
