"""The block formats of ggml: codes of a few bits, with the scales that make weights of them.

A tensor is a row of blocks of 32 to 256 weights; a block has fields, packed without padding, such
as a scale in float16 and the codes of its weights. Every product and sum is that of ggml's own
decoder in float32, in the same order, so that weights are equal to the last bit
(https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c).

The names tell the bits: ``Q4_0`` has codes of 4 bits and one scale, ``Q4_1`` a scale and a least
weight, ``Q4_K`` blocks of 256 weights with scales of runs in them; ``IQ4`` codes are places in a
table of unequal steps, ``TQ`` codes are trits, ``MXFP4`` and ``NVFP4`` codes are floats of 4 bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.symbols import container, symbol_bits

Blocks = NDArray[Any]
Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]


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
    """

    name: str
    weights: int
    size: int
    fields: np.dtype[Any]
    unpack: Callable[[Blocks], Codes]
    scale: Callable[[Blocks, Codes], Floats]
    packed_bits: int

    @property
    def side_bits(self) -> int:
        """Bits of a block that are not codes."""
        return 8 * self.fields.itemsize - self.packed_bits

    @property
    def container(self) -> np.dtype[Any]:
        """The dtype of the codes."""
        return container(self.size)

    def ordered(self, big: bool) -> np.dtype[Any]:
        """The fields in a file of a byte order."""
        return self.fields.newbyteorder(">" if big else "<")

    def codes(self, blocks: Blocks) -> Codes:
        """The codes of blocks."""
        return self.unpack(blocks)

    def values(self, blocks: Blocks) -> Floats:
        """The weights of blocks."""
        with np.errstate(all="ignore"):  # a scale may be infinite, or no number
            return self.scale(blocks, self.unpack(blocks))


_BLOCKS: dict[int, Block] = {}

BLOCKS: Mapping[int, Block] = _BLOCKS
"""The formats by ggml's numbers of their types."""

_HALF, _BYTE = "<f2", "u1"


def _block(
    number: int,
    name: str,
    weights: int,
    size: int,
    fields: list[Any],
    unpack: Callable[[Blocks], Codes],
    packed_bits: int = 0,
) -> Callable[[Callable[[Blocks, Codes], Floats]], Callable[[Blocks, Codes], Floats]]:
    """Enter the format whose weights the decorated function makes of blocks and codes."""

    def enter(scale: Callable[[Blocks, Codes], Floats]) -> Callable[[Blocks, Codes], Floats]:
        bits = packed_bits or weights * symbol_bits(size)
        _BLOCKS[number] = Block(name, weights, size, np.dtype(fields), unpack, scale, bits)
        return scale

    return enter


# --- codes ------------------------------------------------------------------------------------


def _split(packed: NDArray[Any], bits: int, group: int) -> Codes:
    """Codes of so many bits: the lowest of each byte of a group come first, then the next.

    Bytes are taken eight at a time; what is shifted in from a neighbour is masked out.
    """
    words = np.ascontiguousarray(packed).view(np.uint64).reshape(-1, group // 8)
    mask = np.uint64(0x0101010101010101 * ((1 << bits) - 1))
    found = np.empty((len(words), 8 // bits, group // 8), np.uint64)
    for place in range(8 // bits):
        np.bitwise_and(words >> np.uint64(bits * place), mask, out=found[:, place])
    return found.view(np.uint8).reshape(len(packed), -1)


def _nibbles(group: int) -> Callable[[Blocks], Codes]:
    return lambda blocks: _split(blocks["qs"], 4, group)


def _bits(words: NDArray[Any]) -> Codes:
    """The bits of each row of integers, the lowest first."""
    little = np.ascontiguousarray(words, words.dtype.newbyteorder("<")).view(np.uint8)
    return np.unpackbits(little, bitorder="little").reshape(len(words), -1)


def _with_fifth_bit(blocks: Blocks) -> Codes:
    return _split(blocks["qs"], 4, 16) | _bits(blocks["qh"]) << np.uint8(4)


def _bytes(blocks: Blocks) -> Codes:
    return np.ascontiguousarray(blocks["qs"]).view(np.uint8)


def _signed(blocks: Blocks) -> Floats:
    return np.ascontiguousarray(blocks["qs"]).view(np.int8).astype(np.float32)


def _half(blocks: Blocks, field: str) -> Floats:
    """A float16 of each block, as a column."""
    return np.asarray(blocks[field].astype(np.float32)[:, None])


def _levels(codes: Codes, zero: int) -> Floats:
    levels = codes.astype(np.float32)
    levels -= zero
    return levels


# --- blocks of 32 -----------------------------------------------------------------------------


@_block(2, "Q4_0", 32, 16, [("d", _HALF), ("qs", _BYTE, 16)], _nibbles(16))
def _q4_0(blocks: Blocks, codes: Codes) -> Floats:
    return _half(blocks, "d") * _levels(codes, 8)


@_block(3, "Q4_1", 32, 16, [("d", _HALF), ("m", _HALF), ("qs", _BYTE, 16)], _nibbles(16))
@_block(
    7,
    "Q5_1",
    32,
    32,
    [("d", _HALF), ("m", _HALF), ("qh", "<u4"), ("qs", _BYTE, 16)],
    _with_fifth_bit,
)
def _q4_1(blocks: Blocks, codes: Codes) -> Floats:
    return _half(blocks, "d") * _levels(codes, 0) + _half(blocks, "m")


@_block(6, "Q5_0", 32, 32, [("d", _HALF), ("qh", "<u4"), ("qs", _BYTE, 16)], _with_fifth_bit)
def _q5_0(blocks: Blocks, codes: Codes) -> Floats:
    return _half(blocks, "d") * _levels(codes, 16)


@_block(8, "Q8_0", 32, 256, [("d", _HALF), ("qs", _BYTE, 32)], _bytes)
def _q8_0(blocks: Blocks, codes: Codes) -> Floats:
    return _signed(blocks) * _half(blocks, "d")
