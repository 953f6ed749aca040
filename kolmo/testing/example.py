"""A plugin in one file: an estimator of one's own, as `kolmo.testing` explains."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kolmo.estimators import Accumulator, CodeLength, Estimator
from kolmo.symbols import Alphabet, Shape, Symbols


@dataclasses.dataclass(frozen=True)
class FixedWidth(Estimator):
    """Every symbol at ceil(log2 alphabet) bits; a bound, and never a short one.

    >>> import numpy as np
    >>> accumulator = FixedWidth().start((3, 4), alphabet=5)
    >>> accumulator.update(np.arange(12, dtype=np.uint8) % 5)
    >>> accumulator.finish().bits
    36
    """

    name = "fixed-width"
    kind = "bound"
    summary = "every symbol at ceil(log2 alphabet) bits"

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        return _FixedWidth(alphabet.bits)


class _FixedWidth:
    def __init__(self, bits_each: int) -> None:
        self._bits_each, self._numel = bits_each, 0

    def update(self, symbols: Symbols) -> None:
        self._numel += symbols.size

    def merge(self, part: _FixedWidth) -> None:
        self._numel += part._numel

    def finish(self) -> CodeLength:
        bits = self._numel * self._bits_each
        return CodeLength(bits, self._numel, bits, "bound")
