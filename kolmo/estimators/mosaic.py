"""The mosaic code: a dictionary of repeated blocks, the motifs, and which block is which.

Each tensor is flattened in row-major order and cut into blocks of s symbols; blocks never cross a
tensor's border, and the symbols left at its end are written out. A block that occurs twice or more
is a motif. The code has these parts:

1. the block size, of 1, 2, 4, 8, 16, 32, or a mark that the symbols are written plainly (3 bits);
2. the number of motifs, and of the blocks that are no motif (Elias delta);
3. the symbols of every distinct block, in order of first appearance, and of the tensors' ends:
   plainly, or each byte-plane by a KT code;
4. for each block the number of its motif, or a mark for none: at fixed width, or by a KT code.
   Motifs are numbered as they appear, which saves the KT code log2 motifs! bits.

One bit each says which of the two forms is taken, the shorter one. So a network of k motifs and m
blocks (Mosaic-of-Motifs, arXiv 2602.14896) takes about k·s·q + m·H(motif) bits, where the code
finds s and k itself; other symbols take about their order-0 code, and never more than raw bits + 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import all_of, kt, orders
from kolmo.codes.lengths import integer_bits
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Shape, Symbols

BLOCK_SIZES = (1, 2, 4, 8, 16, 32)

LIMIT = 1 << 29
"""Most bytes of symbols: all are kept in memory, with eight bytes for the key of each block."""


@register
@dataclasses.dataclass(frozen=True)
class MosaicBlocks(Estimator):
    """The two-part block-dictionary code; a bound.

    ``block=N`` fixes the block size: one bit then says whether blocks are used at all. Else the
    best of 1, 2, 4, 8, 16, 32 is taken. Model scope has one dictionary for all tensors. The search
    for equal blocks is exact, which needs all symbols in memory: at most 512 MiB of them.
    ``details``: the block size (0 if the symbols are written plainly), the number of motifs, the
    share of blocks that are motifs, and how the indices are coded.

    >>> from kolmo import estimate
    >>> motifs = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    >>> weights = motifs[np.random.default_rng(1).integers(0, 4, 500)]
    >>> code = estimate(weights, "mosaic")
    >>> code.details["block"], code.details["motifs"], code.bits < 4 * 8 * 32 + 500 * 2 + 60
    (8, 4, True)
    """

    block: int | None = None
    name = "mosaic"
    kind = "bound"
    summary = "dictionary of repeated blocks (motifs) and their indices; finds the block size"

    def __post_init__(self) -> None:
        if self.block is not None and not 1 <= self.block <= 1 << 16:
            raise InputError(f"mosaic: the block size is 1 to 65536, not {self.block}")

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        sizes = [math.prod(shape) for shape in shapes]
        width = alphabet.container.itemsize
        if sum(sizes) * width > LIMIT:
            raise NotApplicableError(
                f"mosaic: {sum(sizes):,} symbols of {width} bytes are over its limit of 512 MiB; "
                f"use tensor scope or a coarser quantizer"
            )
        return _MosaicAccumulator(sizes, alphabet, self.block)


class _MosaicAccumulator:
    def __init__(self, sizes: Sequence[int], alphabet: Alphabet, block: int | None) -> None:
        self._sizes, self._alphabet = sizes, alphabet
        self._raw_bits = sum(sizes) * alphabet.bits
        self._candidates = BLOCK_SIZES if block is None else (block,)
        self._gatherer = Gatherer([(sum(sizes),)], alphabet.container)
        self._best = _Code(0, {})

    def update(self, symbols: Symbols) -> None:
        for whole in self._gatherer.take(symbols):
            self._best = self._shortest(whole)

    def finish(self) -> CodeLength:
        best = self._best
        return CodeLength(best.bits, sum(self._sizes), self._raw_bits, "bound", best.details)

    def _shortest(self, symbols: Symbols) -> _Code:
        """The code at the best block size."""
        from kolmo.estimators import kernels

        nothing = {"block": 0, "motifs": 0, "share_motifs": 0.0, "indices": "none"}
        planes = np.zeros((symbols.dtype.itemsize, 256), np.int64)
        kernels.count_planes(symbols, planes)
        sizes = [size for size in self._candidates if size <= max(self._sizes)]
        codes = [self._code(symbols, size, planes.copy()) for size in sizes]
        best = min([_Code(self._raw_bits, nothing), *codes], key=lambda code: code.bits)
        choice = math.ceil(math.log2(len(self._candidates) + 1))
        return _Code(best.bits + choice, best.details)

    def _code(self, symbols: Symbols, size: int, planes: NDArray[np.int64]) -> _Code:
        numels = np.array(self._sizes, np.int64)
        spans = np.stack([np.cumsum(numels) - numels, numels // size], axis=1)
        blocks = int(spans[:, 1].sum())
        repeated, others = _equal_blocks(symbols, spans, size, planes)
        indices, how = _index_bits(repeated, others)
        header = integer_bits(repeated.size) + integer_bits(others)
        details = {
            "block": size,
            "motifs": repeated.size,
            "share_motifs": (blocks - others) / blocks,
            "indices": how,
        }
        return _Code(header + self._written_bits(planes) + indices, details)

    def _written_bits(self, counts: NDArray[np.int64]) -> int:
        """Bits of the symbols that are written out: plainly, or each byte-plane by a KT code."""
        plain = int(counts[0].sum()) * self._alphabet.bits
        used = min(256, self._alphabet.size)
        adaptive = all_of(kt(plane[:used]) for plane in counts).word_bits
        return 1 + min(plain, adaptive)


@dataclasses.dataclass(frozen=True)
class _Code:
    bits: int
    details: dict[str, Any]


def _equal_blocks(
    symbols: Symbols, spans: NDArray[np.int64], size: int, planes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """The count of each block that repeats, and how many blocks do not repeat.

    Repeats are subtracted from ``planes``, the byte-plane counts of all symbols, so that the counts
    of the distinct blocks and of the tensors' ends are left.
    """
    from kolmo.estimators import kernels_mosaic as kernels

    blocks = int(spans[:, 1].sum())
    depth = min(12, max(1, blocks.bit_length() - 14))  # about 2¹⁴ keys a bucket
    shift = 64 - depth
    counts = np.zeros(1 << depth, np.int64)
    kernels.count_keys(symbols, spans, size, shift, counts)
    heads = np.cumsum(counts) - counts
    keys = np.empty(blocks, np.uint64)
    kernels.spread_keys(symbols, spans, size, shift, heads, keys)
    room = 1 << (2 * int(counts.max())).bit_length()
    slots, again = np.zeros(room, np.uint64), np.zeros(room, np.uint32)
    distinct, repeated = kernels.count_equal(symbols, size, keys, heads, slots, again, planes)
    return keys[:repeated].astype(np.int64), distinct - repeated


def _index_bits(repeated: NDArray[np.int64], others: int) -> tuple[int, str]:
    """Bits of the indices of all blocks: one index for each motif, one more for all other blocks.

    All numberings of the motifs have the same probability under the KT code and mean the same
    blocks. The one by first appearance stands for all of them, so that their probabilities add up.
    """
    counts = np.append(repeated, others) if others else repeated
    fixed = int(counts.sum()) * max(0, counts.size - 1).bit_length()
    adaptive = all_of([kt(counts), orders(repeated.size)]).word_bits if counts.size else 0
    return (1 + adaptive, "kt") if adaptive < fixed else (1 + fixed, "fixed")
