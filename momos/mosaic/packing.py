"""Indices at a fixed number of bits each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 16  # indices at a time, a multiple of 8 so that chunks end on whole bytes


def index_bits(motifs: int) -> int:
    """Bits of an index: ceil(log2 k); none where there is just one motif.

    >>> index_bits(1), index_bits(2), index_bits(1002)
    (0, 1, 10)
    """
    return (motifs - 1).bit_length()


def index_dtype(motifs: int) -> np.dtype[Any]:
    """The smallest unsigned dtype for the indices of so many motifs.

    >>> index_dtype(256), index_dtype(257)
    (dtype('uint8'), dtype('uint16'))
    """
    return np.min_scalar_type(motifs - 1)


def pack(indices: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Indices at so many bits each, most significant first, the last byte filled with zeros.

    >>> [f"{byte:08b}" for byte in pack(np.array([1, 2, 3, 0, 1]), 2)]
    ['01101100', '01000000']
    """
    places = np.arange(bits - 1, -1, -1, dtype=np.uint64)
    parts = [np.zeros(0, np.uint8)]
    for start in range(0, indices.size if bits else 0, _CHUNK):
        numbers = indices[start : start + _CHUNK, None].astype(np.uint64)
        parts.append(np.packbits(((numbers >> places) & np.uint64(1)).astype(bool)))
    return np.concatenate(parts)


def unpack(packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.uint64]:
    """Undo `pack`: ``count`` indices of ``bits`` bits, from exactly as many bytes as they take.

    >>> unpack(np.array([0b01101100, 0b01000000], np.uint8), 5, 2).tolist()
    [1, 2, 3, 0, 1]
    """
    if bits == 0:
        return np.broadcast_to(np.uint64(0), count)  # takes no memory, whatever the count
    found = np.empty(count, np.uint64)
    places = np.uint64(1) << np.arange(bits - 1, -1, -1, dtype=np.uint64)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        piece = packed[start * bits // 8 : -(-stop * bits // 8)]
        digits = np.unpackbits(piece, count=(stop - start) * bits).reshape(-1, bits)
        found[start:stop] = digits @ places
    return found
