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

from kolmo.codes.chances import all_of, kt_rows, kt_tally, orders
from kolmo.codes.lengths import integer_bits
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.estimators.few_repeats import FewSearch
from kolmo.estimators.repeats import Repeats, Search, search_memory, search_space
from kolmo.estimators.rooms import FEW
from kolmo.estimators.spool import check_room
from kolmo.estimators.streams import BlockStreams, Cut
from kolmo.symbols import Alphabet, Shape, Symbols

BLOCK_SIZES = (1, 2, 4, 8, 16, 32)

LIMIT = (1 << 32) - 1
"""Most bytes of symbols, which are read several times."""


@register
@dataclasses.dataclass(frozen=True)
class MosaicBlocks(Estimator):
    """The two-part block-dictionary code; a bound.

    ``block=N`` fixes the block size: one bit then says whether blocks are used at all. Else the
    best of 1, 2, 4, 8, 16, 32 is taken. Model scope has one dictionary for all tensors. The search
    for equal blocks is exact; it takes at most 4 GiB of symbols, which it puts aside in the
    temporary folder when they are many, and some 300 MB of memory.
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

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        numel = sum(math.prod(shape) for shape in shapes)
        return search_memory(numel, alphabet) + (1 << 22)

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        sizes = [math.prod(shape) for shape in shapes]
        width = alphabet.container.itemsize
        if sum(sizes) * width > LIMIT:
            raise NotApplicableError(
                f"mosaic: {sum(sizes):,} symbols of {width} bytes are over its limit of 4 GiB; "
                f"use tensor scope or a coarser quantizer"
            )
        check_room(search_space(sum(sizes), alphabet), "mosaic")
        return _MosaicAccumulator(sizes, alphabet, self.block)


class _MosaicAccumulator:
    def __init__(self, sizes: Sequence[int], alphabet: Alphabet, block: int | None) -> None:
        self._sizes, self._alphabet = sizes, alphabet
        self._raw_bits = sum(sizes) * alphabet.bits
        self._candidates = BLOCK_SIZES if block is None else (block,)
        fitting = tuple(size for size in self._candidates if size <= max(sizes, default=0))
        self._search = _search(sizes, fitting, alphabet) if fitting else None

    def update(self, symbols: Symbols) -> None:
        if self._search is not None:
            self._search.update(symbols.astype(self._alphabet.container, copy=False))

    def finish(self) -> CodeLength:
        numel = sum(self._sizes)
        if numel == 0:
            return CodeLength(0, 0, 0, "bound")
        best = self._best()
        choice = math.ceil(math.log2(len(self._candidates) + 1))
        return CodeLength(best.bits + choice, numel, self._raw_bits, "bound", best.details)

    def _best(self) -> _Code:
        """The shortest code; of equally short ones that of the smallest size.

        A block that is written only once has parts that are written only once: what a size leaves
        to be written, every larger one must write too. Where that alone is no shorter than the best
        code, the search ends.
        """
        best = _Code(self._raw_bits, 0, _NO_BLOCKS)
        if self._search is None:
            return best
        for size, repeats in self._search.run():
            if size == self._candidates[0]:
                self._planes = self._search.planes
                self._all_written = self._written_bits(self._planes)
            code = self._code(size, repeats)
            best = min(best, code, key=lambda code: code.bits)
            if code.written >= best.bits:
                break
        self._search.close()
        return best

    def _code(self, size: int, repeats: Repeats) -> _Code:
        """The code at a block size."""
        blocks = sum(numel // size for numel in self._sizes)
        motifs, again = repeats.motifs, repeats.blocks
        others = blocks - again
        written, (indices, how) = self._all_written, (1, "fixed")
        if motifs:
            written = self._written_bits(self._planes - repeats.planes)
            indices, how = _index_bits(repeats, again, others)
        details = {
            "block": size,
            "motifs": motifs,
            "share_motifs": again / blocks,
            "indices": how,
        }
        header = integer_bits(motifs) + integer_bits(others)
        return _Code(header + written + indices, written, details)

    def _written_bits(self, counts: NDArray[np.int64]) -> int:
        """Bits of the symbols that are written out: plainly, or each byte-plane by a KT code."""
        plain = int(counts[0].sum()) * self._alphabet.bits
        used = min(256, self._alphabet.size)
        adaptive = kt_rows(counts[:, :used]).word_bits
        return 1 + min(plain, adaptive)


def _search(
    sizes: Sequence[int], fitting: tuple[int, ...], alphabet: Alphabet
) -> Search | FewSearch:
    """What finds the repeated blocks of tensors of these sizes."""
    if len(sizes) == 1 and sizes[0] <= FEW and fitting == BLOCK_SIZES[: len(fitting)]:
        return FewSearch(fitting, alphabet)
    return Search(BlockStreams(sizes, Cut(fitting, alphabet.bits), alphabet), alphabet)


@dataclasses.dataclass(frozen=True)
class _Code:
    bits: int
    written: int
    details: dict[str, Any]


_NO_BLOCKS = {"block": 0, "motifs": 0, "share_motifs": 0.0, "indices": "none"}


def _index_bits(repeats: Repeats, again: int, others: int) -> tuple[int, str]:
    """Bits of the indices of all blocks: one index for each motif, of which there are blocks again
    and again, one more for all other blocks.

    All numberings of the motifs have the same probability under the KT code and mean the same
    blocks. The one by first appearance stands for all of them, so that their probabilities add up.
    """
    times = dict(repeats.times)
    if others:
        times[others] = times.get(others, 0) + 1
    kinds = sum(times.values())
    if kinds <= 1:
        return 1, "fixed"
    fixed = (again + others) * max(0, kinds - 1).bit_length()
    adaptive = all_of([kt_tally(times), orders(repeats.motifs)]).word_bits
    return (1 + adaptive, "kt") if adaptive < fixed else (1 + fixed, "fixed")
