"""The compiled loop of the trellis code, of integers only, so that every machine gets the same.

::

    state of the column ─► which of two quantizers ─► zero? ─► sign ─► magnitude

A decision is predicted by contexts of its surroundings, by laws of the level's value given the
columns before it (`kolmo.codes.kernels_laws`) and by maps of what these laws meant so far, all of
them apart for both quantizers; the predictions are mixed in the logistic domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kolmo.codes import kernels_laws as law
from kolmo.codes.arithmetic import DECODING, code_bit
from kolmo.codes.kernels_context import FRESH, LIMIT, learn
from kolmo.codes.kernels_laws import Columns, Laws
from kolmo.codes.kernels_states import Trellis, index_of, level_of
from kolmo.compiled import Array, compiled

NODES = 32  # decisions on an index: zero, sign, then "is the magnitude larger than n?"
ZERO, SIGN, LARGER = 0, 1, 1
UNARY = 14  # magnitudes that are counted up to; what is beyond has a length in bits, and bits
LENGTH, BITS = 16, 24  # nodes of these
LONGEST = 18  # bits after the leading one
_ALONE = 8  # nodes before it have mixing weights and maps of their own, others share them by eights

# Contexts of a decision, NODES × both quantizers each: by scales of row and column, by the two
# neighbours, by the wider surroundings, by the column itself. Where each input's begin.
CONTEXTS = 4
_LEVELS = 32  # of a scale
_AXES_AT = 0
_NEAR_AT = _AXES_AT + _LEVELS * _LEVELS
_WIDE_AT = _NEAR_AT + 8 * 8 * 9
COLUMN_AT = _WIDE_AT + 64

OF_LAWS = 3  # the plain law, and two of columns
INPUTS = CONTEXTS + OF_LAWS + 2
_SHARPER = 8
_MAP_LEVELS = 64
_KINDS = 2 * (_ALONE + 3)
MAPS = _KINDS * _SHARPER * _MAP_LEVELS

# Registers of a table: the sum of magnitudes of this row and of all; how much sharper than the
# plain law the sharpest is, and which that is.
ROW_SUM, SUM, SHARPER, SHARPEST = range(4)

STATE = np.dtype(
    [
        # Constants, as in the context code.
        ("squash", np.int64, 2 * LIMIT + 1),
        ("stretch", np.int64, 4096),
        ("rates", np.int64, 1024),
        ("trust", np.int64, 1024),
        # What is learned from all tables.
        ("maps", np.uint32, MAPS),
        ("by_node", np.int64, (_KINDS, INPUTS)),
        ("by_sharpness", np.int64, (2 * _SHARPER, INPUTS)),
        # Registers of the coder and the table; buffers.
        ("coder", np.int64, 5),
        ("registers", np.int64, 4),
        ("inputs", np.int64, INPUTS),
        ("places", np.int64, CONTEXTS),
    ],
    align=True,
)


class LevelHead(NamedTuple):
    """A table's head, which is sent before its levels."""

    columns: int
    bits: int  # of the largest magnitude


class LevelMemory(NamedTuple):
    """What is remembered of the current table."""

    sums: Array  # of magnitudes, by column
    states: Array  # of the trellis, by column
    row: Array  # values of the row so far


def new_state(constants: Sequence[Array], coder: Array) -> Any:
    """The state before the first table: a record of dtype `STATE`."""
    state = np.zeros(1, STATE).view(np.recarray)[0]
    state["squash"], state["stretch"], state["rates"], state["trust"] = constants
    state["maps"], state["coder"] = FRESH, coder
    for name in ("by_node", "by_sharpness"):
        state[name] = 12_000
    return state


def table_size(columns: int) -> int:
    """The number of predictions that tables of up to ``columns`` columns need."""
    return (COLUMN_AT + columns) * 2 * NODES


@compiled
def code_span(
    levels: Array,
    first: int,
    last: int,
    head: LevelHead,
    trellis: Trellis,
    state: Array,
    table: Array,
    coded: Array,
    memory: LevelMemory,
    columns: Columns,
    laws: Laws,
) -> None:
    """Encode the levels first..last of a table, or decode them.

    ``levels`` is the table, flat in row-major order: when decoding, those before ``first`` are
    known.
    """
    registers, places = state.registers, state.places
    decoding = state.coder[DECODING] == 1
    largest, unit = 1 << head.bits, law.VALUE_BITS - head.bits
    for place in range(first, last):
        row = place // head.columns
        column = place - row * head.columns
        at = memory.states[column]
        odd = trellis.quantizers[at]
        _look_around(levels, place, row, column, odd, head, memory, registers, places)
        law.predict_columns(column, columns, laws)
        _begin(laws, registers)
        index = 0
        if not decoding:
            index = index_of(levels[place], odd)
        size = abs(index)
        _foresee(_border(0, odd, unit), laws, state)
        y = _decide(int(size > 0), ZERO, odd, state, table, coded)
        _narrow(y, laws)
        if y:
            _foresee_sign(laws, state)
            sign = _decide(int(index < 0), SIGN, odd, state, table, coded)
            size = _code_size(size, odd, unit, state, table, coded, laws)
            index = -size if sign else size
        level = level_of(index, odd)
        if decoding:
            levels[place] = level
        memory.states[column] = trellis.following[at, index & 1]
        magnitude = abs(level)
        memory.sums[column] += magnitude
        registers[ROW_SUM] += magnitude
        registers[SUM] += magnitude
        value = min(max(level, -largest), largest) << unit
        law.learn_column_errors(value, column, columns, laws)
        law.learn_column(value, column, columns)
        memory.row[column] = value
        if column == head.columns - 1:
            law.end_row(memory.row, 0, head.columns, columns)
            registers[ROW_SUM] = 0


@compiled(inline=True)
def _border(size: int, odd: int, unit: int) -> int:
    """The value half-way between two magnitudes of indices."""
    if odd:
        return (2 * size << unit) if size > 0 else (1 << unit) >> 1
    return (2 * size + 1) << unit


@compiled(inline=True)
def _look_around(
    levels: Array,
    place: int,
    row: int,
    column: int,
    odd: int,
    head: LevelHead,
    memory: LevelMemory,
    registers: Array,
    places: Array,
) -> None:
    """Set the places of the contexts of a level."""
    width = head.columns
    mean = (16 * registers[SUM] + 64) // (place + 2)
    by_row = (16 * registers[ROW_SUM] + 4 * mean) // (column + 4)
    by_column = (16 * memory.sums[column] + 2 * mean) // (row + 2)
    west = levels[place - 1] if column > 0 else 0
    north = levels[place - width] if row > 0 else 0
    wide = abs(west) + abs(north)
    if column > 1:
        wide += abs(levels[place - 2])
    if row > 1:
        wide += abs(levels[place - 2 * width])
    if row > 0 and column > 0:
        wide += abs(levels[place - width - 1])
    if row > 0 and column < width - 1:
        wide += abs(levels[place - width + 1])
    signs = 3 * _sign(west) + _sign(north)
    places[0] = _AXES_AT + _LEVELS * _scale(by_row) + _scale(by_column)
    places[1] = _NEAR_AT + 9 * (8 * min(abs(west), 7) + min(abs(north), 7)) + signs
    places[2] = _WIDE_AT + _scale(16 * wide) + _LEVELS * int(row > 0)
    places[3] = COLUMN_AT + column
    for i in range(CONTEXTS):
        places[i] = (2 * places[i] + odd) * NODES


@compiled(inline=True)
def _sign(level: int) -> int:
    return int(level > 0) + 2 * int(level < 0)


@compiled(inline=True)
def _scale(mean: int) -> int:
    """One of 32 levels of a mean of 16ths: four to an octave."""
    mean = min(mean, 1023)
    octave = 0
    while mean >> (octave + 3):
        octave += 1
    return int(4 * octave + ((mean >> octave) & 3 if octave else mean >> 1))


# --- laws -----------------------------------------------------------------------------------


@compiled(inline=True)
def _begin(laws: Laws, registers: Array) -> None:
    """Find the sharper law of columns; before any question every magnitude is possible."""
    near, far = law.COLUMNS_NEAR, law.COLUMNS_FAR
    sharpest = near if laws.now[near, 1] <= laws.now[far, 1] else far
    ratio = (laws.now[law.PLAIN, 1] << 4) // laws.now[sharpest, 1]
    sharper = 0
    while sharper < _SHARPER - 1 and ratio > 17 << sharper:
        sharper += 1
    registers[SHARPER], registers[SHARPEST] = sharper, sharpest
    for which in range(OF_LAWS):
        laws.edges[which, 0] = 0
        laws.edges[which, 1] = law.within(laws.now[which], laws.chances, 1 << law.VALUE_BITS)


@compiled(inline=True)
def _foresee(border: int, laws: Laws, state: Array) -> None:
    """Set the laws' inputs for the decision whether a magnitude is above a border."""
    for which in range(OF_LAWS):
        edges = laws.edges[which]
        edges[2] = law.within(laws.now[which], laws.chances, border)
        _set_input(which, edges[1] - edges[2], edges[2] - edges[0], state)


@compiled(inline=True)
def _narrow(y: int, laws: Laws) -> None:
    """Keep the part of what is left that the decision says."""
    for which in range(OF_LAWS):
        edges = laws.edges[which]
        if y:
            edges[0] = edges[2]
        else:
            edges[1] = edges[2]


@compiled(inline=True)
def _foresee_sign(laws: Laws, state: Array) -> None:
    """Set the laws' inputs for the decision whether a level is negative."""
    for which in range(OF_LAWS):
        below = law.below(laws.now[which], laws.chances, 0)
        _set_input(which, below, (1 << 28) - below, state)


@compiled(inline=True)
def _set_input(which: int, yes: int, no: int, state: Array) -> None:
    """Set a law's input from the chances of both outcomes."""
    yes, no = max(yes, 1), max(no, 1)
    state.inputs[CONTEXTS + which] = state.stretch[min(max((yes << 12) // (yes + no), 1), 4095)]


# --- decisions ------------------------------------------------------------------------------


@compiled
def _code_size(
    size: int, odd: int, unit: int, state: Array, table: Array, coded: Array, laws: Laws
) -> int:
    """Code a magnitude that is not 0: counted up to `UNARY`, beyond by length and bits."""
    for found in range(1, UNARY + 1):
        if not _is_larger(size, found, LARGER + found, odd, unit, state, table, coded, laws):
            return found
    length = 0
    while length < LONGEST:
        than, node = UNARY + (2 << length) - 1, LENGTH + min(length, 7)
        if not _is_larger(size, than, node, odd, unit, state, table, coded, laws):
            break
        length += 1
    found = UNARY + (1 << length)
    for shift in range(length - 1, -1, -1):
        middle, node = found + (1 << shift), BITS + min(shift, 7)
        if _is_larger(size, middle - 1, node, odd, unit, state, table, coded, laws):
            found = middle
    return found


@compiled(inline=True)
def _is_larger(
    size: int,
    than: int,
    node: int,
    odd: int,
    unit: int,
    state: Array,
    table: Array,
    coded: Array,
    laws: Laws,
) -> int:
    """Code whether a magnitude is larger than another one."""
    _foresee(_border(than, odd, unit), laws, state)
    y = _decide(int(size > than), node, odd, state, table, coded)
    _narrow(y, laws)
    return y


@compiled
def _decide(y: int, node: int, odd: int, state: Array, table: Array, coded: Array) -> int:
    """Code a decision at the mixture of its predictions, and learn from it; returns it."""
    inputs, places, maps = state.inputs, state.places, state.maps
    sharper, sharpest = state.registers[SHARPER], state.registers[SHARPEST]
    for i in range(CONTEXTS):
        inputs[i] = _prediction(table[places[i] + node], state)
    kind = 2 * (node if node < _ALONE else _ALONE - 1 + (node >> 3)) + odd
    level = (inputs[CONTEXTS + sharpest] + LIMIT) >> 6
    own = (kind * _SHARPER + sharper) * _MAP_LEVELS + level
    inputs[CONTEXTS + OF_LAWS] = _prediction(maps[own], state)
    inputs[CONTEXTS + OF_LAWS + 1] = 256
    by_node, by_sharpness = state.by_node[kind], state.by_sharpness[2 * sharper + odd]
    total = 0
    for i in range(INPUTS):
        total += (by_node[i] + by_sharpness[i]) * inputs[i]
    probability = state.squash[min(max(total >> 17, -LIMIT), LIMIT) + LIMIT]
    y = code_bit(y, probability, state.coder, coded)
    error = ((y << 16) - probability) * 3
    for i in range(INPUTS):
        change = (inputs[i] * error + (1 << 17)) >> 18
        by_node[i] += change
        by_sharpness[i] += change
    for i in range(CONTEXTS):
        learn(y, table, places[i] + node, state.rates)
    learn(y, maps, own, state.rates)
    return y


@compiled(inline=True)
def _prediction(word: int, state: Array) -> int:
    """The logit of a learned probability, which counts less if it has seen few decisions."""
    word = int(np.int64(word))
    return int((state.stretch[word >> 20] * state.trust[word & 1023]) >> 8)
