"""What a block format of ggml is, and what the formats share.

A tensor is a row of blocks of 32 to 256 weights; a block has fields, packed without padding, such
as a scale in float16 and the codes of its weights. Every product and sum is that of ggml's own
decoder in float32, in the same order, so that weights are equal to the last bit
(https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.symbols import container, symbol_bits

Blocks = NDArray[Any]
Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Words = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Block:
    """A block format.

    Attributes
    ----------
    name : str
    weights : int
        Weights of a block.
    size : int
        Symbols of the codes' alphabet.
    fields : numpy.dtype
        The fields of a block, in the order of a little-endian file.
    unpack : callable
        ``unpack(blocks)`` gives the codes, a row of ``weights`` for each block, in weight order.
    scale : callable
        ``scale(blocks, codes)`` gives the weights, in the same order.
    packed_bits : int, optional
        Bits of a block that are its codes, where these are not packed at their own width.
    """

    name: str
    weights: int
    size: int
    fields: np.dtype[Any]
    unpack: Callable[[Blocks], Codes]
    scale: Callable[[Blocks, Codes], Floats]
    packed_bits: int | None = None

    @property
    def side_bits(self) -> int:
        """Bits of a block that are not codes: scales, least weights."""
        packed = self.weights * symbol_bits(self.size)
        return 8 * self.fields.itemsize - (packed if self.packed_bits is None else self.packed_bits)

    @property
    def container(self) -> np.dtype[Any]:
        """The dtype of the codes."""
        return container(self.size)

    def ordered(self, big: bool) -> np.dtype[Any]:
        """The fields in a file of a byte order."""
        return self.fields.newbyteorder(">" if big else "<")

    def values(self, blocks: Blocks) -> Floats:
        """The weights of blocks."""
        with np.errstate(all="ignore"):  # a scale may be infinite, or no number
            return self.scale(blocks, self.unpack(blocks))


def fields(**types: str | int) -> np.dtype[Any]:
    """Fields by numpy's code of their type; a number is so many bytes.

    >>> fields(d="f2", qs=16).itemsize
    18
    """
    forms = [("u1", (kind,)) if isinstance(kind, int) else kind for kind in types.values()]
    return np.dtype(list(zip(types, forms, strict=True))).newbyteorder("<")


# --- codes ------------------------------------------------------------------------------------


def split(packed: NDArray[Any], bits: int, group: int) -> Codes:
    """Codes of so many bits: those lowest in the bytes of a group come first, then the next.

    Bytes are taken up to eight at a time; what is shifted in from a neighbour is masked out.

    >>> split(np.uint8([[0x10, 0x32, 0x54, 0x76]]), 4, 4).tolist()
    [[0, 2, 4, 6, 1, 3, 5, 7]]
    """
    word = np.dtype(f"u{min(group, 8)}").type
    words = np.ascontiguousarray(packed).view(word).reshape(-1, group // word(0).itemsize)
    mask = np.frombuffer(bytes([(1 << bits) - 1]) * 8, word)[0]
    found = np.empty((len(words), 8 // bits, words.shape[1]), word)
    for place in range(8 // bits):
        np.bitwise_and(words >> word(bits * place), mask, out=found[:, place])
    return found.view(np.uint8).reshape(len(packed), -1)


def bits(words: Words) -> Codes:
    """The bits of the integers of each row, the lowest of each first.

    >>> bits(np.uint8([[2], [3]])).tolist()
    [[0, 1, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]]
    """
    little = np.ascontiguousarray(words, words.dtype.newbyteorder("<")).view(np.uint8)
    return np.unpackbits(little, bitorder="little").reshape(len(words), -1)


def parts(words: Words, shifts: Sequence[int], mask: int) -> Words:
    """Of each integer of a row, the bits of ``mask`` after each of the shifts to the right.

    >>> parts(np.uint8([[0x21, 0x43]]), (0, 4), 15).tolist()
    [[1, 2, 3, 4]]
    """
    kind = words.dtype.newbyteorder("=").type
    found = (words[..., None] >> np.array(shifts, kind)) & kind(mask)
    return np.asarray(found.reshape(len(words), -1))


# --- weights ----------------------------------------------------------------------------------


def number(blocks: Blocks, field: str = "d") -> Floats:
    """A floating-point field of each block, as a column."""
    return np.asarray(blocks[field].astype(np.float32)[:, None])


def levels(codes: Codes, zero: int) -> Floats:
    """How far codes are from the code of zero."""
    found = codes.astype(np.float32)
    found -= zero
    return found


def scaled(scales: Floats, weights: Floats) -> Floats:
    """Weights, each times the scale of its run: the scales of a row have runs of one length."""
    runs = weights.reshape(scales.size, -1)
    return np.multiply(scales.reshape(-1, 1), runs, out=runs).reshape(weights.shape)


def looked_up(codes: Codes, table: Sequence[int]) -> Floats:
    """The number of a table, from -128 to 127, that each code is a place in."""
    whole = np.array(table, np.int8).tobytes().ljust(256, b"\0")
    return (
        np.frombuffer(codes.tobytes().translate(whole), np.int8).reshape(codes.shape).astype("f4")
    )
