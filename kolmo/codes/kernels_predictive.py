"""The compiled loop of the predictive code, of integers only, so that every machine gets the same.

::

    weight ─► the match's? ─► zero? ─► exponent ─► leading bits ─► sign ─► further bits ─► the rest

It takes contexts and matches from `kolmo.codes.kernels_context`. Besides, each decision is
predicted by `LAWS` laws of the weight's value (`kolmo.codes.kernels_laws`): how likely its
magnitude is to lie in the upper part of the interval that is left, given what columns and
neighbours say. So the laws also predict bits further down than contexts could tell apart, as far as
the sharpest one reaches.

The file is long because it is one loop and its parts, which are read together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kolmo.codes import kernels_laws as law
from kolmo.codes.arithmetic import DECODING, code_bit, code_plain
from kolmo.codes.kernels_context import (
    BUDGET,
    COLUMN_AT,
    DEPTHS,
    ESCAPE,
    FLAGS,
    FRESH,
    HIT,
    LEFT,
    LIMIT,
    MEAN,
    NODES,
    POINTER,
    RELATIVE_AT,
    ROW_SUM,
    RUN,
    RUNS,
    SCALE_AT,
    SIGN,
    STEP,
    STEPS,
    SUM,
    TRIALS,
    TRIED,
    ZERO,
    Form,
    Streams,
    count_bit,
    depth_of,
    find_match,
    join_word,
    learn,
    look_around,
    octave_place,
    run_place,
    set_places,
    set_sign_places,
    slot_of,
    split_word,
    step_match,
)
from kolmo.codes.kernels_laws import LAWS, Columns, Laws, Neighbours
from kolmo.compiled import Array, compiled

CONTEXTS = 6  # predictions by contexts; those of laws follow, then those of two maps
INPUTS = CONTEXTS + LAWS + 2
_LEADING_CONTEXTS = 3  # contexts of a leading bit; a further bit has none

# Kinds of decisions: zero and exponent, leading bits, sign, further bits.
EXPONENT, LEADING, SIGNS, FURTHER = range(4)
KINDS = 4

# Maps correct the laws: what a law's prediction meant before. One by the sharpest law, at 64
# levels, and how much sharper than the plain law it is; one by a law of columns and one of
# neighbours.
_SHARPER, _LEVELS, _COARSE_LEVELS = 8, 64, 32
_PAIRS_AT = KINDS * _SHARPER * _LEVELS
_MAPS = _PAIRS_AT + KINDS * _COARSE_LEVELS * _COARSE_LEVELS

BOUND_BITS = 4  # bits of a float below the leading ones that are known of the largest

# Decisions predicted by a count each, without mixing. Those on a tail are as in the context code:
# whether it ends in zeros, or in more zeros (each by the row's last nine tails); whether it is the
# match's (by the match's length) or the remembered one (by its hits in a row). Besides, whether
# magnitude and then sign are the match's; the bits of an exponent far below the largest; those of
# a float of which all before are the largest one's.
_ZEROS, _MORE_ZEROS, _FORESEEN, _RECENT = 0, 512, 1024, 1040
_WHOLE, _AGREES, _ESCAPED, _BOUNDED = 1044, 1060, 1092, 1092 + (1 << 12)
ALONE = _BOUNDED + BOUND_BITS

_SURE = 65_000  # of 65,536: a match so reliable is asked for the whole weight before anything else

# Registers beyond those of the context code: whether the match's last sign was the other one; the
# last exponent that was escaped; how often a broken match may still be resumed.
_FLIPPED, _FAR, _RESUMED = 10, 11, 12
_REGISTERS = 13

# What is known of the laws of a weight: the class of the sharpest one, and which it is.
_SHARPNESS, _SHARPEST = 0, 1


class ScanHead(NamedTuple):
    """A table's head, which is sent before its weights."""

    columns: int  # weights of a row
    taps: int  # columns of one step of the second axis
    top: int  # the largest exponent
    zeros: int  # whether any weight is zero
    centre: int  # the integer that counts as 0
    grid: int  # exponent of the power of two that divides all floats, plus the mantissa's bits
    few: int  # zeros that tails often end in, 0 for none
    many: int  # and the larger number of zeros
    bound: int  # the first bits of the largest float's mantissa, −1 for unknown
    mirror: int  # whether most magnitudes are those of the transposed table


STATE = np.dtype(
    [
        # Constants, as in the context code.
        ("squash", np.int64, 2 * LIMIT + 1),
        ("stretch", np.int64, 4096),
        ("rates", np.int64, 1024),
        ("trust", np.int64, 1024),
        # What is learned from all tables: counts, maps, and weights of inputs by node, by the
        # match's length, and by the sharpness of laws.
        ("alone", np.uint32, ALONE),
        ("maps", np.uint32, _MAPS),
        ("by_node", np.int64, (3 * NODES, INPUTS)),
        ("by_run", np.int64, (KINDS * RUNS, INPUTS)),
        ("by_sharpness", np.int64, (KINDS * _SHARPER, INPUTS)),
        # Registers of the coder, the plain bits and the table.
        ("coder", np.int64, 5),
        ("plain", np.int64, 3),
        ("registers", np.int64, _REGISTERS),
        # Buffers: the predictions of a decision, the places of those by context, the laws' class.
        ("inputs", np.int64, INPUTS),
        ("places", np.int64, CONTEXTS),
        ("found", np.int64, 2),
    ],
    align=True,
)


class ScanMemory(NamedTuple):
    """What is remembered of the current table; but for values as in the context code."""

    depths: Array
    columns: Array
    ahead: Array
    behind: Array
    recent: Array
    values: Array  # of the weights so far


def new_state(constants: Sequence[Array], coder: Array) -> Any:
    """The state before the first table: a record of dtype `STATE`.

    An input's weight is the sum of three, in units of 1/131,072: in the beginning contexts count
    .15 each, laws .05.
    """
    state = np.zeros(1, STATE).view(np.recarray)[0]
    state["squash"], state["stretch"], state["rates"], state["trust"] = constants
    state["alone"], state["maps"], state["coder"] = FRESH, FRESH, coder
    for name in ("by_node", "by_run", "by_sharpness"):
        state[name], state[name][:, :CONTEXTS] = 2_000, 6_500
    return state


def begin_table(state: Any, table: Array) -> None:
    """Reset what belongs to one table: the contexts of columns, and the registers."""
    table[COLUMN_AT:] = FRESH
    registers = state["registers"]
    registers[:] = 0
    registers[MEAN], registers[LEFT] = 64 << 8, BUDGET


@compiled
def code_span(
    weights: Array,
    first: int,
    last: int,
    form: Form,
    head: ScanHead,
    state: Array,
    table: Array,
    streams: Streams,
    memory: ScanMemory,
    columns: Columns,
    near: Neighbours,
    laws: Laws,
) -> None:
    """Encode the weights first..last of a table, or decode them.

    Parameters are those of `kolmo.codes.kernels_context.code_span`, and what is known of columns,
    neighbours and laws (`kolmo.codes.kernels_laws`); all are changed.
    """
    depths, sums, recent, values = memory.depths, memory.columns, memory.recent, memory.values
    registers, places, coded = state.registers, state.places, streams.coded
    decoding = state.coder[DECODING] == 1
    for place in range(first, last):
        row = place // head.columns
        column = place - row * head.columns
        seen = look_around(place, row, column, head, registers, depths, sums)
        if head.mirror:
            _point_at_mirror(row, column, head, registers)
        run = step_match(registers)
        guess = split_word(weights[registers[POINTER]] if run > 0 else 0, form, head.centre)
        live = run
        sign, exponent, mantissa = 0, 0, 0
        if not decoding:
            sign, exponent, mantissa = split_word(weights[place], form, head.centre)
        law.predict_columns(column, columns, laws)

        # Is all of the magnitude the match's? Asked where that is nearly certain, as in copies and
        # Toeplitz matrices, it saves all other decisions. Elsewhere its count learns what the
        # answer would have been.
        whole, kind = 0, _WHOLE + (min(run, 11) if run < 16 else min(12 + (run >> 6), 15))
        asked = run > 0 and int(np.int64(state.alone[kind])) >> 16 > _SURE
        if asked:
            whole = int(exponent == guess[1] and mantissa == guess[2])
            whole = count_bit(whole, kind, state, coded)
        if whole:
            exponent, mantissa = guess[1], guess[2]
            is_zero = int(exponent == 0 and mantissa == 0)
            depth = DEPTHS - 1
            if is_zero == 0:
                bits = form.mantissa_bits if form.exponent_bits else max(exponent - 1, 0)
                modelled = min(form.modelled, bits)
                depth = depth_of(exponent, mantissa >> (bits - modelled), modelled, head.top)
            if is_zero == 0 or form.exponent_bits:
                # Signs of a match all agree, or are all flipped.
                flipped = registers[_FLIPPED]
                agrees = _AGREES + 16 * flipped + min(run, RUNS - 1)
                agrees = count_bit(int(sign == guess[0]), agrees, state, coded)
                sign = guess[0] if agrees else 1 - guess[0]
                registers[_FLIPPED] = 1 - agrees
        else:
            law.predict_neighbours(values, place, row, column, head.columns, near, laws)
            _begin(laws, state)
            set_places(places, column, seen)
            is_zero = 0
            if head.zeros:
                is_zero = int(exponent == 0 and mantissa == 0)
                foreseen = int(guess[1] == 0 and guess[2] == 0)
                places[0] = run_place(live, foreseen)
                half = 0 if form.exponent_bits else _unit(head) >> 1
                _foresee(half, half > 0, laws, state)
                is_zero = 1 - _decide(
                    1 - is_zero, ZERO, 0, EXPONENT, CONTEXTS, live, state, table, coded
                )
                live = live if is_zero == foreseen else 0
                _narrow(1, laws)
            down, depth, low, high, known = STEPS, DEPTHS - 1, 0, 0, 0
            if is_zero == 0:
                least = 0 if form.exponent_bits else 1
                aim, down = head.top - exponent, 0
                _bound(_edge(head.top + 1, form, head), laws)
                while down < STEPS and down < head.top - least:
                    foreseen = int(down == head.top - guess[1])
                    places[0] = run_place(live, foreseen)
                    _foresee(_edge(head.top - down, form, head), True, laws, state)
                    y = int(down == aim)
                    y = _decide(y, down, 0, EXPONENT, CONTEXTS, live, state, table, coded)
                    live = live if y == foreseen else 0
                    _narrow(y, laws)
                    if y:
                        break
                    down += 1
                exponent = head.top - down
                if down == STEPS:
                    width = form.exponent_bits if form.exponent_bits else ESCAPE
                    exponent = _escape(head.top - aim, width, state, coded)
                live = live if exponent == guess[1] else 0
                low, high = _edge(exponent, form, head), _edge(exponent + 1, form, head)

                bits = form.mantissa_bits if form.exponent_bits else max(exponent - 1, 0)
                modelled = min(form.modelled, bits)
                octave, scale = min(down, 15), seen.depth >> 8
                places[1] = SCALE_AT + (scale * 16 + octave) * NODES
                places[2] = RELATIVE_AT + min(max(8 * down + 36 - scale, 0), 63) * NODES
                node = 1
                for shift in range(bits - 1, bits - 1 - modelled, -1):
                    foreseen = (guess[2] >> shift) & 1
                    places[0] = octave_place(live, foreseen, octave)
                    middle = (low + high) >> 1
                    _foresee(middle, True, laws, state)
                    y = (mantissa >> shift) & 1
                    y = _decide(
                        y, node, NODES, LEADING, _LEADING_CONTEXTS, live, state, table, coded
                    )
                    _narrow(y, laws)
                    live = live if y == foreseen else 0
                    node = 2 * node + y
                    low, high = (middle, high) if y else (low, middle)
                lead = node - (1 << modelled)
                depth = depth_of(exponent, lead, modelled, head.top)

                # The tail: that of the match, or the remembered one, as in the context code.
                rest = bits - modelled
                tail = mantissa & ((1 << rest) - 1)
                known = int(rest == 0)
                if rest > 0 and live > 0:
                    foreseen = guess[2] & ((1 << rest) - 1)
                    known = int(tail == foreseen)
                    known = count_bit(known, _FORESEEN + min(live, RUNS - 1), state, coded)
                    tail = foreseen if known else tail
                    live = live if known else 0
                remembers = rest >= 12 and (
                    registers[TRIED] < TRIALS or registers[HIT] * 32 > registers[TRIED]
                )
                slot = slot_of(column, exponent, lead) & (recent.size - 1)
                sure = 0
                if remembers and recent[slot] >= 0:
                    last_tail = recent[slot] >> 2
                    sure = recent[slot] & 3
                    if known == 0:
                        known = int(tail == last_tail)
                        known = count_bit(known, _RECENT + sure, state, coded)
                        tail = last_tail if known else tail
                        registers[TRIED] += 1
                        registers[HIT] += known
                    sure = min(sure + 1, 3) if known > 0 and tail == last_tail else 0

            # The sign comes before the bits that laws predict, for these depend on it.
            if is_zero == 0 or form.exponent_bits:
                set_sign_places(places, weights, place, row, column, down, seen, form, head)
                places[0] = run_place(live, guess[0])
                _foresee_sign(low, high, is_zero == 0, laws, state)
                sign = _decide(sign, SIGN, 0, SIGNS, CONTEXTS, live, state, table, coded)
                registers[_FLIPPED] = int(sign != guess[0])

            if is_zero == 0:
                if known == 0:
                    tail = _code_tail(
                        *(tail, rest, lead, low, high, sign, exponent, form, head, state, table),
                        *(streams, laws, decoding),
                    )
                if remembers:
                    recent[slot] = (tail << 2) | sure
                if head.few > 0:
                    ends = int(tail & ((1 << head.few) - 1) == 0)
                    registers[FLAGS] = ((registers[FLAGS] << 1) | ends) & 511
                mantissa = (lead << rest) | tail

        value = _value(sign, exponent, mantissa, form, head)
        values[place] = value
        if whole == 0:
            law.learn_neighbours(value, near)
            law.learn_errors(value, laws)
        law.fit_neighbours(place, near)
        law.learn_column_errors(value, column, columns, laws)
        law.learn_column(value, column, columns)
        if column == head.columns - 1:
            law.end_row(values, place - column, head.columns, columns)
        if decoding:
            weights[place] = join_word(sign, exponent, mantissa, form, head.centre)
        depths[place] = depth
        sums[column] += depth
        registers[ROW_SUM] += depth
        registers[SUM] += depth
        if run > 0:
            right = guess[1] == exponent and guess[2] == mantissa
            if not asked:
                learn(int(right), state.alone, kind, state.rates)
            registers[RUN] = min(run + 1, 400) if right else 0
            if run >= 16 and not right:
                registers[_RESUMED] = 8
            registers[LEFT] = min(registers[LEFT] + 16 * right, 2 * BUDGET)
        if place + 1 >= form.order and (registers[LEFT] > 0 or place & 15 == 15):
            find_match(
                weights, place + 1, form, head.centre, registers, memory.ahead, memory.behind
            )
        # A long match that was broken goes on at the same distance for a while, unless another is
        # found: one weight of a copy may differ, and rows of a Toeplitz matrix begin anew.
        if registers[RUN] == 0 and registers[_RESUMED] > 0:
            registers[RUN] = 1
            registers[_RESUMED] -= 1


@compiled(inline=True)
def _point_at_mirror(row: int, column: int, head: ScanHead, registers: Array) -> None:
    """Match a row of a symmetric table with the column of the same number, up to the diagonal."""
    if column == 0 and row > 0:
        registers[POINTER], registers[STEP] = row - head.columns, head.columns
        registers[RUN] = 64
    elif column == row:
        registers[RUN] = registers[_RESUMED] = 0  # beyond the diagonal columns are not yet known


# --- values ---------------------------------------------------------------------------------


@compiled(inline=True)
def _unit(head: ScanHead) -> int:
    """The value of an integer's 1."""
    return 1 << max(law.VALUE_BITS - head.top, 0)


@compiled(inline=True)
def _value(sign: int, exponent: int, mantissa: int, form: Form, head: ScanHead) -> int:
    """The value of a weight; bits below its resolution are cut off."""
    if form.exponent_bits:
        digits = mantissa | (int(exponent > 0) << form.mantissa_bits)
        below = max(head.top, 1) - max(exponent, 1)
        shift = law.VALUE_BITS - 1 - form.mantissa_bits - below
        size = digits << shift if shift >= 0 else digits >> min(-shift, 63)
    else:
        size = ((1 << exponent >> 1) + mantissa) * _unit(head)
    return -size if sign else size


@compiled(inline=True)
def _edge(exponent: int, form: Form, head: ScanHead) -> int:
    """The value at which an exponent begins; of integers half a unit below the first."""
    if form.exponent_bits:
        shift = law.VALUE_BITS - 1 - max(head.top, 1) + exponent
        return 1 << shift if exponent > 0 and shift >= 0 else 0
    return (_unit(head) << exponent >> 1) - (_unit(head) >> 1) if exponent > 0 else 0


# --- laws -----------------------------------------------------------------------------------

# ``laws.edges[which]`` holds the chances that a magnitude is below the lower border of what is
# left, below the upper one, and below the border that the decision is about.


@compiled(inline=True)
def _begin(laws: Laws, state: Array) -> None:
    """Find the sharpest law; any magnitude is possible."""
    sharpest = 1
    for which in range(2, LAWS):
        if laws.now[which, 1] < laws.now[sharpest, 1]:
            sharpest = which
    ratio = (laws.now[law.PLAIN, 1] << 4) // laws.now[sharpest, 1]
    sharper = 0
    while sharper < _SHARPER - 1 and ratio > 17 << sharper:
        sharper += 1
    state.found[_SHARPNESS], state.found[_SHARPEST] = sharper, sharpest
    for which in range(LAWS):
        laws.edges[which, 0] = 0
    _bound(1 << law.VALUE_BITS, laws)


@compiled(inline=True)
def _bound(high: int, laws: Laws) -> None:
    """A magnitude is below a border."""
    for which in range(LAWS):
        laws.edges[which, 1] = law.within(laws.now[which], laws.chances, high)


@compiled(inline=True)
def _foresee(middle: int, is_known: bool, laws: Laws, state: Array) -> None:
    """Set the laws' inputs for the decision whether a magnitude is above a border."""
    for which in range(LAWS):
        edges = laws.edges[which]
        if is_known:
            edges[2] = law.within(laws.now[which], laws.chances, middle)
            _set_input(which, edges[1] - edges[2], edges[2] - edges[0], state)
        else:
            edges[2] = edges[0]
            state.inputs[CONTEXTS + which] = 0


@compiled(inline=True)
def _narrow(y: int, laws: Laws) -> None:
    """Keep the part of what is left that the decision says."""
    for which in range(LAWS):
        edges = laws.edges[which]
        if y:
            edges[0] = edges[2]
        else:
            edges[1] = edges[2]


@compiled(inline=True)
def _foresee_sign(low: int, high: int, is_known: bool, laws: Laws, state: Array) -> None:
    """Set the laws' inputs for the decision whether a weight of a known interval is negative."""
    for which in range(LAWS):
        now, chances = laws.now[which], laws.chances
        if is_known:
            minus = law.below(now, chances, -low) - law.below(now, chances, -high)
            plus = law.below(now, chances, high) - law.below(now, chances, low)
            _set_input(which, minus, plus, state)
        else:
            state.inputs[CONTEXTS + which] = 0


@compiled(inline=True)
def _set_input(which: int, yes: int, no: int, state: Array) -> None:
    """Set a law's input from the chances of both outcomes."""
    yes, no = max(yes, 1), max(no, 1)
    state.inputs[CONTEXTS + which] = state.stretch[min(max((yes << 12) // (yes + no), 1), 4095)]


# --- tails ----------------------------------------------------------------------------------


@compiled
def _code_tail(
    tail: int,
    rest: int,
    lead: int,
    low: int,
    high: int,
    sign: int,
    exponent: int,
    form: Form,
    head: ScanHead,
    state: Array,
    table: Array,
    streams: Streams,
    laws: Laws,
    decoding: bool,
) -> int:
    """Code a tail of ``rest`` bits of a weight in an interval; returns it.

    First, as long as all bits are those of the largest float, those that keep it below: weights
    that are drawn uniformly end in the middle of an octave. Then the bits that the sharpest law
    still predicts: while what is left is wider than half its scale. Then whether the tail ends in
    zeros; the bits between are plain.
    """
    registers, coded = state.registers, streams.coded
    scale = laws.now[state.found[_SHARPEST], 1]
    upper, left = 0, rest
    tight = exponent == head.top and lead == head.bound >> BOUND_BITS
    for shift in range(BOUND_BITS - 1, -1, -1):
        if not tight:
            break
        most, y = (head.bound >> shift) & 1, 0
        if most:
            y = count_bit((tail >> (left - 1)) & 1, _BOUNDED + shift, state, coded)
        upper, left = 2 * upper + y, left - 1
        middle = (low + high) >> 1
        low, high = (middle, high) if y else (low, middle)
        tight = y == most
    while left > 0 and high - low > scale >> 1 and high - low >= 4:
        middle = (low + high) >> 1
        _foresee_side(low, middle, high, sign, laws, state)
        y = (tail >> (left - 1)) & 1
        node = min(rest - left, NODES - 1)
        y = _decide(y, node, 2 * NODES, FURTHER, 0, 0, state, table, coded)
        upper, left = 2 * upper + y, left - 1
        low, high = (middle, high) if y else (low, middle)
    zeros = 0
    if 0 < head.few < left:
        ends = int(tail & ((1 << head.few) - 1) == 0)
        if count_bit(ends, _ZEROS + registers[FLAGS], state, coded):
            zeros = head.few
    if zeros > 0 and head.few < head.many < left:
        ends = int(tail & ((1 << head.many) - 1) == 0)
        if count_bit(ends, _MORE_ZEROS + registers[FLAGS], state, coded):
            zeros = head.many
    # Bits below the grid are always zero.
    zeros = max(zeros, min(left, head.grid - max(exponent, 1)))
    lower = (tail & ((1 << left) - 1)) >> zeros
    lower = code_plain(lower, left - zeros, state.plain, streams.plain, decoding)
    return (upper << left) | (lower << zeros)


@compiled(inline=True)
def _foresee_side(low: int, middle: int, high: int, sign: int, laws: Laws, state: Array) -> None:
    """Set the laws' inputs for the decision whether a magnitude of known sign is in the upper half
    of an interval."""
    for which in range(LAWS):
        now, chances = laws.now[which], laws.chances
        if sign:
            outer, inner = law.below(now, chances, -high), law.below(now, chances, -low)
            at = law.below(now, chances, -middle)
            _set_input(which, at - outer, inner - at, state)
        else:
            outer, inner = law.below(now, chances, high), law.below(now, chances, low)
            at = law.below(now, chances, middle)
            _set_input(which, outer - at, at - inner, state)


@compiled(inline=True)
def _escape(exponent: int, width: int, state: Array, coded: Array) -> int:
    """Code an exponent far below the largest, as its distance from the last such one: those of
    weights that decayed to nothing lie close together."""
    mask, node = (1 << width) - 1, 1
    distance = (exponent - state.registers[_FAR]) & mask
    for shift in range(width - 1, -1, -1):
        node = 2 * node + count_bit((distance >> shift) & 1, _ESCAPED + node, state, coded)
    exponent = ((node & mask) + state.registers[_FAR]) & mask
    state.registers[_FAR] = exponent
    return exponent


# --- decisions ------------------------------------------------------------------------------


@compiled
def _decide(
    y: int,
    node: int,
    base: int,
    kind: int,
    count: int,
    run: int,
    state: Array,
    table: Array,
    coded: Array,
) -> int:
    """Code a decision at the mixture of its predictions, and learn from it; returns it.

    As in the context code; the laws' inputs are set before, and two maps are added, which learn
    what the laws' predictions meant so far.
    """
    inputs, places, maps = state.inputs, state.places, state.maps
    for i in range(CONTEXTS):
        inputs[i] = _prediction(table[places[i] + node], state) if i < count else 0
    sharper, sharpest = state.found[_SHARPNESS], state.found[_SHARPEST]
    level = (inputs[CONTEXTS + sharpest] + LIMIT) >> 6
    own = (kind * _SHARPER + sharper) * _LEVELS + level
    by_columns = min(max((inputs[CONTEXTS + law.COLUMNS_NEAR] >> 6) + 16, 0), 31)
    by_neighbours = min(max((inputs[CONTEXTS + law.NEIGHBOURS] >> 6) + 16, 0), 31)
    pair = _PAIRS_AT + (kind * _COARSE_LEVELS + by_columns) * _COARSE_LEVELS + by_neighbours
    inputs[CONTEXTS + LAWS] = _prediction(maps[own], state)
    inputs[CONTEXTS + LAWS + 1] = _prediction(maps[pair], state)
    by_node = state.by_node[base + node]
    by_run = state.by_run[kind * RUNS + min(run, RUNS - 1)]
    by_sharpness = state.by_sharpness[kind * _SHARPER + sharper]
    total = 0
    for i in range(INPUTS):
        total += (by_node[i] + by_run[i] + by_sharpness[i]) * inputs[i]
    probability = state.squash[min(max(total >> 17, -LIMIT), LIMIT) + LIMIT]
    y = code_bit(y, probability, state.coder, coded)
    error = ((y << 16) - probability) * 3
    for i in range(INPUTS):
        change = (inputs[i] * error + (1 << 17)) >> 18
        by_node[i] += change
        by_run[i] += change
        by_sharpness[i] += change
    for i in range(count):
        learn(y, table, places[i] + node, state.rates)
    learn(y, maps, own, state.rates)
    learn(y, maps, pair, state.rates)
    return y


@compiled(inline=True)
def _prediction(word: int, state: Array) -> int:
    """The logit of a learned probability, which counts less if it has seen few decisions."""
    word = int(np.int64(word))
    return int((state.stretch[word >> 20] * state.trust[word & 1023]) >> 8)
