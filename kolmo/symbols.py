"""Symbols: what a quantizer makes of weights, integers in [0, alphabet)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import NotApplicableError

Shape = tuple[int, ...]


Symbols = NDArray[Any]


def symbol_bits(alphabet: int) -> int:
    """Bits of a fixed-width code for one symbol, ceil(log2 alphabet); at least 1.

    >>> symbol_bits(2), symbol_bits(255), symbol_bits(2**32)
    (1, 8, 32)
    """
    return max(1, (alphabet - 1).bit_length())


def container(alphabet: int) -> np.dtype[Any]:
    """The smallest little-endian unsigned integer dtype that holds [0, alphabet).

    >>> container(255), container(257), container(2**32)
    (dtype('uint8'), dtype('uint16'), dtype('uint32'))
    """
    bits = symbol_bits(alphabet)
    size = next((size for size in (1, 2, 4, 8) if bits <= 8 * size), None)
    if size is None:
        raise NotApplicableError(f"an alphabet of {alphabet} symbols does not fit 64 bits")
    return np.dtype(f"<u{size}")
