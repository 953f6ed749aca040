"""The compiled loop of the predictive code, of integers only, so that every machine gets the same.

::

    weight ─► the match's? ─► zero? ─► exponent ─► leading bits ─► sign ─► further bits ─► the rest

As `kolmo.codes.kernels_context`, of which it uses contexts and matches; besides, each decision is
predicted by *laws* of the weight's value (`kolmo.codes.kernels_laws`): how likely a magnitude is to
lie in the upper part of an interval, given what columns and neighbours say. Bits are modelled as
deep as the sharpest law reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kolmo.codes import kernels_laws as laws_of
from kolmo.codes.arithmetic import DECODING, code_bit, code_plain
from kolmo.codes.kernels_context import (
    ESCAPE,
    FRESH,
    LIMIT,
    STEPS,
    Form,
    _AXES_AT,
    _BUDGET,
    _COLUMN_AT,
    _DEPTH_AT,
    _DEPTHS,
    _FLAGS,
    _HIT,
    _LEFT,
    _MEAN,
    _NEAR_AT,
    _NODES,
    _OCTAVE_AT,
    _POINTER,
    _RELATIVE_AT,
    _ROW_SUM,
    _RUN,
    _RUNS,
    _SCALE_AT,
    _SIGN,
    _STEP,
    _SUM,
    _TRIALS,
    _TRIED,
    _WEST_AT,
    _ZERO,
    _depth,
    _find,
    _join,
    _learn,
    _look,
    _octave_place,
    _run_place,
    _set_places,
    _sign,
    _slot,
    _split,
    _step_match,
    _Seen,
)
from kolmo.codes.kernels_laws import LAWS, Columns, Laws, Neighbours
from kolmo.compiled import Array, compiled

import os
SURE = int(os.environ.get('SURE', 65000))
CONTEXTS = 6
MAPS = 2
INPUTS = CONTEXTS + LAWS + MAPS
_MANTISSA = 3
_KINDS = 4  # zero and exponent, leading bits, sign, further bits
_EXPONENT, _LEADING, _SIGNS, _FURTHER = range(_KINDS)
_SHARP = 8
_BUCKETS = 64
_MAPS_AT = 0
_PAIRS_AT = _KINDS * _SHARP * _BUCKETS
MAP_SIZE = _PAIRS_AT + _KINDS * 32 * 32
FINAL = _KINDS * 64 * 33

_COARSE, _COARSER, _FORESEEN, _RECENT, _WHOLE, _AGREES = 0, 512, 1024, 1040, 1044, 1060
_ESCAPED = 1092
ALONE = _ESCAPED + (1 << 11)

_FLIP, _FAR = 10, 11  # registers: whether the match's last sign was the other one; the last escape
REGISTERS = 12


class TableHead(NamedTuple):
    """A table's head, which is sent before its weights."""

    columns: int
    taps: int
    top: int
    zeros: int
    centre: int
    grid: int
    coarse: int
    coarser: int
    mirror: int  # whether the table equals its transpose, up to sign


STATE = np.dtype(
    [
        ("squash", np.int64, 2 * LIMIT + 1),
        ("stretch", np.int64, 4096),
        ("rates", np.int64, 1024),
        ("trust", np.int64, 1024),
        ("alone", np.uint32, ALONE),
        ("by_node", np.int64, (3 * _NODES, INPUTS)),
        ("by_run", np.int64, (_KINDS * _RUNS, INPUTS)),
        ("by_sharp", np.int64, (_KINDS * _SHARP, INPUTS)),
        ("maps", np.uint32, MAP_SIZE),
        ("final", np.uint32, FINAL),
        ("coder", np.int64, 5),
        ("plain", np.int64, 3),
        ("registers", np.int64, REGISTERS),
        ("inputs", np.int64, INPUTS),
        ("places", np.int64, CONTEXTS),
        ("found", np.int64, 4),
    ],
    align=True,
)

# state.found: kind's sharpness, the sharpest law, level of its scale
_SHARPNESS, _BEST = 0, 1


class Memory(NamedTuple):
    """What is remembered of the current table."""

    depths: Array
    columns: Array
    ahead: Array
    behind: Array
    recent: Array
    values: Array


def new_state(constants: Sequence[Array], coder: Array) -> Any:
    state = np.zeros(1, STATE).view(np.recarray)[0]
    state["squash"], state["stretch"], state["rates"], state["trust"] = constants
    state["alone"], state["coder"] = FRESH, coder
    state["maps"] = FRESH
    state["by_node"] = state["by_run"] = state["by_sharp"] = 2_000
    for one in ("by_node", "by_run", "by_sharp"):
        state[one][:, :CONTEXTS] = 6_500
    squash = constants[0]
    for bucket in range(33):
        p = int(squash[min(max((bucket - 16) * 128 + LIMIT, 0), 2 * LIMIT)])
        state["final"].reshape(-1, 33)[:, bucket] = (p << 16) | 24
    return state


def begin_table(state: Any, table: Array) -> None:
    table[_COLUMN_AT:] = FRESH
    registers = state["registers"]
    registers[:] = 0
    registers[_MEAN], registers[_LEFT] = 64 << 8, _BUDGET


@compiled
def code_span(
    weights: Array,
    first: int,
    last: int,
    form: Form,
    head: TableHead,
    state: Array,
    table: Array,
    coded: Array,
    plain: Array,
    memory: Memory,
    columns: Columns,
    near: Neighbours,
    laws: Laws,
) -> None:
    depths, sums, recent, values = memory.depths, memory.columns, memory.recent, memory.values
    registers, places = state.registers, state.places
    decoding = state.coder[DECODING] == 1
    for place in range(first, last):
        row = place // head.columns
        column = place - row * head.columns
        seen = _look(place, row, column, head, registers, depths, sums)
        if head.mirror and column == 0 and row > 0:
            registers[_POINTER], registers[_STEP], registers[_RUN] = row - head.columns, head.columns, 64
        if head.mirror and column == row:
            registers[_RUN] = 0
        run = _step_match(registers)
        guess = _split(weights[registers[_POINTER]] if run > 0 else 0, form, head.centre)
        live = run
        sign, exponent, mantissa = 0, 0, 0
        if not decoding:
            sign, exponent, mantissa = _split(weights[place], form, head.centre)

        whole, whole_at = 0, -1
        if run > 0:
            whole_at = _WHOLE + (min(run, 11) if run < 16 else min(12 + (run >> 6), 15))
            if int(np.int64(state.alone[whole_at])) >> 16 > SURE:
                whole = int(exponent == guess[1] and mantissa == guess[2])
                whole = _count(whole, whole_at, state, coded)
                if whole:
                    exponent, mantissa = guess[1], guess[2]
                whole_at = -1
        is_zero = int(exponent == 0 and mantissa == 0) if whole else 0
        bits = form.mantissa_bits if form.exponent_bits else max(exponent - 1, 0)
        modelled = min(form.modelled, bits)
        lead = mantissa >> (bits - modelled)
        depth = _DEPTHS - 1 if is_zero else _depth(exponent, lead, modelled, head.top)
        laws_of.predict_columns(column, columns, laws)
        if whole and (is_zero == 0 or form.exponent_bits):
            flip = registers[_FLIP]
            agrees = int(sign == guess[0])
            agrees = _count(agrees, _AGREES + 16 * flip + min(run, 15), state, coded)
            sign = guess[0] if agrees else 1 - guess[0]
            registers[_FLIP] = 1 - agrees
        if not whole:
            laws_of.predict_neighbours(values, place, row, column, head.columns, near, laws)
            _begin_laws(laws, state)
            _set_places(places, column, seen)
            is_zero = 0
            low = 0
            high = 1 << 30
            if head.zeros:
                is_zero = int(exponent == 0 and mantissa == 0)
                foreseen = int(guess[1] == 0 and guess[2] == 0)
                places[0] = _run_place(live, foreseen)
                half = 0 if form.exponent_bits else _unit(head) >> 1
                _borders(0, half, half > 0, laws, state)
                # is_zero is the lower part
                is_zero = 1 - _decide(1 - is_zero, _ZERO, 0, _EXPONENT, CONTEXTS, live, state, table, coded)
                live = live if is_zero == foreseen else 0
                _narrow(1, laws)
            down, depth = STEPS, _DEPTHS - 1
            sign_known = 0
            if is_zero == 0:
                least = 0 if form.exponent_bits else 1
                aim, down = head.top - exponent, 0
                _open(_edge(head.top + 1, form, head), laws)
                while down < STEPS and down < head.top - least:
                    foreseen = int(down == head.top - guess[1])
                    places[0] = _run_place(live, foreseen)
                    _borders(0, _edge(head.top - down, form, head), 1, laws, state)
                    y = _decide(int(down == aim), down, 0, _EXPONENT, CONTEXTS, live, state, table, coded)
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
                places[1] = _SCALE_AT + (scale * 16 + octave) * _NODES
                places[2] = _RELATIVE_AT + min(max(8 * down + 36 - scale, 0), 63) * _NODES
                node = 1
                for shift in range(bits - 1, bits - 1 - modelled, -1):
                    foreseen = (guess[2] >> shift) & 1
                    places[0] = _octave_place(live, foreseen, octave)
                    y = (mantissa >> shift) & 1
                    middle = (low + high) >> 1
                    _borders(0, middle, 1, laws, state)
                    y = _decide(y, node, _NODES, _LEADING, _MANTISSA, live, state, table, coded)
                    _narrow(y, laws)
                    live = live if y == foreseen else 0
                    node = 2 * node + y
                    low, high = (middle, high) if y else (low, middle)
                lead = node - (1 << modelled)
                depth = _depth(exponent, lead, modelled, head.top)

                rest = bits - modelled
                tail = mantissa & ((1 << rest) - 1)
                known = int(rest == 0)
                if rest > 0 and live > 0:
                    foreseen = guess[2] & ((1 << rest) - 1)
                    known = int(tail == foreseen)
                    known = _count(known, _FORESEEN + min(live, _RUNS - 1), state, coded)
                    tail = foreseen if known else tail
                    live = live if known else 0
                remembers = rest >= 12 and (
                    registers[_TRIED] < _TRIALS or registers[_HIT] * 32 > registers[_TRIED]
                )
                slot = _slot(column, exponent, lead) & (recent.size - 1)
                sure = 0
                if remembers and recent[slot] >= 0:
                    last_tail = recent[slot] >> 2
                    sure = recent[slot] & 3
                    if known == 0:
                        known = int(tail == last_tail)
                        known = _count(known, _RECENT + sure, state, coded)
                        tail = last_tail if known else tail
                        registers[_TRIED] += 1
                        registers[_HIT] += known
                    sure = min(sure + 1, 3) if known > 0 and tail == last_tail else 0

            if is_zero == 0 or form.exponent_bits:
                _set_sign_places(places, weights, place, row, column, down, seen, form, head)
                places[0] = _run_place(live, guess[0])
                if is_zero == 0:
                    _sides(low, high, laws, state)
                else:
                    _nothing(state)
                sign = _decide(sign, _SIGN, 0, _SIGNS, CONTEXTS, live, state, table, coded)
                registers[_FLIP] = int(sign != guess[0])

            if is_zero == 0:
                if known == 0:
                    got, count = _further(tail, rest, low, high, sign, down, state, table, coded, laws)
                    left = rest - count
                    below = 0
                    if head.coarse > 0 and head.coarse < left:
                        ends = int(tail & ((1 << head.coarse) - 1) == 0)
                        if _count(ends, _COARSE + registers[_FLAGS], state, coded):
                            below = head.coarse
                    if below > 0 and head.coarser > 0 and head.coarser < left:
                        ends = int(tail & ((1 << head.coarser) - 1) == 0)
                        if _count(ends, _COARSER + registers[_FLAGS], state, coded):
                            below = head.coarser
                    below = max(below, min(left, head.grid - max(exponent, 1)))
                    tail = (tail & ((1 << left) - 1)) >> below
                    tail = code_plain(tail, left - below, state.plain, plain, decoding)
                    tail = (got << left) | (tail << below)
                if remembers:
                    recent[slot] = (tail << 2) | sure
                if head.coarse > 0:
                    ends = int(tail & ((1 << head.coarse) - 1) == 0)
                    registers[_FLAGS] = ((registers[_FLAGS] << 1) | ends) & 511
                mantissa = (lead << rest) | tail
        if decoding:
            weights[place] = _join(sign, exponent, mantissa, form, head.centre)

        value = _value(sign, exponent, mantissa, form, head)
        values[place] = value
        if not whole:
            laws_of.learn_neighbours(value, place, near)
            laws_of.learn_errors(value, laws)
        laws_of.learn_column(value, column, columns)
        if column == head.columns - 1:
            laws_of.end_row(values, row * head.columns, head.columns, columns)
        depths[place] = depth
        sums[column] += depth
        registers[_ROW_SUM] += depth
        registers[_SUM] += depth
        if run > 0:
            right = guess[1] == exponent and guess[2] == mantissa
            if whole_at >= 0:
                _learn(int(right), state.alone, whole_at, state.rates)
            registers[_RUN] = min(run + 1, 400) if right else 0
            registers[_LEFT] = min(registers[_LEFT] + 16 * right, 2 * _BUDGET)
        if place + 1 >= form.order and (registers[_LEFT] > 0 or place & 15 == 15):
            _find(weights, place + 1, form, head.centre, registers, memory.ahead, memory.behind)


# --- values ---------------------------------------------------------------------------------


@compiled(inline=True)
def _unit(head: TableHead) -> int:
    """The value of an integer's 1."""
    return 1 << max(30 - head.top, 0)


@compiled(inline=True)
def _value(sign: int, exponent: int, mantissa: int, form: Form, head: TableHead) -> int:
    if form.exponent_bits:
        digits = mantissa | (int(exponent > 0) << form.mantissa_bits)
        shift = 29 - form.mantissa_bits - (max(head.top, 1) - max(exponent, 1))
        size = digits << shift if shift >= 0 else digits >> min(-shift, 63)
    else:
        size = ((1 << exponent >> 1) + mantissa) << max(30 - head.top, 0)
    return -size if sign else size


@compiled(inline=True)
def _edge(exponent: int, form: Form, head: TableHead) -> int:
    """The least value of an exponent."""
    if form.exponent_bits:
        shift = 29 - max(head.top, 1) + exponent
        return 1 << shift if exponent > 0 and shift >= 0 else 0
    unit = 1 << max(30 - head.top, 0)
    return (unit << exponent >> 1) - (unit >> 1) if exponent > 0 else 0


# --- laws -----------------------------------------------------------------------------------

# laws.edges[k] holds the chances that the magnitude is below the lower border, below the upper, and
# below the middle that the decision is about.


@compiled(inline=True)
def _begin_laws(laws: Laws, state: Array) -> None:
    best = 1
    for which in range(2, LAWS):
        if laws.now[which, 1] < laws.now[best, 1]:
            best = which
    ratio = (laws.now[0, 1] << 4) // laws.now[best, 1]  # 16ths
    sharp = 0
    while sharp < _SHARP - 1 and ratio > 17 << sharp:
        sharp += 1
    state.found[_SHARPNESS], state.found[_BEST] = sharp, best
    for which in range(LAWS):
        laws.edges[which, 0] = 0
        laws.edges[which, 1] = laws_of.within(laws.now[which], laws.chances, 1 << 30)


@compiled(inline=True)
def _open(high: int, laws: Laws) -> None:
    for which in range(LAWS):
        laws.edges[which, 1] = laws_of.within(laws.now[which], laws.chances, high)


@compiled(inline=True)
def _borders(kind: int, middle: int, is_there: int, laws: Laws, state: Array) -> None:
    """Set the inputs of the laws for the decision whether a magnitude is above the middle."""
    for which in range(LAWS):
        if is_there == 0:
            state.inputs[CONTEXTS + which] = 0
            laws.edges[which, 2] = laws.edges[which, 0]
            continue
        edges = laws.edges[which]
        at = laws_of.within(laws.now[which], laws.chances, middle)
        edges[2] = at
        _set_input(which, edges[1] - at, at - edges[0], state)


@compiled(inline=True)
def _set_input(which: int, up: int, down: int, state: Array) -> None:
    up, down = max(up, 1), max(down, 1)
    chance = (up << 12) // (up + down)
    state.inputs[CONTEXTS + which] = state.stretch[min(max(chance, 1), 4095)]


@compiled(inline=True)
def _narrow(y: int, laws: Laws) -> None:
    for which in range(LAWS):
        edges = laws.edges[which]
        if y:
            edges[0] = edges[2]
        else:
            edges[1] = edges[2]


@compiled(inline=True)
def _nothing(state: Array) -> None:
    for which in range(LAWS):
        state.inputs[CONTEXTS + which] = 0


@compiled(inline=True)
def _sides(low: int, high: int, laws: Laws, state: Array) -> None:
    """Set the inputs of the laws for the decision whether a weight is negative."""
    for which in range(LAWS):
        law = laws.now[which]
        minus = laws_of.below(law, laws.chances, -low) - laws_of.below(law, laws.chances, -high)
        plus = laws_of.below(law, laws.chances, high) - laws_of.below(law, laws.chances, low)
        _set_input(which, minus, plus, state)


@compiled(inline=True)
def _escape(exponent: int, width: int, state: Array, coded: Array) -> int:
    """Code an exponent far below the largest, as its distance from the last such one."""
    mask, node = (1 << width) - 1, 1
    distance = (exponent - state.registers[_FAR]) & mask
    for shift in range(width - 1, -1, -1):
        node = 2 * node + _count((distance >> shift) & 1, _ESCAPED + node, state, coded)
    exponent = ((node & mask) + state.registers[_FAR]) & mask
    state.registers[_FAR] = exponent
    return exponent


@compiled
def _further(
    tail: int,
    rest: int,
    low: int,
    high: int,
    sign: int,
    down: int,
    state: Array,
    table: Array,
    coded: Array,
    laws: Laws,
) -> tuple[int, int]:
    """Code the bits that the sharpest law still predicts; returns them and their number."""
    got, count = 0, 0
    best = state.found[_BEST]
    scale = laws.now[best, 1]
    while count < rest and high - low > scale >> 1 and high - low >= 4:
        middle = (low + high) >> 1
        for which in range(LAWS):
            law = laws.now[which]
            if sign:
                outer = laws_of.below(law, laws.chances, -high)
                inner = laws_of.below(law, laws.chances, -low)
                at = laws_of.below(law, laws.chances, -middle)
                _set_input(which, at - outer, inner - at, state)
            else:
                outer = laws_of.below(law, laws.chances, high)
                inner = laws_of.below(law, laws.chances, low)
                at = laws_of.below(law, laws.chances, middle)
                _set_input(which, outer - at, at - inner, state)
        y = (tail >> (rest - 1 - count)) & 1
        y = _decide(y, min(count, 31), 2 * _NODES, _FURTHER, 0, 0, state, table, coded)
        got = 2 * got + y
        count += 1
        low, high = (middle, high) if y else (low, middle)
    return got, count


# --- decisions ------------------------------------------------------------------------------


@compiled
def _decide(
    y: int, node: int, base: int, kind: int, count: int, run: int, state: Array, table: Array,
    coded: Array,
) -> int:
    inputs, places = state.inputs, state.places
    maps = state.maps
    sharp, best = state.found[_SHARPNESS], state.found[_BEST]
    one = base + node
    two = min(run, _RUNS - 1) + kind * _RUNS
    three = kind * _SHARP + sharp
    w1, w2, w3 = state.by_node[one], state.by_run[two], state.by_sharp[three]
    for i in range(count):
        word = int(np.int64(table[places[i] + node]))
        inputs[i] = (state.stretch[word >> 20] * state.trust[word & 1023]) >> 8
    for i in range(count, CONTEXTS):
        inputs[i] = 0
    logit = inputs[CONTEXTS + best]
    own = _MAPS_AT + (kind * _SHARP + sharp) * _BUCKETS + ((logit + LIMIT) >> 6)
    columns = min(max((inputs[CONTEXTS + 1] >> 6) + 16, 0), 31)
    near = min(max((inputs[CONTEXTS + 3] >> 6) + 16, 0), 31)
    pair = _PAIRS_AT + (kind * 32 + columns) * 32 + near
    word = int(np.int64(maps[own]))
    inputs[CONTEXTS + LAWS] = (state.stretch[word >> 20] * state.trust[word & 1023]) >> 8
    word = int(np.int64(maps[pair]))
    inputs[CONTEXTS + LAWS + 1] = (state.stretch[word >> 20] * state.trust[word & 1023]) >> 8
    total = 0
    for i in range(INPUTS):
        total += (w1[i] + w2[i] + w3[i]) * inputs[i]
    mixed = min(max(total >> 17, -LIMIT), LIMIT)
    probability = state.squash[mixed + LIMIT]
    y = code_bit(y, probability, state.coder, coded)
    error = ((y << 16) - probability) * 2
    for i in range(INPUTS):
        change = (inputs[i] * error + (1 << 17)) >> 18
        w1[i] += change
        w2[i] += change
        w3[i] += change
    for i in range(count):
        _learn(y, table, places[i] + node, state.rates)
    _learn(y, maps, own, state.rates)
    _learn(y, maps, pair, state.rates)
    return y


@compiled(inline=True)
def _count(y: int, place: int, state: Array, coded: Array) -> int:
    """Code a decision by its own count, without mixing; returns it."""
    probability = min(max(int(np.int64(state.alone[place])) >> 16, 1), 65535)
    y = code_bit(y, probability, state.coder, coded)
    _learn(y, state.alone, place, state.rates)
    return y


@compiled(inline=True)
def _set_sign_places(
    places: Array,
    weights: Array,
    place: int,
    row: int,
    column: int,
    down: int,
    seen: _Seen,
    form: Form,
    head: TableHead,
) -> None:
    near, west, beside, north = min(down, 7), 2, 2, 2
    if column >= head.taps:
        west = _sign(weights[place - head.taps], form, head.centre)
    if column > 0:
        beside = _sign(weights[place - 1], form, head.centre)
    if row > 0:
        north = _sign(weights[place - head.columns], form, head.centre)
    places[1] = _DEPTH_AT + (west + 3 * beside + 9 * north + 27 * near) * _NODES
    places[2] = _AXES_AT + ((west * 8 + near) * 64 + (seen.west >> 1)) * _NODES
    places[3] = _COLUMN_AT + column * _NODES
    places[4] = _WEST_AT + ((beside * 8 + near) * 64 + (seen.beside >> 1)) * _NODES
    places[5] = _NEAR_AT + ((north * 8 + near) * 64 + (seen.north >> 1)) * _NODES
