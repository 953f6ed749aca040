"""Numbers of a few bits each, packed one behind the other, the first in the lowest bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.stored import Stored


def packed_size(count: int, bits: int) -> int:
    """Bytes that so many numbers of so many bits take.

    >>> packed_size(5, 4), packed_size(3, 6), packed_size(2, 32)
    (3, 3, 8)
    """
    return -(-count * bits // 8)


def load_patterns(stored: Stored, bits: int, start: int, stop: int) -> NDArray[Any]:
    """Bit patterns [start, stop) as unsigned integers, of the smallest dtype that holds them.

    Parameters
    ----------
    stored : Stored
        Where the numbers lie; whole bytes of each number come in little-endian order.
    bits : int
        Bits of a number: 1 to 8, 16, 32 or 64.

    Raises
    ------
    InputError
        If the bytes are not there.

    Examples
    --------
    >>> from kolmo.checkpoints.stored import memory_bytes
    >>> load_patterns(memory_bytes(bytes([0x21, 0x43]), "example"), 4, 1, 4).tolist()
    [2, 3, 4]
    """
    if bits >= 8:
        size = bits // 8
        data = stored.read(start * size, (stop - start) * size)
        return np.frombuffer(data, f"<u{size}").astype(f"=u{size}", copy=False)

    def read(first: int, last: int) -> NDArray[Any]:
        return np.frombuffer(stored.read(first, last - first), np.uint8)

    return patterns_of(read, bits, start, stop)


def patterns_of(
    read: Callable[[int, int], NDArray[Any]], bits: int, start: int, stop: int
) -> NDArray[Any]:
    """Bit patterns [start, stop) of at most 8 bits each; ``read`` gives bytes [first, last)."""
    first = start * bits // 8
    data = read(first, packed_size(stop, bits))
    skipped = start * bits - 8 * first
    if 8 % bits:
        return _unaligned(np.asarray(data, np.uint8), bits, skipped, stop - start)
    begin = skipped // bits
    return np.asarray(unpacked(data, bits)[begin : begin + stop - start])


def unpacked(data: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """All numbers of 1, 2, 4 or 8 bits in bytes; the last axis grows, the others stay.

    >>> unpacked(np.uint8([[0x21], [0x43]]), 4).tolist()
    [[1, 2], [3, 4]]
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (data[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(numbers).reshape(*data.shape[:-1], data.shape[-1] * len(shifts))


def _unaligned(data: NDArray[np.uint8], bits: int, skipped: int, count: int) -> NDArray[np.uint8]:
    """Numbers whose bits cross the bounds of bytes."""
    single = np.unpackbits(data, bitorder="little")[skipped : skipped + count * bits]
    weights = (1 << np.arange(bits)).astype(np.uint8)
    found = (single.reshape(count, bits) * weights).sum(axis=1, dtype=np.uint8)
    return np.asarray(found, np.uint8)
