"""Indices at a fixed number of bits each: kolmo's layout *packed*, and none for a single motif."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.layout import lay_out, read_back
from kolmo.symbols import Alphabet

_CHUNK = 1 << 16  # indices at a time, a multiple of 8 so that chunks end on whole bytes


def index_bits(motifs: int) -> int:
    """Bits of an index: ceil(log2 k); none where there is just one motif.

    >>> index_bits(1), index_bits(2), index_bits(1002)
    (0, 1, 10)
    """
    return (motifs - 1).bit_length()


def pack(indices: NDArray[Any], bits: int) -> bytes:
    """Indices at ``bits`` bits each, most significant first, the last byte filled with zeros.

    >>> [f"{byte:08b}" for byte in pack(np.array([1, 2, 3, 0, 1]), 2)]
    ['01101100', '01000000']
    """
    return lay_out(indices, Alphabet(1 << bits), "packed") if bits else b""


def unpack(packed: bytes, count: int, bits: int) -> NDArray[Any]:
    """Undo `pack`: ``count`` indices of ``bits`` bits, from exactly as many bytes as they take.

    >>> unpack(bytes([0b01101100, 0b01000000]), 5, 2).tolist()
    [1, 2, 3, 0, 1]
    """
    if bits == 0:
        return np.broadcast_to(np.uint8(0), count)  # takes no memory, whatever the count
    alphabet = Alphabet(1 << bits)
    indices = np.empty(count, alphabet.container)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        piece = packed[start * bits // 8 : -(-stop * bits // 8)]
        indices[start:stop] = read_back(piece, stop - start, alphabet, "packed")
    return indices
