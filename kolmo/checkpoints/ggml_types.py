"""Tensors of ggml's types: plain numbers, and blocks of codes with their scales.

The types have numbers, which files store (``enum ggml_type`` of ggml.h).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints import ggml_blocks, ggml_grids
from kolmo.checkpoints.base import Codes, Role, Skipped, WeightTensor
from kolmo.checkpoints.ggml_block import Block
from kolmo.checkpoints.stored import Storage, Stored, Strided
from kolmo.dtypes import DTYPES
from kolmo.symbols import Alphabet

BFLOAT16 = 30

PLAIN: Mapping[int, np.dtype[Any]] = {
    0: DTYPES["float32"],
    1: DTYPES["float16"],
    24: DTYPES["int8"],
    25: DTYPES["int16"],
    26: DTYPES["int32"],
    27: DTYPES["int64"],
    28: DTYPES["float64"],
    BFLOAT16: DTYPES["bfloat16"],
}
"""Types that are numbers, one after the other."""

BLOCKS: Mapping[int, Block] = {**ggml_blocks.BLOCKS, **ggml_grids.BLOCKS}
"""Types that are blocks of codes."""

_UNREAD = {
    4: "Q4_2, which ggml dropped in 2023",
    5: "Q4_3, which ggml dropped in 2023",
    9: "Q8_1, which is for activations and had two layouts",
    **dict.fromkeys((31, 32, 33), "a Q4_0 repacked for one processor, which ggml dropped in 2024"),
    **dict.fromkeys((36, 37, 38), "an IQ4_NL repacked for one processor, which ggml dropped"),
}

_PIECE = 1 << 17  # weights that are decoded at once: few enough for the caches


def stored_size(
    number: int, shape: tuple[int, ...], blocks: Mapping[int, Block] = BLOCKS
) -> int | None:
    """Bytes that a tensor of a type takes, 0 of an unknown type; None if its rows cannot be cut
    into blocks.

    >>> [stored_size(0, (5,)), stored_size(2, (3, 64)), stored_size(2, (64, 3))]
    [20, 108, None]
    """
    numel = math.prod(shape)
    if number in PLAIN:
        return numel * PLAIN[number].itemsize
    block = blocks.get(number)
    if block is None:
        return 0
    if not shape or shape[-1] % block.weights:
        return None
    return numel // block.weights * block.fields.itemsize


@dataclasses.dataclass(frozen=True)
class Order:
    """Whether plain numbers are big-endian, and whether bfloat16 and the fields of blocks are."""

    numbers: bool = False
    bytes: bool = False


LITTLE = Order()


def ggml_tensor(
    name: str,
    shape: tuple[int, ...],
    number: int,
    stored: Stored,
    big: Order = LITTLE,
    blocks: Mapping[int, Block] = BLOCKS,
) -> WeightTensor | Skipped:
    """The tensor of a type whose bytes are all of ``stored``; Skipped if the type is not read.

    Quantized tensors are those of float32 weights, which blocks of codes stand for; ``blocks`` has
    the formats of blocks by the numbers of their types.
    """
    if number in PLAIN:
        is_big = big.bytes if number == BFLOAT16 else big.numbers
        return _plain(name, shape, PLAIN[number], stored, is_big)
    if number in blocks:
        return _quantized(name, shape, _Row(blocks[number], stored, big.bytes))
    what = _UNREAD.get(number, "which is unknown")
    return Skipped(name, f"of ggml's type {number:,}, {what}", math.prod(shape), Role.WEIGHT)


def _plain(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored: Stored, big: bool = False
) -> WeightTensor:
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    array = Strided(Storage(stored, big=big), dtype, shape, strides)
    return WeightTensor(name, shape, dtype, array.loader, place=array.place)


def _quantized(name: str, shape: tuple[int, ...], row: _Row) -> WeightTensor:
    block, count = row.block, math.prod(shape) // row.block.weights
    stored = _plain(name, (count, block.fields.itemsize), DTYPES["uint8"], row.stored)
    codes = Codes(
        block.name, Alphabet(block.size), row.codes, count * block.side_bits, stored=(stored,)
    )
    return WeightTensor(name, shape, DTYPES["float32"], row.weights, codes)


@dataclasses.dataclass(frozen=True, eq=False)
class _Row:
    """Blocks, one after the other."""

    block: Block
    stored: Stored
    big: bool

    def weights(self, start: int, stop: int) -> NDArray[Any]:
        """The weights [start, stop)."""
        return self._decoded(self.block.values, np.dtype(np.float32), start, stop)

    def codes(self, start: int, stop: int) -> NDArray[Any]:
        """Their codes."""
        return self._decoded(self.block.unpack, self.block.container, start, stop)

    def _decoded(
        self,
        decode: Callable[[NDArray[Any]], NDArray[Any]],
        dtype: np.dtype[Any],
        start: int,
        stop: int,
    ) -> NDArray[Any]:
        """What is made of whole blocks, a piece that fits the caches after the other."""
        n, fields = self.block.weights, self.block.ordered(self.big)
        first, last = start // n, -(-stop // n)
        data = self.stored.read(first * fields.itemsize, (last - first) * fields.itemsize)
        blocks = np.frombuffer(data, fields)
        found = np.empty((len(blocks), n), dtype)
        step = _PIECE // n
        for at in range(0, len(blocks), step):
            found[at : at + step] = decode(blocks[at : at + step])
        return found.reshape(-1)[start - first * n : stop - first * n]
