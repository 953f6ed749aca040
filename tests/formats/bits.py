"""Numbers, texts and lists in bytes, and the arithmetic coder (docs/formats/kmo.md, codes.md)."""

from __future__ import annotations

import math


class Damaged(Exception):
    """What is read breaks a rule of the specification."""


def demand(sound: bool, what: str) -> None:
    if not sound:
        raise Damaged(what)


class Reader:
    """Takes things off bytes, from their beginning."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, size: int) -> bytes:
        demand(self.place + size <= len(self.data), "cut off")
        self.place += size
        return self.data[self.place - size : self.place]

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.place)

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise Damaged("a varint of more than 63 bits")

    def text(self) -> str:
        return self.take(self.varint()).decode("utf-8", "surrogatepass")

    def list(self) -> list[int]:
        return [self.varint() for _ in range(self.varint())]


class PlainBits:
    """Numbers of a known width, the least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self.value, self.place = int.from_bytes(data, "little"), 0

    def take(self, width: int) -> int:
        self.place += width
        return self.value >> (self.place - width) & ((1 << width) - 1)


class Decoder:
    """The arithmetic coder."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 4
        self.low, self.high = 0, 0xFFFFFFFF
        self.code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(self, p: int) -> int:
        width = self.high - self.low
        middle = self.low + (width >> 16) * p + (((width & 0xFFFF) * p) >> 16)
        y = int(self.code <= middle)
        if y:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 24 == self.high >> 24:
            self._shift()
        return y

    def _shift(self) -> None:
        byte = self.data[self.place] if self.place < len(self.data) else 0
        self.place += 1
        self.code = (self.code << 8 & 0xFFFFFFFF) | byte
        self.low = self.low << 8 & 0xFFFFFFFF
        self.high = (self.high << 8 & 0xFFFFFFFF) | 0xFF

    def check_end(self) -> None:
        demand(self.place <= len(self.data) + 4, "the decisions are cut off")


def symbol_bits(alphabet: int) -> int:
    return max(1, (alphabet - 1).bit_length())


def width_of(alphabet: int) -> int:
    """Bytes of the container."""
    return next(width for width in (1, 2, 4, 8) if 8 * width >= symbol_bits(alphabet))


def clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def logistic(scale: int, limit: int) -> list[int]:
    """round(65536 / (1 + exp(−x / scale))) for x from −limit to limit."""
    return [round(65536 / (1 + math.exp(-x / scale))) for x in range(-limit, limit + 1)]


def packed_bits(data: bytes, count: int, bits: int) -> list[int]:
    """Numbers of so many bits, the most significant first, from exactly as many bytes as needed."""
    demand(len(data) == -(-count * bits // 8), "packed symbols of another size")
    if bits == 0:
        return [0] * count
    value, spare = int.from_bytes(data, "big"), 8 * len(data) - count * bits
    digits = format(value >> spare, f"0{count * bits}b") if count else ""
    return [int(digits[i : i + bits], 2) for i in range(0, count * bits, bits)]
