"""The compiled loops of the records code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kolmo.codes.arithmetic import code_bit
from kolmo.compiled import Array, compiled

LIMIT = 2047
FRESH = 1 << 31
CONTEXTS = 19
MATCHES = 3
INPUTS = 2 * CONTEXTS + 2 * MATCHES + 1
SLOT = 16
_LONGEST = 32
_SEARCHES = 3

_PART, _NOW, _SHIFT, _WIDTH = range(4)

STATE = np.dtype(
    [
        ("squash", np.int64, 2 * LIMIT + 1),
        ("stretch", np.int64, 4096),
        ("rates", np.int64, 1024),
        ("trust", np.int64, 1024),
        ("indirect", np.uint32, (CONTEXTS, 512)),
        ("matched", np.uint32, (MATCHES, 16 * 16 * 16 * 2)),
        ("by_node", np.int64, (256, INPUTS)),
        ("by_run", np.int64, (16 * 9, INPUTS)),
        ("by_near", np.int64, (256, INPUTS)),
        ("finer", np.uint32, (1024, 33)),
        ("finest", np.uint32, (65536, 33)),
        ("coder", np.int64, 5),
        ("inputs", np.int64, INPUTS),
        ("hashes", np.int64, CONTEXTS),
        ("places", np.int64, CONTEXTS),
        ("pointers", np.int64, MATCHES),
        ("runs", np.int64, MATCHES),
        ("misses", np.int64, MATCHES),
        ("rolling", np.int64, _SEARCHES),
        ("tried", np.int64, 4),
    ],
    align=True,
)


class Table(NamedTuple):
    begin: int
    columns: int
    rows: int
    bits: int


def new_state(constants: Sequence[Array], coder: Array) -> Any:
    state = np.zeros(1, STATE).view(np.recarray)[0]
    state["squash"], state["stretch"], state["rates"], state["trust"] = constants
    state["indirect"], state["matched"], state["coder"] = FRESH, FRESH, coder
    state["pointers"] = -1
    for name in ("by_node", "by_run", "by_near"):
        state[name] = 6_000
        state[name][:, 2 * CONTEXTS :] = 10_000
        state[name][:, -1] = 0
    curve = state["squash"][np.clip((np.arange(33) - 16) * 128 + LIMIT, 0, 2 * LIMIT)]
    state["finer"] = curve << 16
    state["finest"] = curve << 16
    return state


@compiled
def code_span(
    words: Array,
    first: int,
    last: int,
    table: Table,
    state: Array,
    slots: Array,
    heads: Array,
    stream: Array,
) -> None:
    bits = table.bits
    mask = (1 << bits) - 1 if bits < 64 else -1
    nibbles = (bits + 3) >> 2
    decoding = state.coder[4] == 1
    hashes, places = state.hashes, state.places
    for place in range(first, last):
        begin = table.begin
        column = (place - begin) % table.columns
        west = words[place - 1] if place > 0 else 0
        wwest = words[place - 2] if place > 1 else 0
        west3 = words[place - 3] if place > 2 else 0
        north = words[place - table.columns] if place - table.columns >= begin else 0
        nwest = words[place - table.columns - 1] if place - table.columns - 1 >= begin else 0
        neast = words[place - table.columns + 1] if place - table.columns >= begin and table.columns > 1 else 0
        far = words[place - table.rows] if place - table.rows >= begin else 0
        _find(words, place, table, heads, state)
        guess = words[state.pointers[0]] if state.runs[0] > 0 else 0
        flat = (west + north - nwest) & mask
        line = (2 * west - wwest) & mask
        fall = (2 * north - far) & mask
        f_west, f_north, f_wwest = _fold(west), _fold(north), _fold(wwest)
        hashes[0] = 0
        hashes[1] = 1
        hashes[2] = _mix(f_west, 2)
        hashes[3] = _mix(_mix(f_west, f_wwest), 3)
        hashes[4] = _mix(_mix(_mix(f_west, f_wwest), _fold(west3)), 4)
        hashes[5] = _mix(state.rolling[1], 5)
        hashes[6] = _mix(f_north, 6)
        hashes[7] = _mix(_mix(f_north, f_west), 7)
        hashes[8] = _mix(_mix(_mix(f_north, f_west), _fold(nwest)), 8)
        hashes[9] = _mix(_mix(f_north, _fold(neast)), 9)
        hashes[10] = _mix(column, 10)
        hashes[11] = 11
        hashes[12] = 12
        hashes[13] = 13
        hashes[14] = 14
        hashes[15] = _mix(_mix(_fold(guess), min(state.runs[0], 15)), 15)
        hashes[16] = _mix(_mix(f_north, _fold(far)), 16)
        hashes[17] = _mix(f_wwest, 17)
        hashes[18] = _mix(state.rolling[2], 18)
        word = words[place]
        high = 0
        for number in range(nibbles):
            shift = 4 * (nibbles - 1 - number)
            width = min(4, bits - shift)
            f_high = _fold(high)
            for i in range(CONTEXTS):
                key = f_high
                if i == 0:
                    key = high & 255
                elif i == 11:
                    key = _near(west, high, shift, width, bits)
                elif i == 12:
                    key = _near(flat, high, shift, width, bits)
                elif i == 13:
                    key = _near(line, high, shift, width, bits)
                elif i == 14:
                    key = _near(fall, high, shift, width, bits)
                places[i] = _slot(_mix(_mix(hashes[i], key), number), slots)
            near = int(high == _above(west, shift + width, bits))
            near += 2 * int(high == _above(north, shift + width, bits))
            near += 4 * int(high == _above(flat, shift + width, bits))
            near += 8 * int(high == _above(line, shift + width, bits))
            nibble = _code_nibble(
                (word >> shift) & 15, words, place, number, shift, width, high, near, bits,
                state, slots, stream,
            )
            high = (high << width) | nibble
        words[place] = high
        _pass(words, place, bits, heads, state)


@compiled(inline=True)
def _above(word: int, shift: int, bits: int) -> int:
    """The bits of a word above ``shift``."""
    if shift >= bits:
        return 0
    return (word >> shift) & ((1 << (bits - shift)) - 1)


@compiled(inline=True)
def _near(word: int, high: int, shift: int, width: int, bits: int) -> int:
    """A prediction's digits at this place and the next, and how the digits above compare."""
    above = high - _above(word, shift + width, bits)
    if above > 1 or above < -1:
        return 1 << 16
    digits = (word >> shift) & 15
    after = (word >> (shift - 4)) & 15 if shift >= 4 else 0
    return ((above + 1) << 8) | (digits << 4) | after


@compiled(inline=True)
def _code_nibble(
    value: int, words: Array, place: int, number: int, shift: int, width: int, high: int, near: int,
    bits: int, state: Array, slots: Array, stream: Array,
) -> int:
    inputs, places = state.inputs, state.places
    pointers, runs, misses = state.pointers, state.runs, state.misses
    node = 1
    for k in range(width - 1, -1, -1):
        y = (value >> k) & 1
        top = number * 16 + node if number < 16 else 0
        # matches
        agree = 0
        for m in range(MATCHES):
            inputs[2 * CONTEXTS + 2 * m] = 0
            inputs[2 * CONTEXTS + 2 * m + 1] = 0
            state.tried[m] = -1
            if runs[m] >= 0 and pointers[m] >= 0:
                guess = words[pointers[m]]
                if _above(guess, shift + k + 1, bits) == (high << (width - 1 - k)) + (node & ((1 << (width - 1 - k)) - 1)):
                    bit = (guess >> (shift + k)) & 1
                    at = ((_length(runs[m]) * 16 + (misses[m] & 15)) * 16 + min(number, 15)) * 2 + bit
                    state.tried[m] = at
                    word = int(np.int64(state.matched[m, at]))
                    inputs[2 * CONTEXTS + 2 * m] = (state.stretch[word >> 20] * state.trust[word & 1023]) >> 8
                    strength = min(runs[m], 32) * 16
                    inputs[2 * CONTEXTS + 2 * m + 1] = strength if bit else -strength
                    agree += (1 + bit) * (1 if m == 0 else (3 if m == 1 else 0))
        inputs[INPUTS - 1] = 256
        for i in range(CONTEXTS):
            word = int(np.int64(slots[places[i], node]))
            seen = word & 1023
            logit = state.stretch[word >> 20]
            inputs[2 * i] = (logit * state.trust[seen]) >> 8
            inputs[2 * i + 1] = 0
            if seen > 0:
                which = _kind(seen) * 32 + ((logit + 2047) >> 7)
                other = int(np.int64(state.indirect[i, which]))
                inputs[2 * i + 1] = (state.stretch[other >> 20] * state.trust[other & 1023]) >> 8
        one = top
        two = _length(runs[0]) * 9 + agree
        three = near * 16 + min(number, 15)
        total = 0
        for i in range(INPUTS):
            total += (state.by_node[one, i] + state.by_run[two, i] + state.by_near[three, i]) * inputs[i]
        logit = min(max(total >> 17, -LIMIT), LIMIT)
        probability = state.squash[logit + LIMIT]
        # finer
        position = (logit + 2048) >> 7
        rest = (logit + 2048) & 127
        a1 = (int(np.int64(state.finer[top, position])) * (128 - rest) + int(np.int64(state.finer[top, position + 1])) * rest) >> 23
        spot = (_mix(_fold(words[place - 1]) if place > 0 else 0, top) ^ high * 31) & 65535
        a2 = (int(np.int64(state.finest[spot, position])) * (128 - rest) + int(np.int64(state.finest[spot, position + 1])) * rest) >> 23
        final = min(max((2 * probability + a1 + a2 + 2) >> 2, 1), 65535)
        y = code_bit(y, final, state.coder, stream)
        target = y * 65535 << 16
        close = position + (rest >> 6)
        state.finer[top, close] = np.uint32(int(np.int64(state.finer[top, close])) + ((target - int(np.int64(state.finer[top, close]))) >> 7))
        state.finest[spot, close] = np.uint32(int(np.int64(state.finest[spot, close])) + ((target - int(np.int64(state.finest[spot, close]))) >> 6))
        # learn
        error = ((y << 16) - probability) * 6
        for i in range(INPUTS):
            change = (inputs[i] * error + (1 << 17)) >> 18
            state.by_node[one, i] += change
            state.by_run[two, i] += change
            state.by_near[three, i] += change
        for i in range(CONTEXTS):
            word = int(np.int64(slots[places[i], node]))
            seen = word & 1023
            if seen > 0:
                which = _kind(seen) * 32 + ((state.stretch[word >> 20] + 2047) >> 7)
                state.indirect[i, which] = _learned(y, int(np.int64(state.indirect[i, which])), 1023, state.rates)
            slots[places[i], node] = _learned(y, word, 255, state.rates)
        for m in range(MATCHES):
            if state.tried[m] >= 0:
                at = state.tried[m]
                state.matched[m, at] = _learned(y, int(np.int64(state.matched[m, at])), 1023, state.rates)
        node = 2 * node + y
    return node - (1 << width)


@compiled(inline=True)
def _learned(y: int, word: int, most: int, rates: Array) -> int:
    probability, seen = word >> 10, word & 1023
    probability += (((-y & 4194303) - probability) * rates[seen]) >> 16
    return np.uint32((probability << 10) | min(seen + 1, most))


@compiled(inline=True)
def _kind(seen: int) -> int:
    """A class of counts, 0 to 15."""
    if seen < 4:
        return seen
    if seen >= 192:
        return 15
    length = 2
    while seen >> (length + 1):
        length += 1
    return 2 * length + ((seen >> (length - 1)) & 1)


@compiled(inline=True)
def _length(run: int) -> int:
    """A class of lengths, 0 to 15."""
    if run < 0:
        return 0
    if run < 8:
        return run
    if run < 16:
        return 8 + ((run - 8) >> 2)
    if run < 32:
        return 10 + ((run - 16) >> 3)
    if run < 64:
        return 12
    if run < 256:
        return 13
    return 14 if run < 1024 else 15


@compiled(inline=True)
def _fold(word: int) -> int:
    return (word ^ (word >> 32)) & 0xFFFFFFFF


@compiled(inline=True)
def _mix(one: int, two: int) -> int:
    """A hash of two numbers of 32 bits."""
    key = ((one * 0x2545F491) ^ (two * 0x369DEA0F + 0x1B873593)) & 0x3FFFFFFFFFFFFFFF
    return (key ^ (key >> 29)) & 0xFFFFFFFF


@compiled(inline=True)
def _slot(key: int, slots: Array) -> int:
    key = ((key * 0x5851F42D) >> 16) & 0xFFFFFFFFFFF
    check = np.uint32((key & 0xFFFF) | 0x10000)
    size = slots.shape[0]
    at = (key >> 8) & (size - 1)
    if slots[at, 0] == check:
        return at
    other = at ^ 1
    if slots[other, 0] == check:
        return other
    if int(np.int64(slots[other, 1])) & 1023 < int(np.int64(slots[at, 1])) & 1023:
        at = other
    slots[at, 0] = check
    for i in range(1, SLOT):
        slots[at, i] = np.uint32(FRESH)
    return at


@compiled(inline=True)
def _find(words: Array, place: int, table: Table, heads: Array, state: Array) -> None:
    pointers, runs, misses = state.pointers, state.runs, state.misses
    for search in range(_SEARCHES - 1, -1, -1):
            at = ((state.rolling[search] * 0x2F0B4C47) >> 20) & (heads.shape[1] - 1)
            start = heads[search, at] - 1
            heads[search, at] = place + 1
            if runs[0] < 16 and start >= 0 and start != pointers[0]:
                length = 0
                while length < _LONGEST and start - 1 - length >= 0:
                    if words[start - 1 - length] != words[place - 1 - length]:
                        break
                    length += 1
                if length > runs[0]:
                    runs[0], pointers[0], misses[0] = length, start, 0
    pointers[1] = place - table.columns if place - table.columns >= table.begin else -1
    pointers[2] = place - table.rows if place - table.rows >= table.begin else -1


@compiled(inline=True)
def _pass(words: Array, place: int, bits: int, heads: Array, state: Array) -> None:
    """Go on to the next symbol."""
    pointers, runs, misses = state.pointers, state.runs, state.misses
    for m in range(MATCHES):
        if pointers[m] >= 0:
            if words[pointers[m]] == words[place]:
                runs[m] = min(runs[m] + 1, 65535)
                misses[m] = (misses[m] << 1) & 255
            else:
                runs[m] >>= 2
                misses[m] = (misses[m] << 1 | 1) & 255
    if pointers[0] >= 0:
        pointers[0] += 1
    for search in range(_SEARCHES):
        step = _step(search, bits)
        key = (state.rolling[search] * (0x2F0B4C47 << step) + (_fold(words[place]) + 1) * 0x369DEA0F) & 0xFFFFFFFF
        state.rolling[search] = key


@compiled(inline=True)
def _step(search: int, bits: int) -> int:
    """How far symbols are shifted out of a rolling hash, which remembers 32 / step of them."""
    if bits > 12:
        return 16 >> search if search < 2 else 2
    if bits > 4:
        return 8 >> search
    return 4 >> search if search < 2 else 1
