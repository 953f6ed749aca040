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
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import kernels_trellis as kernels
from kolmo.codes.arithmetic import PLACE, last_bytes, new_coder
from kolmo.codes.base import register_code
from kolmo.codes.forms import LEVELS, is_of_levels
from kolmo.codes.kernels_context import FRESH
from kolmo.codes.kernels_states import Trellis, find_starts
from kolmo.codes.kernels_trellis import LevelHead
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.codes.predictive import new_columns, new_laws
from kolmo.codes.tables import (
    COLUMNS,
    SPAN,
    Words,
    as_symbols,
    check_end,
    columns_of,
    constants,
    widest,
    writable,
)
from kolmo.errors import InputError, NotApplicableError
from kolmo.symbols import Alphabet, Shape, Symbols

MACHINES = {2: (0o5, 0o2), 3: (0o13, 0o4), 4: (0o23, 0o4), 6: (0o103, 0o24)}
"""Parity checks h0, h1 of the codes of 2^m states (Ungerboeck, "Channel coding with
multilevel/phase signals", IEEE Trans. IT 1982, table I), by m."""

BY_DESIGN = 64
"""More checks than these are passed by levels that were made for a trellis, and by no others."""

_WORST = 160  # most bytes of a level: about forty decisions of up to four bytes each


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


class _Head(NamedTuple):
    """What is sent before a table's levels: what they need, the trellis, and where its columns are
    in it."""

    levels: LevelHead
    memory: int
    starts: Words


class _Session:
    """One run of the model over tables, one after the other."""

    def __init__(self, columns: int, coded: NDArray[np.uint8], decoding: bool) -> None:
        self.state = kernels.new_state(constants(), new_coder(coded, decoding))
        self.table = np.full(kernels.table_size(columns), FRESH, np.uint32)
        self.coded = coded

    def run(self, levels: Words, head: _Head) -> Iterator[None]:
        """Encode a table, or decode into it; yields after each span of it."""
        count = head.levels.columns
        memory = kernels.LevelMemory(
            np.zeros(count, np.int64), head.starts.copy(), np.zeros(count, np.int64)
        )
        columns, laws = new_columns(count, levels.size // count), new_laws()
        self.table[kernels.table_size(0) :] = FRESH
        self.state["registers"][:] = 0
        for first in range(0, levels.size, SPAN):
            last = min(first + SPAN, levels.size)
            spanned = (levels, first, last, head.levels, machine(head.memory))
            learned = (self.table, self.coded, memory, columns, laws)
            kernels.code_span(*spanned, self.state, *learned)
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
        return is_of_levels(alphabet) and widest(shapes) < COLUMNS

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        described = [_describe(part, alphabet) for part in parts if part.size]
        coded = np.empty(_WORST * SPAN, np.uint8)
        session = _Session(widest([part.shape for part in parts]), coded, decoding=False)
        pieces = [_head_bytes(head) for _, head in described]
        coder = session.state["coder"]
        for levels, head in described:
            for _ in session.run(levels, head):
                pieces.append(coded[: coder[PLACE]].tobytes())
                coder[PLACE] = 0
        return b"".join([*pieces, last_bytes(coder)])

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        if not self.takes(shapes, alphabet):
            raise InputError("the trellis code takes no such symbols")
        reader = Reader(data)
        heads = [_read_head(reader, shape) if math.prod(shape) else None for shape in shapes]
        coded = writable(reader.rest())
        session = _Session(widest(shapes), coded, decoding=True)
        decoded = []
        for head, shape in zip(heads, shapes, strict=True):
            levels = np.zeros(math.prod(shape), np.int64)
            for _ in session.run(levels, head) if head else ():
                check_end(session.state, coded)
            decoded.append(as_symbols(levels + alphabet.size // 2, alphabet).reshape(shape))
        return decoded


def is_by_design(parts: Sequence[Symbols], alphabet: Alphabet) -> bool:
    """Whether the levels of all parts obey trellises, and not by accident.

    A level other than 0 passes a check: one in two has the parity that its state asks for, unless
    nearly all have the same. First states that were chosen for it make columns pass as many as a
    state has bits.

    >>> obeys = np.array([[2], [1]] * 50)
    >>> is_by_design([(obeys + 7).astype(np.uint8)], Alphabet(15))
    False
    """
    try:
        described = [_describe(part, alphabet) for part in parts if part.size]
    except NotApplicableError:
        return False
    odd = sum(np.count_nonzero(levels & 1) for levels, _ in described)
    checks = 2 * min(odd, sum(np.count_nonzero(levels) for levels, _ in described) - odd)
    chosen = sum(head.memory * head.starts.size for _, head in described if head.starts.any())
    return bool(checks - chosen > BY_DESIGN)


def _describe(part: Symbols, alphabet: Alphabet) -> tuple[Words, _Head]:
    """The levels of a table, and its head: of the trellises that they obey, the first one that all
    columns begin in state 0, else the first one."""
    columns = columns_of(part.shape)
    first = _levels(part.reshape(-1, columns)[:, 0], alphabet)
    found = dict(_starts(first, 1, MACHINES))  # most tables are refused for it alone
    levels = _levels(part, alphabet) if found else first
    found = dict(_starts(levels, columns, found))
    if not found:
        raise NotApplicableError("the levels obey no trellis")
    memory = min(found, key=lambda each: bool(found[each].any()))
    bits = max(int(levels.max()), -int(levels.min())).bit_length()
    return levels, _Head(LevelHead(columns, bits), memory, found[memory])


def _levels(symbols: Symbols, alphabet: Alphabet) -> Words:
    levels = symbols.reshape(-1).astype(np.int64)
    levels -= alphabet.size // 2
    return levels


def _starts(levels: Words, columns: int, memories: Iterable[int]) -> Iterator[tuple[int, Words]]:
    """The memories of trellises that a table obeys, and the first states of its columns."""
    for memory in memories:
        starts = np.zeros(columns, np.int64)
        if find_starts(levels, columns, machine(memory), starts):
            yield memory, starts


def _head_bytes(head: _Head) -> bytes:
    has_starts = bool(head.starts.any())
    states = head.starts.astype(np.uint8).tobytes() if has_starts else b""
    return number_bytes(2 * head.memory + has_starts) + number_bytes(head.levels.bits) + states


def _read_head(reader: Reader, shape: Shape) -> _Head:
    memory, has_starts = divmod(reader.number(), 2)
    bits, columns = reader.number(), columns_of(shape)
    if memory not in MACHINES or bits >= LEVELS.bit_length() - 1:
        raise InputError("the code's head is damaged")
    states = np.zeros(columns, np.uint8)
    if has_starts:
        states = np.frombuffer(reader.take(columns), np.uint8)
    if states.max() >> memory:
        raise InputError("the code's head is damaged: it names a state that there is not")
    return _Head(LevelHead(columns, bits), memory, states.astype(np.int64))


register_code(TrellisCode())
