"""Lempel–Ziv 1978: the number of phrases into which a growing dictionary cuts the symbols."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from kolmo.errors import NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.estimators.counts import ORDER_0_LIMIT
from kolmo.symbols import Alphabet, Shape, Symbols

_SPAN = 1 << 16  # symbols between checks of the dictionary's free space

LIMIT = (1 << 24) - _SPAN
"""Most phrases that there may be, whose dictionary takes up to 600 MB while it grows."""


@register
@dataclasses.dataclass(frozen=True)
class LempelZiv78(Estimator):
    """c · (log2 c + log2 A) for c phrases over A symbols; an estimate.

    Incremental parsing (Ziv & Lempel 1978): each phrase is the shortest that is not yet in the
    dictionary, that is, an earlier phrase and one symbol more; the last may equal an earlier one. A
    phrase counts as a pointer to one of the c phrases, and a symbol (Cover & Thomas 2006, 13.5.2);
    bits a symbol tend slowly to the entropy rate of an ergodic source. Alphabets have at most
    65,536 symbols. The dictionary grows by about 24 bytes for each phrase, of which there may be
    2^24. ``details``: the number of phrases.

    >>> symbols = np.array([int(bit) for bit in "1011010100010"], np.uint8)
    >>> accumulator = LempelZiv78().start(symbols.shape, 2)
    >>> accumulator.update(symbols)
    >>> accumulator.finish().details["phrases"]  # 1 0 11 01 010 00 10
    7
    """

    name = "lz78"
    kind = "estimate"
    summary = "Lempel–Ziv parsing of 1978, phrases × (log2 phrases + log2 alphabet) (quantized)"

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        numel = sum(math.prod(shape) for shape in shapes)
        if alphabet.size > ORDER_0_LIMIT:
            raise NotApplicableError(
                f"lz78: an alphabet of {alphabet.size:,} symbols is too large for repetitions to "
                f"tell anything; quantize first, by sign or symmetric:4 say"
            )
        if (most := most_phrases(numel, alphabet.size)) > LIMIT:
            raise NotApplicableError(
                f"lz78: {numel:,} symbols may make {most:,} phrases, over its limit of {LIMIT:,}; "
                f"use tensor scope, or a coarser quantizer"
            )
        return _LempelZiv78Accumulator(numel, alphabet)

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        numel = sum(math.prod(shape) for shape in shapes)
        phrases = most_phrases(numel, alphabet.size) + min(numel, _SPAN)
        return (
            18 * _power_of_two(2 * phrases) + 8 * _SPAN + (1 << 20)
        )  # the last table, and half of it


def most_phrases(numel: int, alphabet: int) -> int:
    """The most phrases into which so many symbols are cut: all the strings of one symbol, then of
    two, and so on, while symbols last; one symbol is a phrase of its own without another.

    >>> most_phrases(2 + 2 * 4 + 3 * 8, 2), most_phrases(25, 1)
    (14, 7)
    """
    phrases, length, kinds = 0, 1, alphabet
    while length * kinds <= numel:
        phrases, numel = phrases + kinds, numel - length * kinds
        length, kinds = length + 1, kinds * alphabet
    return phrases + -(-numel // length)


def _power_of_two(least: int) -> int:
    return 1 << max(10, (least - 1).bit_length())


class _LempelZiv78Accumulator:
    """Phrases are numbered from 1; 0 is the empty one, where each phrase begins."""

    def __init__(self, numel: int, alphabet: Alphabet) -> None:
        self._numel, self._alphabet = numel, alphabet
        self._keys = np.zeros(1 << 10, np.uint64)
        self._children = np.zeros(1 << 10, np.uint32)
        self._phrases, self._node = 0, 0

    def update(self, symbols: Symbols) -> None:
        from kolmo.estimators import kernels_lz

        for start in range(0, symbols.size, _SPAN):
            span = symbols[start : start + _SPAN].astype(np.int64)
            self._make_room(2 * (self._phrases + span.size))
            self._phrases, self._node = kernels_lz.parse_phrases(
                span, self._alphabet.size, self._keys, self._children, self._phrases, self._node
            )

    def finish(self) -> CodeLength:
        phrases = int(self._phrases) + (1 if self._node else 0)
        bits = phrases * (math.log2(phrases) + math.log2(self._alphabet.size)) if phrases else 0.0
        raw_bits = self._numel * self._alphabet.bits
        return CodeLength(bits, self._numel, raw_bits, "estimate", {"phrases": phrases})

    def _make_room(self, slots: int) -> None:
        """Keep the dictionary at most half full."""
        from kolmo.estimators import kernels_lz

        if slots <= self._keys.size:
            return
        size = _power_of_two(slots)
        keys, children = np.zeros(size, np.uint64), np.zeros(size, np.uint32)
        kernels_lz.move_phrases(self._keys, self._children, keys, children)
        self._keys, self._children = keys, children
