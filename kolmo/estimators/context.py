"""The context code as an estimator: the length of what `kolmo.codes.context` writes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from kolmo.codes.forms import check_alphabet
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Shape, Symbols

if TYPE_CHECKING:
    from kolmo.codes.context import Encoder

PART = 1 << 22
"""Most weights of a table that are coded at a time, as whole rows; the model is kept."""


@register
@dataclasses.dataclass(frozen=True)
class Context(Estimator):
    """The adaptive context-mixing code of `kolmo.codes.context`; a bound: it is 8 × the bytes that
    the coder writes, and they decode.

    The model predicts zeros, exponents, leading mantissa bits and signs, from row and column
    magnitudes, neighbours, kernel taps, matches (mirrored ones too), recent tails of the column and
    the zeros that a narrower format leaves (after Mahoney, Florida Tech CS-2005-16). In model scope
    it learns from one tensor for the next. Bit patterns of floats are split by the format that
    their alphabet names; all other symbols are integers. Alphabets have at most 2³² symbols, or are
    float64. Memory: about 30 bytes for each weight of a tensor, up to 4 million of them at a time.

    >>> import numpy as np
    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    >>> code = estimate(weights, "context")
    >>> code.kind, code.bits_per_weight < 28
    ('bound', True)
    """

    name = "context"
    kind = "bound"
    summary = "adaptive mixing of row, column, neighbour and match contexts; strong and quick"

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        part = min(PART, sum(math.prod(shape) for shape in shapes))
        return 48 * part + (96 << 20)

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        check_alphabet(alphabet)
        return ByTables(shapes, alphabet, _new_encoder)


def _new_encoder(shapes: Sequence[Shape], alphabet: Alphabet) -> Encoder:
    from kolmo.codes.context import Encoder
    from kolmo.codes.tables import widest

    return Encoder(alphabet, widest(shapes), keep=False)


class TableEncoder(Protocol):
    """Codes tables of symbols, one after the other, and learns from each for the next."""

    def add(self, symbols: Symbols) -> None:
        """Encode a table."""
        ...

    def finish(self) -> int:
        """End the code; returns how many bytes it has."""
        ...


NewEncoder = Callable[[Sequence[Shape], Alphabet], TableEncoder]


class ByTables:
    """Codes each tensor, or each group of rows of a large one, when its symbols are complete."""

    def __init__(
        self, shapes: Sequence[Shape], alphabet: Alphabet, new_encoder: NewEncoder
    ) -> None:
        self._shapes, self._alphabet, self._new_encoder = shapes, alphabet, new_encoder
        self._numel = sum(math.prod(shape) for shape in shapes)
        parts = (part for shape in shapes for part in row_parts(shape, PART))
        self._gatherer = Gatherer(parts, alphabet.container)

    @cached_property
    def _encoder(self) -> TableEncoder:
        """Made for the first symbols: a plan starts accumulators without feeding them any."""
        return self._new_encoder(self._shapes, self._alphabet)

    def update(self, symbols: Symbols) -> None:
        for part in self._gatherer.take(symbols):
            self._encoder.add(part)

    def finish(self) -> CodeLength:
        bits = 8 * self._encoder.finish() if self._numel else 0
        raw_bits = self._numel * self._alphabet.bits
        return CodeLength(bits, self._numel, raw_bits, "bound")


def row_parts(shape: Shape, most: int) -> Iterator[Shape]:
    """Shapes of the pieces that a tensor is cut into: whole rows, at most ``most`` weights each;
    no piece for an empty tensor.

    >>> list(row_parts((5, 2, 3), 12))
    [(2, 2, 3), (2, 2, 3), (1, 2, 3)]
    """
    if math.prod(shape) <= most:
        yield from [shape] if math.prod(shape) else []
        return
    rows, rest = (shape[0], shape[1:]) if len(shape) > 1 else (1, shape)
    row = math.prod(rest)
    if row > most:  # a row that is too long is cut, too
        yield from ((min(most, rows * row - at),) for at in range(0, rows * row, most))
        return
    step = most // row
    yield from ((min(step, rows - at), *rest) for at in range(0, rows, step))
