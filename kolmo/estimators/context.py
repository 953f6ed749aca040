"""The context code as an estimator: the length of what `kolmo.codes.context` writes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.symbols import Shape, Symbols, container, symbol_bits

if TYPE_CHECKING:
    from kolmo.codes.context import Encoder

PART = 1 << 22
"""Weights of a table that are coded at a time, as whole rows; what they taught is kept."""


@register
@dataclasses.dataclass(frozen=True)
class Context(Estimator):
    """The adaptive context-mixing code of `kolmo.codes.context`; a bound: it is 8 × the bytes that
    the coder writes, and they decode.

    What is predicted are zeros, exponents, leading mantissa bits and signs, from row and column
    magnitudes, neighbours, kernel taps, matches (mirrored ones too), recent tails of the column and
    the zeros that a narrower format leaves (after Mahoney, Florida Tech CS-2005-16). Model scope
    lets what one tensor taught serve the next. Native floats are split by their format; without
    knowing it (``start`` is told a dtype or not) symbols are integers. At most 2³² symbols, or
    float64. Memory: some 30 bytes for each weight of a tensor, up to 4 million of them at a time.

    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    >>> code = estimate(weights, "context")
    >>> code.kind, code.bits_per_weight < 28
    ('bound', True)
    """

    name = "context"
    kind = "bound"
    summary = "adaptive mixing of row, column, neighbour and match contexts; the strongest"

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        return self._start_as(shapes, alphabet, "")

    def _start_as(self, shapes: Sequence[Shape], alphabet: int, dtype: str) -> Accumulator:
        from kolmo.codes.context import Encoder, widest

        columns = widest(shapes)
        encoder = Encoder(alphabet, dtype, columns, keep=False)
        return _ContextAccumulator(encoder, shapes, alphabet)


class _ContextAccumulator:
    """Gathers the symbols of a tensor, or of some rows of a large one, then codes them."""

    def __init__(self, encoder: Encoder, shapes: Sequence[Shape], alphabet: int) -> None:
        self._encoder, self._alphabet = encoder, alphabet
        self._numel = sum(math.prod(shape) for shape in shapes)
        self._parts = (part for shape in shapes for part in row_parts(shape, PART))
        self._open(next(self._parts, None))

    def update(self, symbols: Symbols) -> None:
        while symbols.size:
            taken = symbols[: self._room.size - self._filled]
            self._room[self._filled : self._filled + taken.size] = taken
            self._filled += taken.size
            symbols = symbols[taken.size :]
            if self._filled == self._room.size:
                self._encoder.add(self._room.reshape(self._shape))
                self._open(next(self._parts, None))

    def finish(self) -> CodeLength:
        bits = 8 * self._encoder.finish() if self._numel else 0
        raw_bits = self._numel * symbol_bits(self._alphabet)
        return CodeLength(bits, self._numel, raw_bits, "bound")

    def _open(self, shape: Shape | None) -> None:
        self._shape = (0,) if shape is None else shape
        self._room = np.empty(math.prod(self._shape), container(self._alphabet))
        self._filled = 0


def row_parts(shape: Shape, most: int) -> Iterator[Shape]:
    """Shapes of the pieces of whole rows, of at most so many weights, that a tensor is cut into;
    none where it is empty.

    >>> list(row_parts((5, 2, 3), 12))
    [(2, 2, 3), (2, 2, 3), (1, 2, 3)]
    """
    if math.prod(shape) <= most:
        yield from [shape] if math.prod(shape) else []
        return
    rows, rest = (shape[0], shape[1:]) if len(shape) > 1 else (1, shape)
    row = math.prod(rest)
    if row > most:  # a row too long is cut, too
        yield from ((min(most, rows * row - at),) for at in range(0, rows * row, most))
        return
    step = most // row
    yield from ((min(step, rows - at), *rest) for at in range(0, rows, step))
