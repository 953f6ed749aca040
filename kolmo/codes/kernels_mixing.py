"""The compiled loops of the mixing code, of integers only, so that every machine gets the same.

Probabilities that a decision is 1 have 16 bits where they meet the coder and 22 where they are
learned; a stretched probability is its logit in units of 1/256. ``y`` is a decision, 0 or 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kolmo.codes.arithmetic import code_bit, new_coder
from kolmo.compiled import compiled

Array = Any

LIMIT = 2800  # of a stretched probability: 65536 / (1 + exp(2800 / 256)) is just over 1
INPUTS = 7  # predictions mixed, at most
_NODES = 96  # decisions of a symbol that have contexts; the others are counted alone
_UNARY = 32  # decisions before those of the leading digits
_NEAR = 16  # symbols told apart in a context
_PRECISION = 22
_HALF = 1 << (_PRECISION - 1)
_MEMORY = 1023  # decisions after which a probability forgets as fast as it learns
_FIRST_WEIGHT = 22_000  # of 65536; the inputs start at a third each


class Tables(NamedTuple):
    """What `squash`, its inverse and the learning rates are, as tables."""

    squash: Array
    stretch: Array
    rates: Array


class Model(NamedTuple):
    """What is learned across tables: probabilities, the counts behind them, weights of mixing."""

    near: Array
    crossed: Array
    fed: Array
    nodes: Array
    left: Array
    above: Array
    zero_weights: Array
    node_weights: Array


class Known(NamedTuple):
    """What is known of the table at hand: symbols other than 0 by column, by row, in all."""

    fed: Array
    columns: Array
    rows: Array
    total: Array


class State(NamedTuple):
    """All that coding changes; ``inputs`` is room for the predictions of a decision."""

    tables: Tables
    model: Model
    coder: Array
    stream: Array
    inputs: Array


def new_state(tables: Tables, alphabet: int, stream: Array, decoding: bool) -> State:
    """The state before the first decision, to write to the stream or to read from it."""
    coder = new_coder(stream, decoding)
    return State(tables, _new_model(alphabet), coder, stream, np.zeros(INPUTS, np.int64))


def _new_model(alphabet: int) -> Model:
    def fresh(*shape: int) -> Array:
        table = np.zeros((*shape, 2), np.int64)
        table[..., 0] = _HALF
        return table

    return Model(
        near=fresh(16),
        crossed=fresh(256),
        fed=fresh(256),
        nodes=fresh(_UNARY + alphabet),
        left=fresh(_NODES * _NEAR),
        above=fresh(_NODES * _NEAR),
        zero_weights=np.full((3, INPUTS), _FIRST_WEIGHT, np.int64),
        node_weights=np.full((_NODES + 1, INPUTS), _FIRST_WEIGHT, np.int64),
    )


@compiled
def code_span(
    symbols: Array, first: int, last: int, columns: int, alphabet: int, known: Known, state: State
) -> bool:
    """Code the symbols first..last of a table, or fill them in; False if one is out of range."""
    top = 0
    while (alphabet - 1) >> (top + 1):
        top += 1
    for place in range(first, last):
        row, column = place // columns, place % columns
        west = symbols[place - 1] if column > 0 else 0
        north = symbols[place - columns] if row > 0 else 0
        near = (west > 0) + 2 * (north > 0)
        if column > 1:
            near += 4 * (symbols[place - 2] > 0)
        if column > 0 and row > 0:
            near += 8 * (symbols[place - columns - 1] > 0)
        symbol = 0
        if _code_zero(int(symbols[place] > 0), row, column, near, known, state):
            symbol = _code_rank(symbols[place], top, west, north, state)
            if symbol >= alphabet:
                return False
            known.columns[column] += 1
            known.rows[row] += 1
            known.total[0] += 1
        known.total[1] += 1
        symbols[place] = symbol
    return True


@compiled
def _code_zero(y: int, row: int, column: int, near: int, known: Known, state: State) -> int:
    """Code whether a symbol is other than 0."""
    tables, model, inputs = state.tables, state.model, state.inputs
    total, seen = known.total
    overall = (65536 * total + 3277) // (seen + 1)  # as if one in twenty were
    by_column = (65536 * known.columns[column] + 2 * overall) // (row + 2)
    by_row = (65536 * known.rows[row] + 4 * overall) // (column + 4)
    column_level = _level(tables, by_column)
    crossed = 16 * column_level + _level(tables, by_row)
    fed = 16 * column_level + known.fed[column]
    inputs[0] = _stretched(tables, overall)
    inputs[1] = _stretched(tables, by_column)
    inputs[2] = _stretched(tables, by_row)
    inputs[3] = _predicted(tables, model.near, near)
    inputs[4] = _predicted(tables, model.crossed, crossed)
    inputs[5] = _predicted(tables, model.fed, fed)
    inputs[6] = 64
    which = 0 if row == 0 else (1 if known.columns[column] == 0 else 2)
    y = _code_mixed(y, INPUTS, model.zero_weights[which], state)
    _learn(tables, model.near, near, y)
    _learn(tables, model.crossed, crossed, y)
    _learn(tables, model.fed, fed, y)
    return y


@compiled
def _code_rank(symbol: int, top: int, west: int, north: int, state: State) -> int:
    """Code a symbol that is not 0: how many digits, each a decision, then the digits."""
    digits = 0
    while symbol >> (digits + 1):
        digits += 1
    west, north = min(west, _NEAR - 1), min(north, _NEAR - 1)
    length = 0
    while length < top and _code_node(int(digits > length), length, west, north, state):
        length += 1
    value = 1
    for shift in range(length - 1, -1, -1):
        digit = (symbol >> shift) & 1
        value = 2 * value + _code_node(digit, _UNARY + value, west, north, state)
        if _UNARY + value >= state.model.nodes.shape[0]:
            break  # beyond the alphabet already
    return value


@compiled
def _code_node(y: int, node: int, west: int, north: int, state: State) -> int:
    """Code one decision of a symbol, in the contexts of the symbols to the left and above."""
    tables, model, inputs = state.tables, state.model, state.inputs
    left, above = node * _NEAR + west, node * _NEAR + north
    inputs[0] = _predicted(tables, model.nodes, node)
    count = 1
    if node < _NODES:
        inputs[1] = _predicted(tables, model.left, left)
        inputs[2] = _predicted(tables, model.above, above)
        count = 3
    y = _code_mixed(y, count, model.node_weights[min(node, _NODES)], state)
    _learn(tables, model.nodes, node, y)
    if node < _NODES:
        _learn(tables, model.left, left, y)
        _learn(tables, model.above, above, y)
    return y


@compiled
def _code_mixed(y: int, count: int, weights: Array, state: State) -> int:
    """Code a decision at the mixture of its first predictions, and learn the weights."""
    inputs = state.inputs
    total = 0
    for i in range(count):
        total += weights[i] * inputs[i]
    mixed = min(max(total >> 16, -LIMIT), LIMIT)
    probability = state.tables.squash[mixed + LIMIT]
    y = code_bit(y, probability, state.coder, state.stream)
    error = (y << 16) - probability
    for i in range(count):
        weights[i] += (inputs[i] * error * 160) >> 24
    return y


@compiled
def _learn(tables: Tables, table: Array, place: int, y: int) -> None:
    """Move a probability towards a decision, the less the more it has seen."""
    seen = table[place, 1]
    table[place, 0] += (((y << _PRECISION) - table[place, 0]) * tables.rates[seen]) >> 16
    table[place, 1] = min(seen + 1, _MEMORY)


@compiled
def _predicted(tables: Tables, table: Array, place: int) -> int:
    return _stretched(tables, table[place, 0] >> (_PRECISION - 16))


@compiled
def _stretched(tables: Tables, probability: int) -> int:
    return int(tables.stretch[min(max(probability, 1), 65535)])


@compiled
def _level(tables: Tables, probability: int) -> int:
    """One of 16 levels of a probability; most of them for the small ones."""
    return min(max((_stretched(tables, probability) + 2048) >> 8, 0), 15)
