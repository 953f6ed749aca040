"""The context code: strong for weights, whatever their dtype or quantizer; and its decoder.

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

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import kernels_context as kernels
from kolmo.codes.arithmetic import new_coder
from kolmo.codes.base import register_code
from kolmo.codes.forms import FLOATS, INTEGERS, form_parts
from kolmo.codes.kernels_context import Form, Streams, TableHead
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.codes.tables import (
    COLUMNS,
    SPAN,
    Words,
    Written,
    as_symbols,
    check_end,
    columns_of,
    commonest,
    constants,
    form_of,
    lowest_bit,
    read_streams,
    widest,
)
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols

FORMS = {name: Form(*parts) for name, parts in FLOATS.items()}

_WORST = 200  # most bytes of a weight: about 36 decisions of up to four bytes each
_HASHES = 1 << 18


class Session:
    """One run of the model over tables, one after the other; it keeps what it learns from each.
    Encoding and decoding both use it."""

    def __init__(self, form: Form, columns: int, coded: NDArray[np.uint8], decoding: bool) -> None:
        self.form = form
        self.state = kernels.new_state(constants(), new_coder(coded, decoding))
        self.table = np.full(kernels.table_size(columns), kernels.FRESH, np.uint32)

    def run(self, weights: Words, head: TableHead, streams: Streams) -> Iterator[None]:
        """Encode a table, or decode into it; yields after each span of it."""
        memory = kernels.Memory(
            np.zeros(weights.size, np.int64),
            np.zeros(head.columns, np.int64),
            np.zeros(_HASHES, np.int32),
            np.zeros(_HASHES, np.int32),
            np.full(_HASHES, -1, np.int64),
        )
        kernels.begin_table(self.state, self.table)
        for first in range(0, weights.size, SPAN):
            last = min(first + SPAN, weights.size)
            kernels.code_span(
                weights, first, last, self.form, head, self.state, self.table, streams, memory
            )
            yield


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
        self._written = Written(_WORST, keep)
        coded = self._written.streams.coded
        self._session = Session(self.form, min(columns, COLUMNS), coded, decoding=False)

    def add(self, symbols: Symbols) -> None:
        """Encode a table: symbols in the shape of their tensor, or of whole rows of it."""
        if not symbols.size:
            return
        weights = symbols.reshape(-1).astype(np.int64)
        head = _describe(weights, symbols.shape, self.form)
        self._written.add_head(_head_bytes(head, self.form))
        for _ in self._session.run(weights, head, self._written.streams):
            self._written.take(self._session.state)

    def finish(self) -> int:
        """End the code; returns how many bytes it has."""
        return self._written.finish(self._session.state)

    def data(self) -> bytes:
        """The code: a head for each table, then the decisions, then the plain bits."""
        return self._written.data()


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
        streams = read_streams(reader)
        session = Session(form, min(widest(shapes), COLUMNS), streams.coded, decoding=True)
        decoded = []
        for head, shape in zip(heads, shapes, strict=True):
            weights = np.zeros(math.prod(shape), np.int64)
            for _ in session.run(weights, head, streams) if head else ():
                check_end(session.state, streams.coded)
            decoded.append(as_symbols(weights, alphabet).reshape(shape))
        return decoded


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


def _table_head(shape: Shape, top: int, zeros: int, centre: int, grid: int) -> TableHead:
    taps = math.prod(shape[2:]) if len(shape) > 2 else 1
    return TableHead(columns_of(shape), min(taps, columns_of(shape)), top, zeros, centre, grid)


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


register_code(ContextCode())
