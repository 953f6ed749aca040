"""The compiled loops of the mixing code, of integers only, so that every machine gets the same.

Probabilities that a decision is 1 have 16 bits where they meet the coder and 22 where they are
learned; a stretched probability is its logit in units of 1/256. ``y`` is a decision, 0 or 1.

The table shows what each context is worth: how much longer the code of the indices gets without
it, in percent. Learned mosaics of Silero VAD 6.2.3 at 16 kHz, blocks of one weight: *16*, 16
motifs at rate .05, where 47 % of the indices are 0; *64*, 64 motifs at a share of zeros of .9.

==================================  =====  =====
without                                16     64
==================================  =====  =====
0: how many are other than 0          .06    .02
1: the same of the column             .12    .13
2: the same of the row                .29    .19
3: which neighbours are other than 0  .49   1.06
4: levels of row and column           .02    .01
5: of the column and what feeds it    .01   -.01
6: a constant                        -.01    .00
1, 2, 4 and 5 together               1.81   1.52
symbol: the one to the left          1.25    .04
symbol: the one above                3.42   1.66
symbol: both                         5.27   1.96
bits a weight with everything        1.99    .89
==================================  =====  =====
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kolmo.codes.arithmetic import code_bit, new_coder
from kolmo.compiled import Array, compiled

LIMIT = 2800  # largest stretched probability: 65536 / (1 + exp(2800 / 256)) is just over 1
INPUTS = 7  # predictions mixed, at most
_NODES = 96  # decisions of a symbol that have contexts; the others are counted alone
_UNARY = 32  # decisions before those of the leading digits
_NEAR = 16  # symbols that a context distinguishes; larger ones count as the last
_PRECISION = 22
_HALF = 1 << (_PRECISION - 1)
_MEMORY = 1023  # decisions after which a probability forgets as fast as it learns
_FIRST_WEIGHT = 22_000  # of 65,536; the inputs start at a third each


class Tables(NamedTuple):
    """Tables of `squash`, of its inverse and of the learning rates."""

    squash: Array
    stretch: Array
    rates: Array


class MixingModel(NamedTuple):
    """The state learned across tables: probabilities, the counts behind them, mixing weights.

    All but the weights have shape (contexts, 2): a probability and how many decisions it has seen.
    """

    near: Array  # by which of four neighbours are other than 0
    crossed: Array  # by levels of column × row
    fed: Array  # by levels of the column × the rows that feed it
    nodes: Array  # by the decision on a symbol alone
    left: Array  # by decision × symbol to the left
    above: Array  # by decision × symbol above
    zero_weights: Array  # (3, INPUTS): for a first row, a column still empty, any other
    node_weights: Array  # (_NODES + 1, INPUTS): by decision; the last for all without contexts


class Known(NamedTuple):
    """Counts of the current table so far: symbols other than 0 by column, by row, in all."""

    fed: Array  # for each column the level, 0 to 15, of the rows before that feed it
    columns: Array
    rows: Array
    total: Array  # the number of symbols other than 0, and of all symbols


class MixingState(NamedTuple):
    """All that coding changes; ``inputs`` is a buffer for the predictions of a decision."""

    tables: Tables
    model: MixingModel
    coder: Array
    stream: Array
    inputs: Array


def new_state(tables: Tables, alphabet: int, stream: Array, decoding: bool) -> MixingState:
    """The state before the first decision, to write to the stream or to read from it."""
    coder = new_coder(stream, decoding)
    return MixingState(tables, _new_model(alphabet), coder, stream, np.zeros(INPUTS, np.int64))


def _new_model(alphabet: int) -> MixingModel:
    """A model that has seen nothing."""

    def fresh(*shape: int) -> Array:
        table = np.zeros((*shape, 2), np.int64)
        table[..., 0] = _HALF
        return table

    return MixingModel(
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
    symbols: Array,
    first: int,
    last: int,
    columns: int,
    alphabet: int,
    known: Known,
    state: MixingState,
) -> bool:
    """Encode the symbols first..last of a table, or decode them; False if one is out of range.

    ``symbols`` is the table, flat in row-major order: when decoding, those before ``first`` are
    known and the others 0. ``known`` and ``state`` are changed. The first decision on a symbol is
    whether it is 0; if it is not, others say which symbol it is.
    """
    top = 0  # digits after the leading one that a symbol can have
    while (alphabet - 1) >> (top + 1):
        top += 1
    for place in range(first, last):
        row, column = place // columns, place % columns
        west = symbols[place - 1] if column > 0 else 0
        north = symbols[place - columns] if row > 0 else 0
        # Which neighbours are other than 0: pruned weights come in clusters, and along rows and
        # columns. One bit each: to the left, above, two to the left, above to the left.
        near = (west > 0) + 2 * (north > 0)
        if column > 1:
            near += 4 * (symbols[place - 2] > 0)
        if column > 0 and row > 0:
            near += 8 * (symbols[place - columns - 1] > 0)
        symbol = 0
        if _code_zero(int(symbols[place] > 0), row, column, near, known, state):
            symbol = _code_rank(symbols[place], top, west, north, state)
            if symbol >= alphabet:  # damaged data name such symbols
                return False
            known.columns[column] += 1
            known.rows[row] += 1
            known.total[0] += 1
        known.total[1] += 1
        symbols[place] = symbol
    return True


@compiled
def _code_zero(y: int, row: int, column: int, near: int, known: Known, state: MixingState) -> int:
    """Code whether a symbol is other than 0; returns it.

    ``near`` is the pattern of neighbours, 0 to 15. Three inputs are shares so far, in the whole
    table, the column and the row: they follow each table from its start. Three are learned across
    tables. The last is a constant, whose weight is a bias.
    """
    tables, model, inputs = state.tables, state.model, state.inputs
    total, seen = known.total
    # The table's prior weighs as one symbol, of which a twentieth is other than 0. The column
    # counts as if it had two more rows like the whole table, the row as if it had four more
    # columns: a dead input or a pruned output shows after a few weights, and not after the first.
    overall = (65536 * total + 3277) // (seen + 1)
    by_column = (65536 * known.columns[column] + 2 * overall) // (row + 2)
    by_row = (65536 * known.rows[row] + 4 * overall) // (column + 4)
    # Row and column together, in levels: how their shares combine is learned, for it is neither the
    # product nor the mean. ``fed``: a unit with few weights in the layer before has few in this
    # layer too, which is known before the column begins.
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
    # Which inputs are reliable differs: a first row has no column to go by, and a column of zeros
    # so far is either dead or about to change.
    which = 0 if row == 0 else (1 if known.columns[column] == 0 else 2)
    y = _code_mixed(y, INPUTS, model.zero_weights[which], state)
    _learn(tables, model.near, near, y)
    _learn(tables, model.crossed, crossed, y)
    _learn(tables, model.fed, fed, y)
    return y


@compiled
def _code_rank(symbol: int, top: int, west: int, north: int, state: MixingState) -> int:
    """Code a symbol that is not 0: the number of its digits in unary, then the digits.

    ``top`` is the most digits that can follow the leading one, ``west`` and ``north`` are the
    symbols to the left and above. Returns the symbol; when decoding damaged data it may lie outside
    the alphabet. Callers number motifs by falling use, so that the unary part is short; there are
    as many decisions as an Elias gamma code has bits.
    """
    digits = 0
    while symbol >> (digits + 1):
        digits += 1
    west, north = min(west, _NEAR - 1), min(north, _NEAR - 1)  # rare symbols share a context
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
def _code_node(y: int, node: int, west: int, north: int, state: MixingState) -> int:
    """Code one decision of a symbol, in the contexts of the symbols to the left and above.

    Weights of one sign or magnitude, and so their motifs, cluster along rows and columns. Decisions
    beyond _NODES belong to symbols too rare for contexts. Returns the decision.
    """
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
def _code_mixed(y: int, count: int, weights: Array, state: MixingState) -> int:
    """Code a decision at the mixture of its first ``count`` predictions; returns it.

    The logits are added up, each with its weight; the weights are learned by the gradient of the
    code length: error × input, times 160 / 2^24.
    """
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
    """Move a probability towards a decision, by 1 / (n + 1.5) after n decisions."""
    seen = table[place, 1]
    table[place, 0] += (((y << _PRECISION) - table[place, 0]) * tables.rates[seen]) >> 16
    table[place, 1] = min(seen + 1, _MEMORY)


@compiled
def _predicted(tables: Tables, table: Array, place: int) -> int:
    """The logit of a learned probability."""
    return _stretched(tables, table[place, 0] >> (_PRECISION - 16))


@compiled
def _stretched(tables: Tables, probability: int) -> int:
    """The logit of a probability of 16 bits, in 256ths."""
    return int(tables.stretch[min(max(probability, 1), 65535)])


@compiled
def _level(tables: Tables, probability: int) -> int:
    """One of 16 levels of a probability, a unit of logit each: odds of e^-8 to e^7."""
    return min(max((_stretched(tables, probability) + 2048) >> 8, 0), 15)
