"""The order-0 code: symbols by how often each has occurred, for what is too small to teach more.

A symbol is coded digit by digit, the most significant first; the probability of a digit, given
those before it, is (c + ½) / (n + 1) from its own counts (Krichevsky & Trofimov 1981), in integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kolmo.codec.arithmetic import PLACE, last_bytes, new_coder
from kolmo.codec.base import Shape, Symbols, register_code
from kolmo.codec.plain import flat, split
from kolmo.errors import InputError
from kolmo.estimators.base import container, symbol_bits

ALPHABET = 1 << 16
"""Symbols at most."""


class CountsCode:
    """See the module.

    >>> symbols = np.random.default_rng(0).binomial(8, 0.5, 1000).astype(np.uint8)
    >>> data = CountsCode().encode([symbols], 9, "")
    >>> back = CountsCode().decode(data, [(1000,)], 9, "")[0]
    >>> len(data) < 1000 * 2.6 / 8, np.array_equal(back, symbols)
    (True, True)
    """

    name = "counts"
    number = 11

    def takes(self, shapes: Sequence[Shape], alphabet: int) -> bool:
        return 1 < alphabet <= ALPHABET and any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: int, kind: str) -> bytes:
        from kolmo.codec import kernels_counts as kernels

        symbols, digits = flat(parts, alphabet), symbol_bits(alphabet)
        stream = np.empty(4 * digits * symbols.size + 8, np.uint8)
        coder = new_coder(stream, decoding=False)
        kernels.code(symbols, digits, kernels.new_counts(digits), coder, stream)
        return stream[: coder[PLACE]].tobytes() + last_bytes(coder)

    def decode(
        self, data: bytes, shapes: Sequence[Shape], alphabet: int, kind: str
    ) -> list[Symbols]:
        from kolmo.codec import kernels_counts as kernels

        if not self.takes(shapes, alphabet):
            raise InputError(f"{self.name} has no symbols of {alphabet:,}")
        digits = symbol_bits(alphabet)
        symbols = np.empty(sum(map(math.prod, shapes)), container(alphabet))
        stream = np.frombuffer(data, np.uint8).copy()
        coder = new_coder(stream, decoding=True)
        kernels.code(symbols, digits, kernels.new_counts(digits), coder, stream)
        if coder[PLACE] > stream.size + 4:
            raise InputError("the code ends before its symbols do")
        return split(symbols, shapes, alphabet)


register_code(CountsCode())
