"""The context code: the strongest for weights, whatever their dtype or quantizer; and its decoder.

::

    weight ─ binary decisions ─► probability of each ─ mixed from its contexts ─► arithmetic coder

A weight is coded as its exponent, its leading mantissa bits, its tail and its sign (of an integer:
its length in bits, the bits after the leading one, and its sign). Contexts are the magnitude that
row and column predict together, row and column separately, the column alone, the neighbours in row
and column and at the same tap of a kernel, the octave; a match with weights that occurred before,
in the same order or mirrored; the tail that last followed the same leading bits in this column;
whether the row's last weights ended in the zeros of a narrower format. Predictions are mixed in
the logistic domain by weights that are learned while coding (Mahoney, "Adaptive weighing of context
models for lossless data compression", Florida Tech CS-2005-16). All arithmetic is of integers, so
that every machine reads what any other one writes.

docs/formats/context.md specifies every decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import kernels_context as kernels
from kolmo.codes.arithmetic import FILLED, HELD, PLACE, WRITTEN, last_bytes, new_coder
from kolmo.codes.base import register_code
from kolmo.codes.forms import FLOATS, INTEGERS, check_alphabet, form_parts
from kolmo.codes.kernels_context import Form, TableHead
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols

FORMS = {name: Form(*parts) for name, parts in FLOATS.items()}

COLUMNS = 1 << 20
"""The most columns that have contexts of their own; a longer row is cut into pieces of this."""

_SPAN = 1 << 14  # weights coded at a time, which bounds the output buffer
_WORST = 200  # most bytes of a weight: about 36 decisions of up to four bytes each
_HASHES = 1 << 18


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


Words = NDArray[np.int64]


class Session:
    """One run of the model over tables, one after the other; it keeps what it learns from each.
    Encoding and decoding both use it."""

    def __init__(self, form: Form, columns: int, coded: NDArray[np.uint8], decoding: bool) -> None:
        self.form = form
        self.state = kernels.new_state(constants(), new_coder(coded, decoding))
        self.table = np.full(kernels.table_size(columns), kernels.FRESH, np.uint32)

    def run(self, weights: Words, head: TableHead, coded: Any, plain: Any) -> Iterator[None]:
        """Encode a table, or decode into it; yields after each span of it."""
        streams = kernels.Streams(coded, plain)
        memory = kernels.Memory(
            np.zeros(weights.size, np.int64),
            np.zeros(head.columns, np.int64),
            np.zeros(_HASHES, np.int32),
            np.zeros(_HASHES, np.int32),
            np.full(_HASHES, -1, np.int64),
        )
        kernels.begin_table(self.state, self.table)
        for first in range(0, weights.size, _SPAN):
            last = min(first + _SPAN, weights.size)
            kernels.code_span(
                weights, first, last, self.form, head, self.state, self.table, streams, memory
            )
            yield


class _Pieces(NamedTuple):
    heads: list[bytes]
    coded: list[bytes]
    plain: list[bytes]


class Encoder:
    """Takes tables of symbols, one after the other, and writes their code.

    Parameters
    ----------
    alphabet : Alphabet
    columns : int
        Those of the widest table; see `widest`.
    keep : bool
        Whether to keep the bytes, rather than their number alone.
    """

    def __init__(self, alphabet: Alphabet, columns: int, keep: bool = True) -> None:
        self.form = form_of(alphabet)
        self._coded = np.empty(_WORST * _SPAN, np.uint8)
        self._plain = np.empty(8 * _SPAN + 8, np.uint8)
        self._session = Session(self.form, min(columns, COLUMNS), self._coded, decoding=False)
        self._keep, self._pieces = keep, _Pieces([], [], [])
        self._sizes = [0, 0, 0]

    def add(self, symbols: Symbols) -> None:
        """Encode a table: symbols in the shape of their tensor, or of whole rows of it."""
        if not symbols.size:
            return
        weights = symbols.reshape(-1).astype(np.int64)
        head = _describe(weights, symbols.shape, self.form)
        self._write(self._pieces.heads, 0, _head_bytes(head, self.form))
        session = self._session
        for _ in session.run(weights, head, self._coded, self._plain):
            coded = take_written(self._coded, session.state["coder"], PLACE)
            plain = take_written(self._plain, session.state["plain"], WRITTEN)
            self._write(self._pieces.coded, 1, coded)
            self._write(self._pieces.plain, 2, plain)

    def finish(self) -> int:
        """End the code; returns how many bytes it has."""
        state = self._session.state["plain"]
        self._write(self._pieces.coded, 1, last_bytes(self._session.state["coder"]))
        self._write(self._pieces.plain, 2, bytes([int(state[HELD])]) if state[FILLED] else b"")
        return sum(self._sizes) + len(number_bytes(self._sizes[1]))

    def data(self) -> bytes:
        """The code: a head for each table, then the decisions, then the plain bits."""
        heads, coded, plain = (b"".join(pieces) for pieces in self._pieces)
        return b"".join([heads, number_bytes(len(coded)), coded, plain])

    def _write(self, pieces: list[bytes], which: int, data: bytes) -> None:
        self._sizes[which] += len(data)
        if self._keep:
            pieces.append(data)


class ContextCode:
    """See the module; the code's own bytes hold nothing of shapes and alphabet.

    >>> weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    >>> symbols, floats = weights.view(np.uint32), Alphabet.of_dtype(weights.dtype)
    >>> data = ContextCode().encode([symbols], floats)
    >>> len(data) < weights.nbytes
    True
    >>> back = ContextCode().decode(data, [(64, 64)], floats)[0]
    >>> np.array_equal(back, symbols)
    True
    """

    name = "context"
    number = 9
    estimator = "context"

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return alphabet.size <= INTEGERS or form_parts(alphabet.format) is not None

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        encoder = Encoder(alphabet, widest([part.shape for part in parts]))
        for part in parts:
            encoder.add(part)
        encoder.finish()
        return encoder.data()

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        form, reader = form_of(alphabet), Reader(data)
        heads = [
            _read_head(reader, shape, form, alphabet) if math.prod(shape) else None
            for shape in shapes
        ]
        coded = writable(reader.take(reader.number()))
        plain = writable(reader.rest())
        session = Session(form, min(widest(shapes), COLUMNS), coded, decoding=True)
        decoded = []
        for head, shape in zip(heads, shapes, strict=True):
            weights = np.zeros(math.prod(shape), np.int64)
            for _ in session.run(weights, head, coded, plain) if head else ():
                if session.state["coder"][PLACE] > coded.size + 4:
                    raise InputError("the code ends before its symbols do")
            decoded.append(as_symbols(weights, alphabet).reshape(shape))
        return decoded


def widest(shapes: Sequence[Shape]) -> int:
    """Columns of the widest table of these shapes."""
    return max((columns_of(shape) for shape in shapes), default=1)


def columns_of(shape: Shape) -> int:
    """Columns of a table: a vector is one row, and axes after the first are flattened."""
    return min(COLUMNS, max(1, math.prod(shape[1:] if len(shape) > 1 else shape)))


def _describe(weights: Words, shape: Shape, form: Form) -> TableHead:
    if form.exponent_bits:
        magnitudes = weights & ((1 << (form.exponent_bits + form.mantissa_bits)) - 1)
        top, centre = int(magnitudes.max()) >> form.mantissa_bits, 0
        grid = lowest_bit(magnitudes, form)
    else:
        centre = commonest(weights)
        magnitudes = np.abs(weights - centre)
        top, grid = int(magnitudes.max()).bit_length(), 0
    return _table_head(shape, top, int(magnitudes.min() == 0), centre, grid)


def lowest_bit(magnitudes: Words, form: Form) -> int:
    """The least exponent of a bit that is set in any float, plus the mantissa's bits; 0 for zeros.

    Weights that were drawn uniformly, for example, are multiples of a power of two.
    """
    positive = magnitudes[magnitudes > 0]
    exponents = positive >> form.mantissa_bits
    digits = positive & ((1 << form.mantissa_bits) - 1) | (exponents > 0) << form.mantissa_bits
    lowest = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    return int((np.maximum(exponents, 1) + lowest).min()) if positive.size else 0


def _table_head(shape: Shape, top: int, zeros: int, centre: int, grid: int) -> TableHead:
    taps = math.prod(shape[2:]) if len(shape) > 2 else 1
    return TableHead(columns_of(shape), min(taps, columns_of(shape)), top, zeros, centre, grid)


def commonest(weights: Words) -> int:
    """The symbol that counts as 0: the commonest of up to 16 bits; 0 if any symbol is wider."""
    if int(weights.max()) >= 1 << 16:
        return 0
    return int(np.bincount(weights).argmax())


def _head_bytes(head: TableHead, form: Form) -> bytes:
    reference = head.grid if form.exponent_bits else head.centre
    return number_bytes(2 * head.top + head.zeros) + number_bytes(reference)


def _read_head(reader: Reader, shape: Shape, form: Form, alphabet: Alphabet) -> TableHead:
    top, zeros = divmod(reader.number(), 2)
    reference = reader.number()
    largest = (1 << form.exponent_bits) - 1 if form.exponent_bits else 33
    if top > largest or reference >= alphabet.size:
        raise InputError("the code's head is damaged")
    centre, grid = (0, reference) if form.exponent_bits else (reference, 0)
    return _table_head(shape, top, zeros, centre, grid)


def as_symbols(weights: Words, alphabet: Alphabet) -> Symbols:
    fits = alphabet.size == 1 << 64 or not weights.size
    if not fits and not 0 <= int(weights.min()) <= int(weights.max()) < alphabet.size:
        raise InputError("the code names a symbol that is not in the alphabet")
    return weights.astype(alphabet.container)


def writable(data: bytes) -> NDArray[np.uint8]:
    """Bytes as a writable array: compiled code accepts no others."""
    return np.frombuffer(data, np.uint8).copy()


def take_written(stream: NDArray[np.uint8], registers: Words, place: int) -> bytes:
    """The bytes written so far; resets the register, so that the buffer is used again."""
    written = stream[: registers[place]].tobytes()
    registers[place] = 0
    return written


@cache
def constants() -> tuple[Words, Words, Words, Words]:
    """squash(x) = 65536 / (1 + exp(−x / 170)), its inverse, the rates 1 / (n + 1.6) and the trust
    (n + 0.4) / (n + 1.6) in a prediction that has seen n decisions.

    No entry lies so near the middle between two integers that a machine's exp could change it.
    """
    limit = kernels.LIMIT
    curve = [65536 / (1 + math.exp(-x / 170)) for x in range(-limit, limit + 1)]
    squash = np.clip([round(value) for value in curve], 1, 65535).astype(np.int64)
    middles = np.arange(4096) * 16 + 8
    stretch = np.clip(np.searchsorted(squash, middles) - limit, -limit, limit).astype(np.int64)
    rates = np.array([655_360 // (10 * n + 16) for n in range(1024)], np.int64)
    trust = np.array([256 * (10 * n + 4) // (10 * n + 16) for n in range(1024)], np.int64)
    return squash, stretch, rates, trust


register_code(ContextCode())
