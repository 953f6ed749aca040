"""The order-0 code: symbols by how often each has occurred, for tensors too small to learn more.

A symbol is coded digit by digit, the most significant first. The probability of a digit, given
those before it, is that of a Pólya tree (Lavine 1992): counts that begin at a prior under which
all symbols are equally likely. The prior can be stronger for less significant digits, because
weights are smoothly distributed. Counts are kept for all tensors and, besides, for the current one.
All arithmetic is of integers.

The first byte names the prior; the encoder takes the one that gives the shortest code.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.arithmetic import PLACE, last_bytes, new_coder
from kolmo.codes.base import register_code
from kolmo.codes.plain import flat, split
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols

ALPHABET = 1 << 16
"""The largest alphabet."""

SHARP, SMOOTH, UNIFORM = range(3)
"""Priors, by weight: one symbol, as Krichevsky and Trofimov's; more at each digit; very many."""

_PRIORS = (SHARP, SMOOTH, UNIFORM)
_TRUST = 256  # this many digits of a tensor weigh as much as the counts of all tensors
_SMALL = 1 << 18  # every prior is tried for up to this many symbols; more outweigh any prior


class CountsCode:
    """See the module.

    >>> symbols = np.random.default_rng(0).binomial(8, 0.5, 1000).astype(np.uint8)
    >>> data = CountsCode().encode([symbols], Alphabet(9))
    >>> back = CountsCode().decode(data, [(1000,)], Alphabet(9))[0]
    >>> len(data) < 1000 * 2.6 / 8, np.array_equal(back, symbols)
    (True, True)
    """

    name = "counts"
    number = 11

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return 1 < alphabet.size <= ALPHABET and any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        symbols, shapes = flat(parts, alphabet), [part.shape for part in parts]
        stream = np.empty(4 * alphabet.bits * symbols.size + 8, np.uint8)
        codes = []
        for prior in _PRIORS if symbols.size <= _SMALL else [SMOOTH]:
            coder = new_coder(stream, decoding=False)
            _run(symbols, shapes, alphabet, prior, coder, stream)
            data = stream[: coder[PLACE]].tobytes() + last_bytes(coder)
            codes.append(bytes([prior]) + data)
        return min(codes, key=len)

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        if not self.takes(shapes, alphabet):
            raise InputError(f"{self.name} has no symbols of {alphabet.size:,}")
        if not data or data[0] not in _PRIORS:
            raise InputError("the code says nothing of its prior")
        symbols = np.empty(sum(map(math.prod, shapes)), alphabet.container)
        stream = np.frombuffer(data, np.uint8)[1:].copy()
        coder = new_coder(stream, decoding=True)
        _run(symbols, shapes, alphabet, data[0], coder, stream)
        if coder[PLACE] > stream.size + 4:
            raise InputError("the code ends before its symbols do")
        return split(symbols, shapes, alphabet)


def _run(
    symbols: Symbols,
    shapes: Sequence[Shape],
    alphabet: Alphabet,
    prior: int,
    coder: NDArray[np.int64],
    stream: NDArray[np.uint8],
) -> None:
    """Encode the symbols of all tensors, one after the other, or decode into them."""
    from kolmo.codes import kernels_counts as kernels

    counts, start = _counts(alphabet, prior), 0
    trust = _TRUST << (8 if prior == UNIFORM else 0)
    for size in map(math.prod, shapes):
        part = symbols[start : start + size]
        kernels.code(part, alphabet.bits, counts, trust, coder, stream)
        start += size


def _counts(alphabet: Alphabet, prior: int) -> NDArray[np.int64]:
    """The prior: initial counts of 0 and 1 for each digit given those before it, in 256ths."""
    counts = np.ones((1 << alphabet.bits, 2), np.int64)
    for place in range(alphabet.bits):
        nodes, width = np.arange(1 << place), 1 << (alphabet.bits - place)
        edges = np.minimum(np.arange(2 * nodes.size + 1) * width // 2, alphabet.size)
        symbols = np.diff(edges).reshape(-1, 2)
        weight = 256 * (1, (place + 1) ** 2, 256 * (place + 1) ** 2)[prior]
        counts[nodes + nodes.size] += weight * symbols // np.maximum(1, symbols.sum(1))[:, None]
    return counts


register_code(CountsCode())
