"""Entropies: code lengths estimated from the frequencies or the repetitions of symbols."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.lengths import entropy_bits
from kolmo.errors import NotApplicableError, how_to_install
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.estimators.counts import ORDER_0_LIMIT, Histogram
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Shape, Symbols

LZ_LIMIT = 1 << 26
"""Most symbols for ``lz76``: sorting their suffixes takes 9 bytes each, or 14 for wide symbols."""

PLAIN_LIMIT = 1 << 24
"""And without the package that sorts them, where it takes some fifty."""


@register
@dataclasses.dataclass(frozen=True)
class Entropy(Estimator):
    """n × the plug-in order-0 entropy; an estimate.

    It leaves out the description of the frequencies, so that it is no code length; ``kt`` is the
    corresponding bound. Alphabets of more than 65,536 symbols are measured by byte-plane.

    >>> from kolmo import estimate
    >>> estimate(np.float32([-1, 1, 1, 1]), "entropy", "sign").bits_per_weight.__round__(3)
    0.811
    """

    name = "entropy"
    kind = "estimate"
    order_free = True
    summary = "plug-in order-0 entropy (by byte-plane for native floats)"

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        return 1 << 24  # counts of 65,536 symbols at most

    def grain(self, shapes: Sequence[Shape], alphabet: Alphabet | int) -> int | None:
        return 1

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        return _EntropyAccumulator(shapes, alphabet)


class _EntropyAccumulator:
    def __init__(self, shapes: Sequence[Shape], alphabet: Alphabet) -> None:
        self._numel = sum(math.prod(shape) for shape in shapes)
        self._bits_each = alphabet.bits
        self.histogram = Histogram(alphabet)
        self.update = self.histogram.update

    def merge(self, part: _EntropyAccumulator) -> None:
        self.histogram.merge(part.histogram)

    def finish(self) -> CodeLength:
        planes = [entropy_bits(plane) for plane in self.histogram.counts]
        details = {"byte_planes": planes} if self.histogram.by_byte else {}
        return CodeLength(
            sum(planes), self._numel, self._numel * self._bits_each, "estimate", details
        )


@register
@dataclasses.dataclass(frozen=True)
class LempelZiv(Estimator):
    """c · log2 n, where c is the Lempel–Ziv complexity of the sequence of n symbols; an estimate.

    c is the number of phrases of the exhaustive history (Lempel & Ziv 1976, as counted by Kaspar &
    Schuster 1987): each phrase is the shortest that has not occurred before, where an earlier
    occurrence may overlap it. For sequences from an ergodic source, c · log2 n / n tends slowly to
    the entropy rate. Alphabets have at most 65,536 symbols. ``details``: the number of phrases.

    Suffixes are sorted by the package ``pydivsufsort`` (extra ``suffix``), for up to 2^26 symbols.
    Without it the phrases are the same, but take some ten times as long to find, and 2^24 symbols
    are the most.

    >>> symbols = np.array([int(bit) for bit in "0001101001000101"], np.uint8)
    >>> accumulator = LempelZiv().start(symbols.shape, 2)
    >>> accumulator.update(symbols)
    >>> accumulator.finish().details["phrases"]  # 0 001 10 100 1000 101
    6
    """

    name = "lz76"
    kind = "estimate"
    summary = "Lempel–Ziv complexity of 1976, phrases × log2 n (quantized weights)"

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        numel = sum(math.prod(shape) for shape in shapes)
        if alphabet.size > ORDER_0_LIMIT:
            raise NotApplicableError(
                f"lz76: an alphabet of {alphabet.size:,} symbols is too large for repetitions to "
                f"tell anything; quantize first, by sign or symmetric:4 say"
            )
        if numel > LZ_LIMIT:
            raise NotApplicableError(
                f"lz76: {numel:,} symbols are over its limit of {LZ_LIMIT:,}; use tensor scope, or "
                f"lz78 or context"
            )
        if numel > PLAIN_LIMIT and not find_spec("pydivsufsort"):
            raise NotApplicableError(
                f"lz76: {numel:,} symbols are over its limit of {PLAIN_LIMIT:,} without the "
                f"package pydivsufsort: {how_to_install('suffix')}"
            )
        return _LempelZivAccumulator(numel, alphabet)

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        sorting = 14 if alphabet.size > 256 else 9
        each = sorting if find_spec("pydivsufsort") else 56
        return each * sum(math.prod(shape) for shape in shapes) + (1 << 20)


class _LempelZivAccumulator:
    def __init__(self, numel: int, alphabet: Alphabet) -> None:
        self._numel, self._alphabet, self._phrases = numel, alphabet, 0
        self._gatherer = Gatherer([(numel,)], alphabet.container)

    def update(self, symbols: Symbols) -> None:
        from kolmo.estimators import kernels_lz

        for whole in self._gatherer.take(symbols):
            order = suffix_array(whole, self._alphabet.size)
            after = np.empty(whole.size + 1, np.int32)
            kernels_lz.find_smaller(order, after)
            del order
            self._phrases = int(kernels_lz.count_phrases(whole, after))

    def finish(self) -> CodeLength:
        bits = self._phrases * math.log2(self._numel) if self._numel else 0.0
        raw_bits = self._numel * self._alphabet.bits
        return CodeLength(bits, self._numel, raw_bits, "estimate", {"phrases": self._phrases})


def suffix_array(symbols: Symbols, size: int) -> NDArray[np.int32]:
    """The starts of all suffixes in lexicographic order.

    >>> suffix_array(np.frombuffer(b"banana", np.uint8), 256).tolist()
    [5, 3, 1, 0, 4, 2]
    """
    if symbols.size > 1 and find_spec("pydivsufsort"):
        return _library_order(symbols, size)
    return _doubled_order(symbols, size).astype(np.int32)


def _library_order(symbols: Symbols, size: int) -> NDArray[np.int32]:
    """By libdivsufsort (Mori; its theory: Fischer & Kurpicz 2017), which sorts bytes: a symbol of
    two bytes is written with the higher one first."""
    from pydivsufsort import divsufsort

    from kolmo.estimators import kernels_lz

    if size <= 256:
        return np.asarray(divsufsort(np.require(symbols, np.uint8, ["C", "W"])))
    order: NDArray[np.int32] = np.asarray(divsufsort(symbols.astype(">u2").view(np.uint8)))
    kernels_lz.take_even(order)
    return order[: symbols.size].copy()


def _doubled_order(symbols: Symbols, size: int) -> NDArray[np.int64]:
    """By prefix doubling (Manber & Myers 1993).

    The first sort is by as many symbols as fit in 62 bits, so that few more sorts are needed.
    """
    width = size.bit_length()  # 0 stands for the end
    known = 62 // width
    key = np.zeros(symbols.size, np.int64)
    for i in range(known):
        key <<= width
        key[: max(0, symbols.size - i)] += symbols[i:].astype(np.int64) + 1
    while True:
        order = np.argsort(key)
        ordered = key[order]
        ranks = np.empty_like(key)
        ranks[order] = np.cumsum(np.concatenate([[1], ordered[1:] != ordered[:-1]]))
        if ranks[order[-1]] == symbols.size:
            return order
        key = ranks * (symbols.size + 1)
        key[: max(0, symbols.size - known)] += ranks[known:]
        known *= 2
