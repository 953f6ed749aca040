"""The compiled loops of the records code, of integers only, so that every machine gets the same.

::

    symbol ─► digits of four bits ─► binary decisions ─► mixed predictions ─► arithmetic coder

A symbol is coded digit by digit, the most significant first. For each digit a context chooses a
*slot*: predictions of its 15 decisions, which fill a cache line together with a check of the
context's hash. What a slot says is not mixed as it is: how a prediction of this size that has seen
so many decisions came true before, in this context's kind, is learned (an *indirect* prediction).
Hence one occurrence counts for much where all is deterministic, and for little in noise.

A prediction is one word, a probability of 22 bits above a count of 10 bits. Helpers are inlined
into their callers (see `kolmo.codes.arithmetic`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kolmo.codes.arithmetic import code_bit
from kolmo.compiled import Array, compiled

LIMIT = 2047  # largest logit, in units of 1/170
FRESH = 1 << 31  # one half, never seen
SLOT = 16  # words of a slot: the check, and a prediction of each node of a digit's tree

HASHES = 6  # rolling hashes of the symbols before
CONTEXTS = 15
MATCHES = 3  # the longest repeat, the row above, the slice before
INPUTS = CONTEXTS + MATCHES + 1

_NORTH = 6  # the first context of the row above; before it, those of the words before
_NEAR = 12  # the first of predicted values
_BIAS = 256

_LONGEST = 32  # symbols that are compared to find the longest repeat
_SURE = 16  # a repeat as long is followed without a look for a longer one
_MEMORY = 255  # decisions after which predictions forget as fast as they learn
_FAST, _SLOW = 16, 4  # paces at which weights learn, at first and at last
_FIRST = 10  # it is slower after two to the power of so many decisions

STEPS = np.array([[8, 4, 3, 2, 1, 1], [32, 16, 11, 8, 6, 2], [32, 16, 11, 8, 4, 4]], np.int64)
"""How many bits a hash moves up with each symbol, for symbols of up to 4, up to 12 and more bits;
32 bits remember 32 / step symbols."""
SEARCHED = np.array([[3, 4], [3, 5], [1, 4]], np.int64)
"""The hashes by which repeats are found."""

STATE = np.dtype(
    [
        # Constants, see `kolmo.codes.context`; steps of hashes; which of them find repeats.
        ("squash", np.uint16, 2 * LIMIT + 1),
        ("stretch", np.int16, 4096),
        ("rates", np.uint16, 1024),
        ("trust", np.uint16, 1024),
        ("kind", np.uint16, 1024),
        ("steps", np.int64, HASHES),
        ("searched", np.int64, 2),
        # What is learned: indirect predictions by count and size, those of matches, the mixing
        # weights by node, by matches and by neighbours, the final corrections.
        ("indirect", np.uint32, (CONTEXTS, 512)),
        ("matched", np.uint32, (MATCHES, 8192)),
        ("by_node", np.int32, (256, INPUTS)),
        ("by_match", np.int32, (144, INPUTS)),
        ("by_agreed", np.int32, (256, INPUTS)),
        ("finer", np.int32, (256, 33)),
        # Registers: the coder's; rolling hashes; of each match its place, length and misses.
        ("coder", np.int64, 5),
        ("pace", np.int64, 2),  # of learning weights, and decisions so far
        ("rolling", np.int64, HASHES),
        ("pointers", np.int64, MATCHES),
        ("runs", np.int64, MATCHES),
        ("misses", np.int64, MATCHES),
        # Buffers of a decision: predictions, and the places of what they came from.
        ("inputs", np.int32, INPUTS),
        ("hashes", np.int64, CONTEXTS),
        ("slots", np.int64, CONTEXTS),
        ("kinds", np.int64, CONTEXTS),
        ("tried", np.int64, MATCHES),
    ],
    align=True,
)
"""All of the state whose size is known: one record, which a call passes as one pointer."""


class Table(NamedTuple):
    """Where a tensor lies among the words, and how."""

    begin: int
    columns: int  # of a row: words from one to the one above
    slice: int  # words of the slice before, or of two rows
    bits: int


class _Seen(NamedTuple):
    """Words around a word, and what it would be if rows were alike, or rows or columns lines."""

    west: int
    north: int
    nwest: int
    neast: int
    far: int  # a slice before, or two rows
    guess: int  # what followed the longest repeat, 0 if there is none
    flat: int
    line: int
    fall: int


class Remembered(NamedTuple):
    """What is remembered of all words: the slots, and by each searched hash the last place."""

    slots: Array
    heads: Array


def new_state(constants: Sequence[Array], bits: int, coder: Array) -> Any:
    """The state before the first symbol: a record of dtype `STATE`."""
    state = np.zeros(1, STATE).view(np.recarray)[0]
    state["squash"], state["stretch"], state["rates"], state["trust"] = constants
    width = int(bits > 4) + int(bits > 12)
    state["steps"], state["searched"] = STEPS[width], SEARCHED[width]
    state["indirect"], state["matched"], state["coder"] = FRESH, FRESH, coder
    for name in ("by_node", "by_match", "by_agreed"):
        state[name] = 7_000
    state["pointers"] = -1
    state["pace"] = _FAST, 0
    state["kind"] = [32 * kind_of(seen) for seen in range(1024)]
    squash = np.asarray(constants[0], np.int64)
    state["finer"] = squash[np.clip(128 * np.arange(33) - 1, 0, 2 * LIMIT)] << 6
    return state


def kind_of(seen: int) -> int:
    """A class of counts, 0 to 15: 0 to 4 exactly, then two for each power of two."""
    if seen < 4:
        return seen
    length = min(seen.bit_length() - 1, 7)
    return 2 * length + (seen >> (length - 1) & 1)


@compiled
def code_span(
    words: Array,
    first: int,
    last: int,
    table: Table,
    state: Array,
    memory: Remembered,
    stream: Array,
) -> None:
    """Encode the words first..last of a table, or decode them.

    Parameters
    ----------
    words : int64 ndarray
        Those of all tables. When decoding, those before ``first`` are known, and first..last are
        written.
    first, last : int
        A table may be coded in spans, one after the other; the bits do not depend on them.
    table : where the words lie
    state : a record of dtype `STATE`; changed
    memory : what is remembered of all words; changed
    stream : the bytes that are written or read
    """
    bits = table.bits
    digits = (bits + 3) >> 2
    for place in range(first, last):
        _find(words, place, table, state, memory.heads)
        seen = _look(words, place, table, state)
        _set_hashes(seen, (place - table.begin) % table.columns, state)
        word, high = words[place], words[place] & 0  # of 64 bits as well, without a compiler too
        for digit in range(digits):
            shift = 4 * (digits - 1 - digit)
            upper = min(shift + 4, bits)
            _set_slots(seen, digit, high, shift, upper, bits, state, memory.slots)
            agreed = _agreed(seen, high, upper, bits) * 16 + digit
            node = 1
            for k in range(upper - 1, shift - 1, -1):
                y = (word >> k) & 1
                at = digit * 16 + node
                y = _decide(y, k, at, agreed, high, bits, words, state, memory.slots, stream)
                node, high = 2 * node + y, 2 * high + y
        words[place] = high
        _step(words, place, state)


# --- contexts -------------------------------------------------------------------------------


@compiled(inline=True)
def _look(words: Array, place: int, table: Table, state: Array) -> _Seen:
    """What is known of a word before its first digit.

    Words of other tables come before the first one of this; above it there are none.
    """
    above, before = place - table.columns, place - table.slice
    west, wwest = _at(words, place - 1, 0), _at(words, place - 2, 0)
    north, nwest = _at(words, above, table.begin), _at(words, above - 1, table.begin)
    neast = _at(words, above + 1, table.begin) if table.columns > 1 else 0
    far = _at(words, before, table.begin)
    guess = words[state.pointers[0]] if state.runs[0] > 0 else 0
    flat, line, fall = west + north - nwest, 2 * west - wwest, 2 * north - far
    return _Seen(west, north, nwest, neast, far, guess, flat, line, fall)


@compiled(inline=True)
def _at(words: Array, place: int, begin: int) -> int:
    return words[place] if place >= begin else 0


@compiled(inline=True)
def _set_hashes(seen: _Seen, column: int, state: Array) -> None:
    """Set the hashes of the contexts that all digits of a word share."""
    hashes = state.hashes
    # The digits alone; and with 1, 2, 3, ... words before (of few bits: with more).
    hashes[0] = 0
    for i in range(_NORTH - 1):
        hashes[1 + i] = _mix(state.rolling[i], 1 + i)
    # The row above: one word of it, three neighbours, and the slice or the row before it.
    north = _mix(_fold(seen.north), _NORTH)
    hashes[_NORTH] = north
    hashes[_NORTH + 1] = _mix(_mix(north, _fold(seen.west)), _fold(seen.nwest))
    hashes[_NORTH + 2] = _mix(north, _fold(seen.neast))
    hashes[_NORTH + 3] = _mix(_mix(north, _fold(seen.far)), 1)
    # The column; what followed the longest repeat.
    hashes[_NORTH + 4] = _mix(column, _NORTH + 4)
    hashes[_NORTH + 5] = _mix(_mix(_fold(seen.guess), min(state.runs[0], 15)), _NORTH + 5)


@compiled(inline=True)
def _set_slots(
    seen: _Seen,
    digit: int,
    high: int,
    shift: int,
    upper: int,
    bits: int,
    state: Array,
    slots: Array,
) -> None:
    """Find the slots of a digit, which the bits from ``shift`` to ``upper`` are.

    ``high`` is the bits above it. The last contexts are predicted values; they know of the word no
    more than how it compares with them, so that they are as good for words that never occurred.
    """
    places, key = state.slots, _mix(_fold(high), digit)
    for i in range(_NEAR):
        places[i] = _slot(_mix(state.hashes[i], key), slots)
    for i in range(_NEAR, CONTEXTS):
        value = seen.flat if i == _NEAR else (seen.line if i == _NEAR + 1 else seen.fall)
        compared = _compared(value, high, shift, upper, bits)
        places[i] = _slot(_mix(i, compared * 16 + digit), slots)


@compiled(inline=True)
def _compared(value: int, high: int, shift: int, upper: int, bits: int) -> int:
    """A predicted value's digits, this and the next, and by how much the word differs above them:
    by −1, 0 or 1; by more, and the digits do not matter."""
    off = high - _digits(value, upper, bits)
    if off > 1 or off < -1:
        return 0
    after = (value >> (shift - 4)) & 15 if shift else 0
    return ((off + 2) << 8) | (((value >> shift) & 15) << 4) | after


@compiled(inline=True)
def _agreed(seen: _Seen, high: int, upper: int, bits: int) -> int:
    """Which of four words begin as this one does, 0 to 15."""
    agreed = int(high == _digits(seen.west, upper, bits))
    agreed += 2 * int(high == _digits(seen.north, upper, bits))
    agreed += 4 * int(high == _digits(seen.flat, upper, bits))
    return agreed + 8 * int(high == _digits(seen.line, upper, bits))


@compiled(inline=True)
def _digits(word: int, shift: int, bits: int) -> int:
    """The bits of a word from ``shift`` on, which is at least 1."""
    return (word >> shift) & ((1 << (bits - shift)) - 1) if shift < bits else 0


# --- decisions ------------------------------------------------------------------------------


@compiled(inline=True)
def _decide(
    y: int,
    k: int,
    at: int,
    agreed: int,
    high: int,
    bits: int,
    words: Array,
    state: Array,
    slots: Array,
    stream: Array,
) -> int:
    """Code bit ``k`` of a word at the mixture of its predictions, and learn from it; returns it.

    ``at`` is the number of the digit and the node in it, ``high`` the bits above.

    The logits are added up, each with a weight, the sum of three: by node, by matches, and by the
    words that agree so far. They are learned by the gradient of the code length, error × input, at
    a pace that slows down.
    """
    inputs = state.inputs
    by_node, by_match, by_agreed = state.by_node, state.by_match, state.by_agreed
    _ask_contexts(at & 15, state, slots)
    matches = _ask_matches(k, at >> 4, high, bits, words, state)
    inputs[INPUTS - 1] = _BIAS
    total = 0
    for i in range(INPUTS):
        weight = by_node[at, i] + by_match[matches, i] + by_agreed[agreed, i]
        total += int(np.int64(weight) * np.int64(inputs[i]))
    logit = min(max(total >> 17, -LIMIT), LIMIT)
    mixed = int(np.int64(state.squash[logit + LIMIT]))
    y = code_bit(y, _corrected(mixed, logit, at, state), state.coder, stream)
    _correct(y, logit, at, state)
    error = ((y << 16) - mixed) * _pace(state)
    for i in range(INPUTS):
        change = (np.int64(inputs[i]) * error + (1 << 17)) >> 18
        by_node[at, i] += change
        by_match[matches, i] += change
        by_agreed[agreed, i] += change
    _learn(y, at & 15, state, slots)
    return y


@compiled(inline=True)
def _ask_contexts(node: int, state: Array, slots: Array) -> None:
    """Set the inputs of the contexts: what their slots say, by how such predictions came true."""
    for i in range(CONTEXTS):
        word = int(np.int64(slots[state.slots[i], node]))
        kind = state.kind[word & 1023] + ((np.int64(state.stretch[word >> 20]) + LIMIT) >> 7)
        state.kinds[i] = kind
        state.inputs[i] = 0
        if kind >= 32:  # it has seen a decision
            state.inputs[i] = _logit(state.indirect[i, kind], state)


@compiled(inline=True)
def _ask_matches(k: int, digit: int, high: int, bits: int, words: Array, state: Array) -> int:
    """Set the inputs of the matches that agree with the word so far; returns the row of the weights
    by matches: the length of the first, and what it and the second foresee."""
    foreseen = 0
    for m in range(MATCHES):
        state.tried[m], state.inputs[CONTEXTS + m] = -1, 0
        if state.pointers[m] >= 0:
            guess = words[state.pointers[m]]
            if _digits(guess, k + 1, bits) == high:
                bit = (guess >> k) & 1
                reliable = _length(state.runs[m]) * 16 + (state.misses[m] & 15)
                place = (reliable * 16 + digit) * 2 + bit
                state.tried[m] = place
                state.inputs[CONTEXTS + m] = _logit(state.matched[m, place], state)
                foreseen += (1 + bit) * (1 + 2 * m) if m < 2 else 0
    return _length(state.runs[0]) * 9 + foreseen


@compiled(inline=True)
def _logit(prediction: Any, state: Array) -> int:
    """A prediction's logit; it counts less if it has seen few decisions."""
    word = int(np.int64(prediction))
    logit, trust = np.int64(state.stretch[word >> 20]), np.int64(state.trust[word & 1023])
    return int(logit * trust) >> 8


@compiled(inline=True)
def _corrected(mixed: int, logit: int, at: int, state: Array) -> int:
    """The mean of a mixed probability and of what came of such ones at this node: a curve of 33
    points, between which it is a line."""
    finer, point, rest = state.finer, (logit + 2048) >> 7, (logit + 2048) & 127
    fine = int(finer[at, point] * (128 - rest) + finer[at, point + 1] * rest)
    return min(max((mixed + (fine >> 13) + 1) >> 1, 1), 65535)


@compiled(inline=True)
def _correct(y: int, logit: int, at: int, state: Array) -> None:
    """Move the nearest point of a node's curve towards a decision."""
    point = (logit + 2048 + 64) >> 7
    state.finer[at, point] += ((y << 22) - state.finer[at, point]) >> 7


@compiled(inline=True)
def _pace(state: Array) -> int:
    """How fast weights learn: one slower when 2^10, 2^11, ... decisions have been coded."""
    pace, coded = state.pace[0], state.pace[1] + 1
    state.pace[1] = coded
    if pace > _SLOW and coded >> (_FIRST + _FAST - pace):
        state.pace[0] = pace - 1
    return int(pace)


@compiled(inline=True)
def _learn(y: int, node: int, state: Array, slots: Array) -> None:
    """All predictions learn a decision."""
    rates, indirect, matched = state.rates, state.indirect, state.matched
    for i in range(CONTEXTS):
        place, kind = state.slots[i], state.kinds[i]
        if kind >= 32:
            indirect[i, kind] = _learned(y, indirect[i, kind], rates)
        slots[place, node] = _learned(y, slots[place, node], rates)
    for m in range(MATCHES):
        place = state.tried[m]
        if place >= 0:
            matched[m, place] = _learned(y, matched[m, place], rates)


@compiled(inline=True)
def _learned(y: int, prediction: Any, rates: Array) -> Any:
    """A prediction after a decision: moved by 1 / (n + 1.6) after n decisions, _MEMORY at most."""
    word = int(np.int64(prediction))
    probability, seen = word >> 10, word & 1023
    probability += (((-y & 4194303) - probability) * int(np.int64(rates[seen]))) >> 16
    return np.uint32((probability << 10) | min(seen + 1, _MEMORY))


@compiled(inline=True)
def _length(run: int) -> int:
    """A class of lengths, 0 to 15."""
    if run < 8:
        return run
    length = 3
    while length < 10 and run >> (length + 1):
        length += 1
    return 5 + length


# --- hashes ---------------------------------------------------------------------------------


@compiled(inline=True)
def _fold(word: int) -> int:
    """A word as 32 bits."""
    return (word ^ (word >> 32)) & 0xFFFFFFFF


@compiled(inline=True)
def _mix(one: int, two: int) -> int:
    """A hash of two numbers of 32 bits, of 32 bits itself."""
    key = (one * 0x2545F491) ^ (two * 0x369DEA0F + 0x1B873593)
    return (key ^ (key >> 29)) & 0xFFFFFFFF


@compiled(inline=True)
def _slot(hashed: int, slots: Array) -> int:
    """The place of a context's slot: one of two, or the one of them that has learned less, anew."""
    key = hashed * 0x5851F42D
    place = (key >> 32) & (slots.shape[0] - 1)
    check = np.uint32(((key >> 16) & 0xFFFF) | 0x10000)
    if slots[place, 0] == check:
        return int(place)
    other = place ^ 1
    if slots[other, 0] == check:
        return int(other)
    if int(np.int64(slots[other, 1])) & 1023 < int(np.int64(slots[place, 1])) & 1023:
        place = other
    slots[place, 0] = check
    for node in range(1, SLOT):
        slots[place, node] = np.uint32(FRESH)
    return int(place)


# --- matches --------------------------------------------------------------------------------


@compiled(inline=True)
def _find(words: Array, place: int, table: Table, state: Array, heads: Array) -> None:
    """Set the matches' places: a repeat's, if a longer one is found, those above and before."""
    pointers, runs = state.pointers, state.runs
    for search in range(2):
        key = state.rolling[state.searched[search]] * 0x2F0B4C47
        at = (key >> 20) & (heads.shape[1] - 1)
        start = heads[search, at] - 1  # 0 marks an empty entry
        heads[search, at] = place + 1
        if runs[0] < _SURE and start >= 0 and start != pointers[0]:
            length = 0
            while length < min(_LONGEST, start):
                if words[start - 1 - length] != words[place - 1 - length]:
                    break
                length += 1
            if length > runs[0]:
                pointers[0], runs[0], state.misses[0] = start, length, 0
    above, before = place - table.columns, place - table.slice
    pointers[1] = above if above >= table.begin else -1
    pointers[2] = before if before >= table.begin else -1


@compiled(inline=True)
def _step(words: Array, place: int, state: Array) -> None:
    """Go on to the next symbol: matches grow, or shrink to a quarter; it enters the hashes."""
    pointers, runs, misses = state.pointers, state.runs, state.misses
    for m in range(MATCHES):
        if pointers[m] >= 0:
            missed = int(words[pointers[m]] != words[place])
            runs[m] = runs[m] >> 2 if missed else min(runs[m] + 1, 65535)
            misses[m] = (2 * misses[m] + missed) & 255
    pointers[0] += int(pointers[0] >= 0)
    entering = (_fold(words[place]) + 1) * 0x369DEA0F
    for i in range(HASHES):
        state.rolling[i] = (
            ((state.rolling[i] << state.steps[i]) & 0xFFFFFFFF) * 0x2F0B4C47 + entering
        ) & 0xFFFFFFFF
