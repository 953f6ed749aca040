"""The predictive code: the context code, and laws of values that columns and neighbours give.

::

    weights ─ in the best scan ─► laws of each value ─► mixed with contexts ─► arithmetic coder

Columns of a layer are correlated, because its inputs are; kernels are smooth; tables are made by
formulas. So the value of a weight is predicted by those around it: its mean and scale given all
weights before it in its row, from the correlation of the columns of earlier rows; and by least
squares from its neighbours. See `kolmo.codes.kernels_laws`, and docs/formats/predictive.md for
every decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import kernels_laws as laws_of
from kolmo.codes import kernels_predictive as kernels
from kolmo.codes.arithmetic import new_coder
from kolmo.codes.base import register_code
from kolmo.codes.forms import INTEGERS, form_parts
from kolmo.codes.kernels_context import FRESH, Form, Streams, table_size
from kolmo.codes.kernels_predictive import ScanHead
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.codes.scans import Scans, scanned, shape_of, unscanned
from kolmo.codes.tables import (
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

_WORST = 320  # most bytes of a weight: about 75 decisions of up to four bytes each
_HASHES = 1 << 18
_CORRELATED = 1 << 22  # correlations of columns that are learned at a time
_SHRUNK = (1 << 24) // 128, (1 << 24) // 4  # λ of both laws of columns, Q24


class PredictiveSession:
    """One run of the model over tables, one after the other; it keeps what it learns from each.
    Encoding and decoding both use it."""

    def __init__(self, form: Form, columns: int, coded: NDArray[np.uint8], decoding: bool) -> None:
        self.form = form
        self.state = kernels.new_state(constants(), new_coder(coded, decoding))
        self.table = np.full(table_size(columns), FRESH, np.uint32)

    def run(self, weights: Words, head: ScanHead, shape: Shape, streams: Streams) -> Iterator[None]:
        """Encode a table, or decode into it; yields after each span of it."""
        memory = kernels.ScanMemory(
            np.zeros(weights.size, np.int64),
            np.zeros(head.columns, np.int64),
            np.zeros(_HASHES, np.int32),
            np.zeros(_HASHES, np.int32),
            np.full(_HASHES, -1, np.int64),
            np.zeros(weights.size, np.int64),
        )
        columns = new_columns(head.columns, weights.size // head.columns)
        near, laws = _new_neighbours(shape, head.taps), new_laws()
        kernels.begin_table(self.state, self.table)
        for first in range(0, weights.size, SPAN):
            last = min(first + SPAN, weights.size)
            kernels.code_span(
                *(weights, first, last, self.form, head, self.state, self.table),
                *(streams, memory, columns, near, laws),
            )
            yield


def new_columns(count: int, rows: int) -> laws_of.Columns:
    """Columns of which nothing is known, in bands whose correlations take bounded memory; a few
    rows say little of many columns."""
    most = max(1, min(laws_of.WIDEST, 4 * rows + 12, _CORRELATED // count))
    bands = -(-count // most)
    width = -(-count // bands)
    registers = np.zeros((bands, laws_of.REGISTERS), np.int64)
    registers[:, laws_of.NEXT_FIT] = laws_of.BLOCK
    registers[:, laws_of.SCALE_SUM] = 1 << (laws_of.VALUE_BITS - 4)
    registers[:, laws_of.ROWS] = registers[:, laws_of.GUESSED] = 1
    return laws_of.Columns(
        registers,
        np.zeros((bands, width, width), np.int64),
        np.zeros((bands, 2, width, width), np.int32),
        np.full((bands, width), 1 << 12, np.int64),
        np.zeros((bands, laws_of.BLOCK, width), np.int32),
        np.zeros((2, width), np.int32),
        np.zeros(3, np.int64),
        np.array(_SHRUNK, np.int64),
        np.zeros(width, np.int64),
        np.full((2, count), 1 << 12, np.int64),
    )


def _new_neighbours(shape: Shape, taps: int) -> laws_of.Neighbours:
    count = laws_of.FEATURES
    return laws_of.Neighbours(
        neighbours_of(shape, taps),
        np.zeros(count + 1, np.int64),
        np.zeros((2, count + 1, count + 1), np.int64),
        np.zeros((2, count), np.int64),
        np.zeros((4, count + 1, count + 1), np.int64),
    )


def neighbours_of(shape: Shape, taps: int) -> Words:
    """How many rows up and columns to the left each neighbour is that least squares use; the quick
    law uses the first four.

    >>> neighbours_of((8, 6), 1)[:5].tolist()
    [[0, 1], [0, 2], [0, 3], [0, 4], [1, 0]]
    """
    if taps == 1:
        places = [*((0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, -1), (2, 0)),
                  *((0, 5), (0, 6), (1, 2), (3, 0))]  # fmt: skip
    else:
        inner = shape[-1] if len(shape) > 3 else 3
        places = [*((0, 1), (0, 2), (0, taps), (0, 2 * taps), (0, inner), (1, 0), (0, taps + 1)),
                  *((0, taps - 1), (1, -1), (1, 1), (2, 0), (0, inner + 1))]  # fmt: skip
    distinct = [p if p not in places[:i] else (0, 0) for i, p in enumerate(places)]
    return np.array(distinct, np.int64)


@cache
def _chances() -> Words:
    return laws_of.chances()


def new_laws() -> laws_of.Laws:
    count = laws_of.LAWS
    return laws_of.Laws(
        np.ones((count, 3), np.int64),
        np.zeros((count, 3), np.int64),
        np.full(2, 1 << 12, np.int64),
        _chances(),
    )


class PredictiveEncoder:
    """Takes tables of symbols, one after the other, and writes their code.

    Parameters
    ----------
    alphabet : Alphabet
    columns : int
        Those of the widest table in any scan; see `widest_scan`.
    keep : bool
        Whether to keep the bytes, rather than their number alone.
    """

    def __init__(self, alphabet: Alphabet, columns: int, keep: bool = True) -> None:
        self.form = form_of(alphabet)
        self._written = Written(_WORST, keep)
        coded = self._written.streams.coded
        self._session = PredictiveSession(self.form, columns, coded, decoding=False)
        self._scans = Scans(lambda symbols: code_size(symbols, self.form))

    def add(self, symbols: Symbols) -> None:
        """Encode a table: symbols in the shape of their tensor, or of whole rows of it."""
        if not symbols.size:
            return
        scan = self._scans.best(symbols)
        table = scanned(symbols, scan)
        weights = table.reshape(-1).astype(np.int64)
        head = _describe(weights, table.shape, self.form)
        self._written.add_head(_head_bytes(head, scan, self.form))
        for _ in self._session.run(weights, head, table.shape, self._written.streams):
            self._written.take(self._session.state)

    def finish(self) -> int:
        """End the code; returns how many bytes it has."""
        return self._written.finish(self._session.state)

    def data(self) -> bytes:
        """The code: a head for each table, then the decisions, then the plain bits."""
        return self._written.data()


def code_size(table: Symbols, form: Form) -> int:
    """Bytes of the code of a table as it lies, with nothing learned before."""
    weights, written = table.reshape(-1).astype(np.int64), Written(_WORST, keep=False)
    head = _describe(weights, table.shape, form)
    session = PredictiveSession(form, head.columns, written.streams.coded, decoding=False)
    for _ in session.run(weights, head, table.shape, written.streams):
        written.take(session.state)
    return written.finish(session.state)


class PredictiveCode:
    """See the module; the code's own bytes hold nothing of shapes and alphabet.

    >>> rows = np.cumsum(np.random.default_rng(0).normal(size=(64, 64)), axis=1)
    >>> symbols, floats = rows.astype(np.float32).view(np.uint32), Alphabet(2**32, "float32")
    >>> data = PredictiveCode().encode([symbols], floats)
    >>> len(data) < 0.9 * symbols.nbytes
    True
    >>> back = PredictiveCode().decode(data, [(64, 64)], floats)[0]
    >>> np.array_equal(back, symbols)
    True
    """

    name = "predictive"
    number = 15
    estimator = "predictive"

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return alphabet.size <= INTEGERS or form_parts(alphabet.format) is not None

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        encoder = PredictiveEncoder(alphabet, widest_scan([part.shape for part in parts]))
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
        session = PredictiveSession(form, widest_scan(shapes), streams.coded, decoding=True)
        decoded = []
        for each, shape in zip(heads, shapes, strict=True):
            weights = np.zeros(math.prod(shape), np.int64)
            head, scan = each or (None, 0)
            table_shape = shape_of(shape, scan)
            for _ in session.run(weights, head, table_shape, streams) if head else ():
                check_end(session.state, streams.coded)
            decoded.append(unscanned(as_symbols(weights, alphabet), shape, scan))
        return decoded


def widest_scan(shapes: Sequence[Shape]) -> int:
    """Columns of the widest table of these shapes, in whatever scan."""
    return max((columns for shape in shapes for columns in _column_counts(shape)), default=1)


def _column_counts(shape: Shape) -> Iterator[int]:
    yield widest([shape])
    yield from (widest([(side, math.prod(shape) // side)]) for side in shape if side and shape)


def _describe(weights: Words, shape: Shape, form: Form) -> ScanHead:
    few = many = centre = grid = 0
    bound = -1
    if form.exponent_bits:
        magnitudes = weights & ((1 << (form.exponent_bits + form.mantissa_bits)) - 1)
        top, grid = int(magnitudes.max()) >> form.mantissa_bits, lowest_bit(magnitudes, form)
        few, many = _zeros(magnitudes, form)
        bound = _bound(int(magnitudes.max()), form)
    else:
        centre = commonest(weights)
        magnitudes = np.abs(weights - centre)
        top = int(magnitudes.max()).bit_length()
    zeros, mirror = int(magnitudes.min() == 0), _is_mirrored(magnitudes, shape)
    return _table_head(shape, (top, zeros, centre, grid, few, many, bound, mirror))


def _bound(largest: int, form: Form) -> int:
    """The bits of the largest float's mantissa that are sent; −1 if the mantissa is too short."""
    if not _is_bounded(form):
        return -1
    spare = form.mantissa_bits - form.modelled - kernels.BOUND_BITS
    return (largest & ((1 << form.mantissa_bits) - 1)) >> spare


def _is_bounded(form: Form) -> bool:
    bits = form.modelled + kernels.BOUND_BITS
    return form.exponent_bits > 0 and form.mantissa_bits >= bits


def _zeros(magnitudes: Words, form: Form) -> tuple[int, int]:
    """The numbers of trailing zeros, two at most, that save most: floats that were narrower, or
    are multiples of something, end in many more zeros than chance would have it."""
    digits = magnitudes & ((1 << form.mantissa_bits) - 1)
    digits = digits[digits > 0]
    ends = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    counts = np.bincount(ends, minlength=form.mantissa_bits + 1)[: form.mantissa_bits]
    levels = np.arange(form.mantissa_bits)
    share = counts[::-1].cumsum()[::-1] / max(digits.size, 1)
    often = (levels > 3) & (share > 4 / (1 << levels)) & (share > 0.002)
    saved = np.where(often, counts * levels, 0)
    best = sorted(int(level) for level in np.argsort(saved)[-2:] if saved[level])
    few, many = (*best, 0, 0)[:2]
    return few, many


def _is_mirrored(magnitudes: Words, shape: Shape) -> int:
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 1:
        return 0
    square = magnitudes.reshape(shape)
    return int((square == square.T).mean() > 0.75)


def _table_head(shape: Shape, fields: Sequence[int]) -> ScanHead:
    columns = columns_of(shape)
    taps = math.prod(shape[2:]) if len(shape) > 2 else 1
    return ScanHead(columns, min(taps, columns), *fields)


def _head_bytes(head: ScanHead, scan: int, form: Form) -> bytes:
    reference = head.grid if form.exponent_bits else head.centre
    numbers = [2 * head.top + head.zeros, reference, 2 * scan + head.mirror]
    numbers += [head.few, head.many] if form.exponent_bits else []
    numbers += [head.bound] if head.bound >= 0 else []
    return b"".join(map(number_bytes, numbers))


def _read_head(
    reader: Reader, shape: Shape, form: Form, alphabet: Alphabet
) -> tuple[ScanHead, int]:
    top, zeros = divmod(reader.number(), 2)
    reference = reader.number()
    scan, mirror = divmod(reader.number(), 2)
    few, many = (reader.number(), reader.number()) if form.exponent_bits else (0, 0)
    bound = reader.number() if _is_bounded(form) else -1
    largest = (1 << form.exponent_bits) - 1 if form.exponent_bits else 33
    table_shape = shape_of(shape, scan)
    square = len(table_shape) == 2 and table_shape[0] == table_shape[1]
    if top > largest or reference >= alphabet.size or max(few, many) > form.mantissa_bits:
        raise InputError("the code's head is damaged")
    if bound >> (form.modelled + kernels.BOUND_BITS) > 0:
        raise InputError("the code's head is damaged: a bound is of a few bits")
    if mirror and not square:
        raise InputError("the code's head is damaged: only a square table is mirrored")
    centre, grid = (0, reference) if form.exponent_bits else (reference, 0)
    return _table_head(table_shape, (top, zeros, centre, grid, few, many, bound, mirror)), scan


register_code(PredictiveCode())
