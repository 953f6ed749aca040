"""The compiled loops of the byteplanes code."""

from __future__ import annotations

from kolmo.compiled import Array, compiled

_NEAR = 1 << 13  # symbols that stay in the nearest cache while each plane takes its byte of them


@compiled
def part(symbols: Array, turn: int, planes: Array) -> None:
    """Split symbols into byte-planes.

    ``planes``, of shape (bytes of a symbol, number of symbols), is written: the least significant
    first, the symbols' bits rotated left by ``turn``, 0 or 1. Rotated by one, a float's sign comes
    last, and all 8 bits of its exponent are in one byte.

    Each plane is a plain loop over one array, so that the compiler can make vector code.
    """
    width = 8 * planes.shape[0]
    for first in range(0, symbols.size, _NEAR):
        near = symbols[first : first + _NEAR]
        for byte in range(planes.shape[0]):
            low, plane = 8 * byte - turn, planes[byte, first : first + _NEAR]
            if low >= 0:
                for i in range(near.size):
                    plane[i] = (near[i] >> low) & 255
            else:
                for i in range(near.size):
                    plane[i] = ((near[i] << turn) | (near[i] >> (width - turn))) & 255


@compiled
def join(planes: Array, turn: int, symbols: Array) -> None:
    """Undo `part`: write the symbols that the planes hold."""
    symbols[:] = 0
    width = 8 * planes.shape[0]
    one = symbols.dtype.type  # words of the symbols' own width: 64 bits stay unsigned
    for byte in range(planes.shape[0]):
        low, plane = 8 * byte - turn, planes[byte]
        if low >= 0:
            for i in range(symbols.size):
                symbols[i] |= one(plane[i]) << one(low)
        else:
            for i in range(symbols.size):
                word = one(plane[i])
                symbols[i] |= (word >> one(turn)) | (word << one(width - turn))


@compiled
def pack(symbols: Array, alphabet: int, count: int, packed: Array) -> None:
    """Write ``count`` symbols to each byte of ``packed``, as digits of a number to the base
    ``alphabet``, the first the most significant; zeros fill the last byte."""
    for i in range(packed.size):
        value = 0
        for k in range(count * i, count * i + count):
            value = value * alphabet + (int(symbols[k]) if k < symbols.size else 0)
        packed[i] = value


@compiled
def unpack(packed: Array, alphabet: int, count: int, symbols: Array) -> bool:
    """Undo `pack`: write the symbols; False if a byte has more than ``count`` digits, which happens
    only in damaged data."""
    for i in range(packed.size):
        value = int(packed[i])
        for k in range(count * i + count - 1, count * i - 1, -1):
            if k < symbols.size:
                symbols[k] = value % alphabet
            value //= alphabet
        if value:
            return False
    return True
