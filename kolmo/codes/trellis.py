"""The trellis code: for levels of which each column obeys a trellis, as dependent quantization
makes them.

::

    level ─ the column's state ─► quantizer and index ─► contexts and laws ─► arithmetic coder

Two quantizers share the levels: one has the even ones, the other 0 and the odd ones. Which of them
the next level of a column is from follows from the parities of the indices before it, so that a
level costs as much as one of a grid twice as coarse, and the sequences that there are lie more
densely in space than that grid (trellis-coded quantization: Marcellin & Fischer 1990; with an
entropy code: Fischer & Wang, "Entropy-constrained trellis-coded quantization", IEEE Trans. IT
1992). `kolmo.lossy` makes such levels; docs/formats/trellis.md has every decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import kernels_trellis as kernels
from kolmo.codes.arithmetic import PLACE, new_coder
from kolmo.codes.base import register_code
from kolmo.codes.kernels_context import FRESH, Streams
from kolmo.codes.kernels_trellis import LevelHead, Trellis
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.codes.predictive import new_columns, new_laws
from kolmo.codes.tables import (
    COLUMNS,
    SPAN,
    Words,
    Written,
    as_symbols,
    columns_of,
    constants,
    widest,
    writable,
)
from kolmo.errors import InputError, NotApplicableError
from kolmo.symbols import Alphabet, Shape, Symbols

ALPHABET = 1 << 20
"""The largest alphabet."""

MACHINES = {2: (0o5, 0o2), 3: (0o13, 0o4), 4: (0o23, 0o4), 6: (0o103, 0o24)}
"""Parity checks h0, h1 of the codes of 2^m states (Ungerboeck, "Channel coding with
multilevel/phase signals", IEEE Trans. IT 1982, table I), by m."""

_WORST = 256  # most bytes of a level: about sixty decisions of up to four bytes each


@cache
def machine(memory: int) -> Trellis:
    """The trellis of 2^memory states, of which bit *i* is the input *i* + 1 steps ago.

    The parity of an index is h0 · inputs, so that it says the next input; the quantizer is
    h1 · inputs, which knows only earlier ones.

    >>> machine(2).quantizers.tolist(), machine(2).following.tolist()
    ([0, 1, 0, 1], [[0, 1], [2, 3], [1, 0], [3, 2]])
    """
    parity, which = MACHINES[memory]
    states = np.arange(1 << memory)
    bits = states[:, None] >> np.arange(memory) & 1
    taps = np.arange(1, memory + 1)
    quantizers = (bits * (which >> taps & 1)).sum(axis=1) & 1
    inputs = (bits * (parity >> taps & 1)).sum(axis=1)[:, None] + np.arange(2) & 1
    following = (states[:, None] << 1 | inputs) & (len(states) - 1)
    return Trellis(quantizers.astype(np.int64), following.astype(np.int64))


class _Session:
    """One run of the model over tables, one after the other."""

    def __init__(self, columns: int, coded: NDArray[np.uint8], decoding: bool) -> None:
        self.state = kernels.new_state(constants(), new_coder(coded, decoding))
        self.table = np.full(kernels.table_size(columns), FRESH, np.uint32)

    def run(
        self, levels: Words, head: LevelHead, trellis: Trellis, starts: Words, streams: Streams
    ) -> Iterator[None]:
        """Encode a table, or decode into it; yields after each span of it."""
        count = head.columns
        memory = kernels.LevelMemory(
            np.zeros(count, np.int64), starts.copy(), np.zeros(count, np.int64)
        )
        columns, laws = new_columns(count, levels.size // count), new_laws()
        self.table[kernels.table_size(0) :] = FRESH
        self.state["registers"][:] = 0
        for first in range(0, levels.size, SPAN):
            last = min(first + SPAN, levels.size)
            kernels.code_span(
                *(levels, first, last, head, trellis, self.state, self.table),
                *(streams, memory, columns, laws),
            )
            yield


class TrellisCode:
    """See the module; symbols of an alphabet of 2h + 1 stand for the levels −h to h.

    >>> levels = np.array([[0, 2], [4, 1], [1, 3]])
    >>> symbols, alphabet = (levels + 7).astype(np.uint8), Alphabet(15)
    >>> data = TrellisCode().encode([symbols], alphabet)
    >>> (TrellisCode().decode(data, [(3, 2)], alphabet)[0] == symbols).all()
    np.True_
    """

    name = "trellis"
    number = 16

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        has_middle = not alphabet.format and alphabet.size % 2 and 1 < alphabet.size <= ALPHABET
        return bool(has_middle) and widest(shapes) < COLUMNS

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        described = [_describe(part, alphabet) for part in parts if part.size]
        written = Written(_WORST)
        columns = widest([part.shape for part in parts])
        session = _Session(columns, written.streams.coded, decoding=False)
        for levels, head, memory, starts in described:
            written.add_head(_head_bytes(head, memory, starts))
            for _ in session.run(levels, head, machine(memory), starts, written.streams):
                written.take(session.state)
        written.finish(session.state)
        return written.data()

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        reader = Reader(data)
        heads = [_read_head(reader, shape) if math.prod(shape) else None for shape in shapes]
        coded = writable(reader.take(reader.number()))
        streams = Streams(coded, writable(reader.rest()))
        session = _Session(widest(shapes), coded, decoding=True)
        decoded = []
        for each, shape in zip(heads, shapes, strict=True):
            levels = np.zeros(math.prod(shape), np.int64)
            if each:
                head, memory, starts = each
                for _ in session.run(levels, head, machine(memory), starts, streams):
                    if session.state["coder"][PLACE] > coded.size + 4:
                        raise InputError("the code ends before its symbols do")
            decoded.append(as_symbols(levels + alphabet.size // 2, alphabet).reshape(shape))
        return decoded


def _describe(part: Symbols, alphabet: Alphabet) -> tuple[Words, LevelHead, int, Words]:
    """The levels of a table, its head, and the trellis that they obey: memory and first states."""
    levels = part.reshape(-1).astype(np.int64) - alphabet.size // 2
    columns = columns_of(part.shape)
    starts = np.zeros(columns, np.int64)
    for memory in MACHINES:
        if kernels.find_starts(levels, columns, machine(memory), starts):
            bits = int(np.abs(levels).max()).bit_length()
            return levels, LevelHead(columns, bits), memory, starts
    raise NotApplicableError("the levels obey no trellis")


def _head_bytes(head: LevelHead, memory: int, starts: Words) -> bytes:
    has_starts = bool(starts.any())
    states = starts.astype(np.uint8).tobytes() if has_starts else b""
    return number_bytes(2 * memory + has_starts) + number_bytes(head.bits) + states


def _read_head(reader: Reader, shape: Shape) -> tuple[LevelHead, int, Words]:
    memory, has_starts = divmod(reader.number(), 2)
    bits, columns = reader.number(), columns_of(shape)
    if memory not in MACHINES or bits > ALPHABET.bit_length():
        raise InputError("the code's head is damaged")
    states = np.zeros(columns, np.uint8)
    if has_starts:
        states = np.frombuffer(reader.take(columns), np.uint8)
    if states.max() >> memory:
        raise InputError("the code's head is damaged: it names a state that there is not")
    return LevelHead(columns, bits), memory, states.astype(np.int64)


register_code(TrellisCode())
