"""The mosaic code: a dictionary of repeated blocks, the motifs, and which block is which.

Each tensor is flattened in row-major order and cut into blocks of s symbols; blocks never cross a
tensor's border, and what is left at its end is coded as it is. A block that occurs twice or more
is a motif. The code is two-part:

1. the block size, the number of motifs and of the blocks that are none (Elias delta);
2. the symbols of every distinct block and of the tensors' ends, once each: as they are, or by a KT
   code for each byte-plane;
3. for each block which motif it is, or that it is none: at fixed width, or by a KT code.

The shorter of the two forms is taken each time, at one bit; so are the best of the block sizes
1, 2, 4, 8, 16, 32 and of writing the symbols plainly, at log2 7 bits. The code sees a network of k
motifs, m blocks (arXiv 2602.14896) at about k·s·q + m·H(motif) bits, without being told s or k.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import (
    Accumulator,
    CodeLength,
    Estimator,
    Shape,
    Symbols,
    container,
    register,
    symbol_bits,
)
from kolmo.estimators.mdl import integer_bits, kt_log2, word_bits

BLOCK_SIZES = (1, 2, 4, 8, 16, 32)

LIMIT = 1 << 30
"""Bytes of symbols at most: exact comparison needs them all in memory."""


@register
@dataclasses.dataclass(frozen=True)
class Mosaic(Estimator):
    """The two-part block-dictionary code; a bound.

    ``block=N`` fixes the block size; else the best of 1, 2, 4, 8, 16, 32 is found. Model scope has
    one dictionary for all tensors. ``details``: the block size (0 where the symbols are written
    plainly), the motifs, the share of blocks that are motifs, and how the indices are coded.

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

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        sizes = [math.prod(shape) for shape in shapes]
        width = container(alphabet).itemsize
        if sum(sizes) * width > LIMIT:
            raise NotApplicableError(
                f"mosaic: {sum(sizes):,} symbols of {width} bytes are over its limit of 1 GiB; "
                f"use tensor scope or a coarser quantizer"
            )
        return _MosaicAccumulator(sizes, alphabet, self.block)


class _MosaicAccumulator:
    def __init__(self, sizes: Sequence[int], alphabet: int, block: int | None) -> None:
        self._sizes, self._alphabet = sizes, alphabet
        self._candidates = BLOCK_SIZES if block is None else (block,)
        self._symbols = np.empty(sum(sizes), container(alphabet))
        self._filled = 0

    def update(self, symbols: Symbols) -> None:
        self._symbols[self._filled : self._filled + symbols.size] = symbols
        self._filled += symbols.size

    def finish(self) -> CodeLength:
        numel, bits_each = self._symbols.size, symbol_bits(self._alphabet)
        raw_bits = numel * bits_each
        if numel == 0:
            return CodeLength(0, 0, 0, "bound")
        plain = _Code(raw_bits, {"block": 0, "motifs": 0, "share_motifs": 0.0, "indices": "none"})
        codes = [self._code(size) for size in self._candidates if size <= max(self._sizes)]
        best = min([plain, *codes], key=lambda code: code.bits)
        choice = math.ceil(math.log2(len(self._candidates) + 1))
        return CodeLength(best.bits + choice, numel, raw_bits, "bound", best.details)

    def _code(self, size: int) -> _Code:
        from kolmo.estimators import kernels

        width = size * self._symbols.dtype.itemsize
        data = self._symbols.view(np.uint8)
        spans = self._spans(size)
        blocks = int(spans[:, 1].sum())
        table = np.full(1 << max(4, (3 * blocks // 2).bit_length()), -1, np.int32)
        counts = np.zeros(data.size // width + 1, np.int32)
        kernels.count_blocks(data, spans, width, table, counts)
        del table
        pool = np.zeros((self._symbols.dtype.itemsize, 256), np.int64)
        motifs, others, log_gamma = kernels.gather_distinct(data, spans, width, counts, pool)
        self._add_ends(data, spans, width, pool)
        indices, how = _index_bits(blocks, motifs, others, log_gamma)
        header = integer_bits(motifs) + integer_bits(others)
        details = {
            "block": size,
            "motifs": motifs,
            "share_motifs": (blocks - others) / blocks,
            "indices": how,
        }
        return _Code(header + self._pool_bits(pool) + indices, details)

    def _spans(self, size: int) -> NDArray[np.int64]:
        """First byte and number of whole blocks of each tensor."""
        numels = np.array(self._sizes, np.int64)
        starts = np.concatenate([[0], np.cumsum(numels)[:-1]])
        return np.stack([starts * self._symbols.dtype.itemsize, numels // size], axis=1)

    def _add_ends(
        self, data: NDArray[np.uint8], spans: NDArray[np.int64], width: int, pool: NDArray[np.int64]
    ) -> None:
        """Add the symbols after each tensor's last whole block to the pool."""
        from kolmo.estimators import kernels

        itemsize = self._symbols.dtype.itemsize
        for (start, blocks), numel in zip(spans.tolist(), self._sizes, strict=True):
            end = data[start + blocks * width : start + numel * itemsize]
            if end.size:
                kernels.count_bytes(end, pool)

    def _pool_bits(self, pool: NDArray[np.int64]) -> int:
        """Bits of the symbols that are written out: plainly, or each byte-plane by a KT code."""
        plain = int(pool[0].sum()) * symbol_bits(self._alphabet)
        used = min(256, self._alphabet)
        adaptive = word_bits(sum(kt_log2(plane[:used]) for plane in pool))
        return 1 + min(plain, adaptive)


@dataclasses.dataclass(frozen=True)
class _Code:
    bits: int
    details: dict[str, Any]


def _index_bits(blocks: int, motifs: int, others: int, log_gamma: float) -> tuple[int, str]:
    """Bits that say which block is which: the motifs, and one index more for all the others."""
    kinds = motifs + (others > 0)
    fixed = blocks * (kinds - 1).bit_length() if kinds else 0
    if kinds < 2:
        return 1, "fixed"
    log_gamma += math.lgamma(others + 0.5) if others else 0.0
    norm = math.lgamma(kinds / 2) - math.lgamma(blocks + kinds / 2) - kinds * math.lgamma(0.5)
    adaptive = word_bits((norm + log_gamma) / math.log(2))
    return (1 + adaptive, "kt") if adaptive < fixed else (1 + fixed, "fixed")
