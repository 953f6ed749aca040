"""Tables of weights: what the codes that go through them weight by weight share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.arithmetic import FILLED, HELD, PLACE, WRITTEN, last_bytes
from kolmo.codes.forms import check_alphabet, form_parts
from kolmo.codes.kernels_context import LIMIT, Form, Streams
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols

Words = NDArray[np.int64]

SPAN = 1 << 14
"""Weights coded at a time, which bounds the output buffers."""

COLUMNS = 1 << 20
"""The most columns that have contexts of their own; a longer row is cut into pieces of this."""


class _Pieces(NamedTuple):
    heads: list[bytes]
    coded: list[bytes]
    plain: list[bytes]


class Written:
    """What has been written of a code: heads of tables, decisions, plain bits.

    Parameters
    ----------
    most : int
        Most bytes of decisions that a weight can take.
    keep : bool
        Whether to keep the bytes, rather than their number alone.
    """

    def __init__(self, most: int, keep: bool = True) -> None:
        self.streams = Streams(np.empty(most * SPAN, np.uint8), np.empty(8 * SPAN + 8, np.uint8))
        self._keep, self._pieces = keep, _Pieces([], [], [])
        self._sizes = [0, 0, 0]

    def add_head(self, data: bytes) -> None:
        """Write the head of a table."""
        self._add(0, data)

    def take(self, state: Any) -> None:
        """Take what a span has left in the streams, so that they are used again."""
        for which, (stream, registers, place) in enumerate((
            (self.streams.coded, state["coder"], PLACE),
            (self.streams.plain, state["plain"], WRITTEN),
        )):  # fmt: skip
            self._add(1 + which, stream[: registers[place]].tobytes())
            registers[place] = 0

    def finish(self, state: Any) -> int:
        """End the code; returns how many bytes it has."""
        plain = state["plain"]
        self._add(1, last_bytes(state["coder"]))
        self._add(2, bytes([int(plain[HELD])]) if plain[FILLED] else b"")
        return sum(self._sizes) + len(number_bytes(self._sizes[1]))

    def data(self) -> bytes:
        """The code: a head for each table, then the decisions, then the plain bits."""
        heads, coded, plain = (b"".join(pieces) for pieces in self._pieces)
        return b"".join([heads, number_bytes(len(coded)), coded, plain])

    def _add(self, which: int, data: bytes) -> None:
        self._sizes[which] += len(data)
        if self._keep:
            self._pieces[which].append(data)


# --- tables ---------------------------------------------------------------------------------


def form_of(alphabet: Alphabet) -> Form:
    """How symbols of this alphabet are split into the parts that are coded.

    Raises
    ------
    NotApplicableError
        For integers of more than 32 bits.
    """
    check_alphabet(alphabet)
    if parts := form_parts(alphabet.format):
        return Form(*parts)
    order = min(16, max(2, -(-32 // alphabet.bits)))
    return Form(0, 0, 6, 0, 0, order)


def widest(shapes: Sequence[Shape]) -> int:
    """Columns of the widest table of these shapes."""
    return max((columns_of(shape) for shape in shapes), default=1)


def columns_of(shape: Shape) -> int:
    """Columns of a table: a vector is one row, and axes after the first are flattened."""
    return min(COLUMNS, max(1, math.prod(shape[1:] if len(shape) > 1 else shape)))


def commonest(weights: Words) -> int:
    """The symbol that counts as 0: the commonest of up to 16 bits; 0 if any symbol is wider."""
    if int(weights.max()) >= 1 << 16:
        return 0
    return int(np.bincount(weights).argmax())


def lowest_bit(magnitudes: Words, form: Form) -> int:
    """The least exponent of a bit that is set in any float, plus the mantissa's bits; 0 for zeros.

    Weights that were drawn uniformly, for example, are multiples of a power of two.
    """
    positive = magnitudes[magnitudes > 0]
    exponents = positive >> form.mantissa_bits
    digits = positive & ((1 << form.mantissa_bits) - 1) | (exponents > 0) << form.mantissa_bits
    lowest = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    return int((np.maximum(exponents, 1) + lowest).min()) if positive.size else 0


def as_symbols(weights: Words, alphabet: Alphabet) -> Symbols:
    fits = alphabet.size == 1 << 64 or not weights.size
    if not fits and not 0 <= int(weights.min()) <= int(weights.max()) < alphabet.size:
        raise InputError("the code names a symbol that is not in the alphabet")
    return weights.astype(alphabet.container)


def read_streams(reader: Reader) -> Streams:
    """The decisions and the plain bits, which follow the heads."""
    return Streams(writable(reader.take(reader.number())), writable(reader.rest()))


def writable(data: bytes) -> NDArray[np.uint8]:
    """Bytes as a writable array: compiled code accepts no others."""
    return np.frombuffer(data, np.uint8).copy()


def check_end(state: Any, coded: NDArray[np.uint8]) -> None:
    """InputError if the decoder of a table went beyond the end of its decisions."""
    if state["coder"][PLACE] > coded.size + 4:
        raise InputError("the code ends before its symbols do")


@cache
def constants() -> tuple[Words, Words, Words, Words]:
    """squash(x) = 65536 / (1 + exp(−x / 170)), its inverse, the rates 1 / (n + 1.6) and the trust
    (n + 0.4) / (n + 1.6) in a prediction that has seen n decisions.

    No entry lies so near the middle between two integers that a machine's exp could change it.
    """
    limit = LIMIT
    curve = [65536 / (1 + math.exp(-x / 170)) for x in range(-limit, limit + 1)]
    squash = np.clip([round(value) for value in curve], 1, 65535).astype(np.int64)
    middles = np.arange(4096) * 16 + 8
    stretch = np.clip(np.searchsorted(squash, middles) - limit, -limit, limit).astype(np.int64)
    rates = np.array([655_360 // (10 * n + 16) for n in range(1024)], np.int64)
    trust = np.array([256 * (10 * n + 4) // (10 * n + 16) for n in range(1024)], np.int64)
    return squash, stretch, rates, trust
