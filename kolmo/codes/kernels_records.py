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

from kolmo.codes.arithmetic import DECODING, code_bit
from kolmo.compiled import Array, compiled

LIMIT = 2047  # largest logit, in units of 1/170
FRESH = 1 << 31  # one half, never seen
SLOT = 16  # words of a slot: the check, and a prediction of each node of a digit's tree

HASHES = 6  # rolling hashes of the symbols before
CONTEXTS = 15
MATCHES = 3  # the longest repeat, the row above, the slice before
INPUTS = CONTEXTS + MATCHES + 1

# Contexts that hash the symbols before, then those of neighbours, then those of predicted values.
_BEFORE, _NORTH, _NEAR = 1, HASHES, 11

_LONGEST = 32  # symbols that are compared to find the longest repeat
_SURE = 16  # a repeat as long is followed without a look for a longer one
_MEMORY = 255  # decisions after which a slot's predictions forget as fast as they learn
_LASTING = 1023
_FAST, _SLOW = 16, 4
_FIRST = 10

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
        ("by_near", np.int32, (256, INPUTS)),
        ("finer", np.int32, (256, 33)),
        # Registers: the coder's; rolling hashes; of each match its place, length and misses.
        ("coder", np.int64, 5),
        ("pace", np.int64, 2),
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


class Memory(NamedTuple):
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
    for name in ("by_node", "by_match", "by_near"):
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
    words: Array, first: int, last: int, table: Table, state: Array, memory: Memory, stream: Array
) -> None:
    """Encode the words first..last of a table, or decode them.

    Parameters
    ----------
    words : int64 ndarray
        Those of all tables; when decoding, those before ``first`` are known.
    first, last : int
    table : where the words lie
    state : a record of dtype `STATE`; changed
    memory : what is remembered of all words; changed
    stream : the bytes that are written or read
    """
    bits, begin = table.bits, table.begin
    digits = (bits + 3) >> 2
    hashes, slots = state.hashes, state.slots
    for place in range(first, last):
        west, wwest = _at(words, place - 1, 0), _at(words, place - 2, 0)
        above = place - table.columns
        north, nwest = _at(words, above, begin), _at(words, above - 1, begin)
        neast = _at(words, above + 1, begin) if table.columns > 1 else 0
        far = _at(words, place - table.slice, begin)
        _find(words, place, table, state, memory.heads)
        guess = words[state.pointers[0]] if state.runs[0] > 0 else 0
        # What is next if rows go on alike, if the row goes on as a line, or the column does.
        flat, line, fall = west + north - nwest, 2 * west - wwest, 2 * north - far
        hashes[0] = 0
        for i in range(HASHES - 1):
            hashes[_BEFORE + i] = _mix(state.rolling[i], 1 + i)
        ours = _mix(_fold(north), _NORTH)
        hashes[_NORTH] = ours
        hashes[_NORTH + 1] = _mix(_mix(ours, _fold(west)), _fold(nwest))
        hashes[_NORTH + 2] = _mix(ours, _fold(neast))
        hashes[_NORTH + 3] = _mix(_mix(ours, _fold(far)), 1)
        hashes[_NORTH + 4] = _mix((place - begin) % table.columns, _NORTH + 4)
        for i in range(_NEAR, CONTEXTS):
            hashes[i] = i
        hashes[CONTEXTS - 1] = _mix(_mix(_fold(guess), min(state.runs[0], 15)), CONTEXTS - 1)
        word, high = words[place], 0
        for digit in range(digits):
            shift = 4 * (digits - 1 - digit)
            width = min(4, bits - shift)
            upper = shift + width
            key = _mix(_fold(high), digit)
            for i in range(CONTEXTS):
                slots[i] = hashes[i] if _NEAR <= i < CONTEXTS - 1 else _mix(hashes[i], key)
            slots[_NEAR] = _mix(_NEAR, _near(flat, high, shift, upper, bits) * 16 + digit)
            slots[_NEAR + 1] = _mix(_NEAR + 1, _near(line, high, shift, upper, bits) * 16 + digit)
            slots[_NEAR + 2] = _mix(_NEAR + 2, _near(fall, high, shift, upper, bits) * 16 + digit)
            for i in range(CONTEXTS):
                slots[i] = _slot(slots[i], memory.slots)
            agreed = int(high == _digits(west, upper, bits))
            agreed += 2 * int(high == _digits(north, upper, bits))
            agreed += 4 * int(high == _digits(flat, upper, bits))
            agreed += 8 * int(high == _digits(line, upper, bits))
            node = 1
            for k in range(upper - 1, shift - 1, -1):
                y = _decide((word >> k) & 1, words, k, digit, node, high, agreed, bits, state, memory.slots, stream)
                node = 2 * node + y
                high = 2 * high + y
        words[place] = high
        _step(words, place, state)


@compiled(inline=True)
def _at(words: Array, place: int, begin: int) -> int:
    return words[place] if place >= begin else 0


@compiled(inline=True)
def _digits(word: int, shift: int, bits: int) -> int:
    """The bits of a word from ``shift`` on."""
    return (word >> shift) & ((1 << (bits - shift)) - 1) if shift < bits else 0


@compiled(inline=True)
def _near(word: int, high: int, shift: int, upper: int, bits: int) -> int:
    """A predicted value's digits, this and the next, and how those before differ from the word's:
    by −1, 0 or 1; else all are alike."""
    off = high - _digits(word, upper, bits)
    if off > 1 or off < -1:
        return 0
    after = (word >> (shift - 4)) & 15 if shift else 0
    return ((off + 2) << 8) | (((word >> shift) & 15) << 4) | after


# --- decisions ------------------------------------------------------------------------------


@compiled(inline=True)
def _decide(
    y: int, words: Array, k: int, digit: int, node: int, high: int, agreed: int, bits: int, state: Array, slots: Array, stream: Array,
) -> int:
    inputs, places, kinds, tried = state.inputs, state.slots, state.kinds, state.tried
    for i in range(CONTEXTS):
        word = int(np.int64(slots[places[i], node]))
        kind = state.kind[word & 1023] + ((np.int64(state.stretch[word >> 20]) + LIMIT) >> 7)
        kinds[i] = kind
        word = int(np.int64(state.indirect[i, kind]))
        inputs[i] = (np.int64(state.stretch[word >> 20]) * np.int64(state.trust[word & 1023])) >> 8 if kind >= 32 else 0
    agree = 0
    for m in range(MATCHES):
        tried[m], inputs[CONTEXTS + m] = -1, 0
        if state.pointers[m] >= 0:
            guess = words[state.pointers[m]]
            if _digits(guess, k + 1, bits) == high:
                bit = (guess >> k) & 1
                tried[m] = ((_length(state.runs[m]) * 16 + (state.misses[m] & 15)) * 16 + digit) * 2 + bit
                word = int(np.int64(state.matched[m, tried[m]]))
                inputs[CONTEXTS + m] = (np.int64(state.stretch[word >> 20]) * np.int64(state.trust[word & 1023])) >> 8
                if m < 2:
                    agree += (1 + bit) * (1 + 2 * m)
    inputs[INPUTS - 1] = 256
    one, two, three = digit * 16 + node, _length(state.runs[0]) * 9 + agree, agreed * 16 + digit
    by_node, by_match, by_near = state.by_node, state.by_match, state.by_near
    total = 0
    for i in range(INPUTS):
        total += (by_node[one, i] + by_match[two, i] + by_near[three, i]) * inputs[i]
    logit = min(max(total >> 17, -LIMIT), LIMIT)
    probability = np.int64(state.squash[logit + LIMIT])
    place, rest = (logit + 2048) >> 7, (logit + 2048) & 127
    finer = state.finer
    fine = finer[one, place] * (128 - rest) + finer[one, place + 1] * rest
    y = code_bit(y, min(max((probability + (fine >> 13) + 1) >> 1, 1), 65535), state.coder, stream)
    place += rest >> 6
    finer[one, place] += ((y << 22) - finer[one, place]) >> 7
    error = ((y << 16) - probability) * state.pace[0]
    state.pace[1] += 1
    if state.pace[0] > _SLOW and state.pace[1] >> (_FIRST + _FAST - state.pace[0]):
        state.pace[0] -= 1
    for i in range(INPUTS):
        change = (inputs[i] * error + (1 << 17)) >> 18
        by_node[one, i] += change
        by_match[two, i] += change
        by_near[three, i] += change
    for i in range(CONTEXTS):
        if kinds[i] >= 32:
            state.indirect[i, kinds[i]] = _learned(y, state.indirect[i, kinds[i]], _LASTING, state.rates)
        slots[places[i], node] = _learned(y, slots[places[i], node], _MEMORY, state.rates)
    for m in range(MATCHES):
        if tried[m] >= 0:
            state.matched[m, tried[m]] = _learned(y, state.matched[m, tried[m]], _LASTING, state.rates)
    return y


@compiled(inline=True)
def _learned(y: int, prediction: Any, most: int, rates: Array) -> Any:
    """A prediction after a decision: moved by 1 / (n + 1.6) after n decisions, ``most`` at most."""
    word = int(np.int64(prediction))
    probability, seen = word >> 10, word & 1023
    probability += (((-y & 4194303) - probability) * np.int64(rates[seen])) >> 16
    return np.uint32((probability << 10) | min(seen + 1, most))


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
        return place
    other = place ^ 1
    if slots[other, 0] == check:
        return other
    if int(np.int64(slots[other, 1])) & 1023 < int(np.int64(slots[place, 1])) & 1023:
        place = other
    slots[place, 0] = check
    for node in range(1, SLOT):
        slots[place, node] = np.uint32(FRESH)
    return place


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
        state.rolling[i] = ((state.rolling[i] << state.steps[i]) * 0x2F0B4C47 + entering) & 0xFFFFFFFF
