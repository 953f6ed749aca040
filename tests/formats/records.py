"""The records code (docs/formats/codes.md)."""

from __future__ import annotations

import math
from collections import defaultdict

from tests.formats.bits import Decoder, clamp, demand, symbol_bits, width_of
from tests.formats.context import tables

Slot = dict[int, list[int]]

WORD = (1 << 64) - 1
STEPS = ((8, 4, 3, 2, 1, 1), (32, 16, 11, 8, 6, 2), (32, 16, 11, 8, 4, 4))
SEARCHED = ((3, 4), (3, 5), (1, 4))


def records(data: bytes, shapes: list[tuple[int, ...]], alphabet: int, fmt: str) -> list[int]:
    width, bits = width_of(alphabet), symbol_bits(alphabet)
    head = len(shapes) + 2 * width
    demand(len(data) >= head, "no head")
    modes = data[: len(shapes)]
    varying = int.from_bytes(data[len(shapes) : head - width], "little")
    fixed = int.from_bytes(data[head - width : head], "little")
    demand(max(modes) < 2 and not varying & fixed and not (varying | fixed) >> bits, "the head")
    model = Model(data[head:], varying.bit_count(), sum(map(math.prod, shapes)))
    symbols = []
    for mode, shape in zip(modes, shapes, strict=True):
        part = [spread(word, varying) | fixed for word in model.part(shape)]
        symbols += sums(part, bits) if mode else part
    model.coder.check_end()
    return symbols


def spread(word: int, varying: int) -> int:
    ones = [bit for bit in range(64) if varying >> bit & 1]
    return sum((word >> place & 1) << bit for place, bit in enumerate(ones))


def sums(words: list[int], bits: int) -> list[int]:
    found, symbol = [], 0
    for word in words:
        symbol = (symbol + (word >> 1 if word % 2 == 0 else ~(word >> 1))) % (1 << bits)
        found.append(symbol)
    return found


def fold(word: int) -> int:
    return (word ^ word >> 32) & 0xFFFFFFFF


def mix(a: int, b: int) -> int:
    key = (a * 0x2545F491) ^ (b * 0x369DEA0F + 0x1B873593)
    return (key ^ key >> 29) & 0xFFFFFFFF


def power(least: int, low: int, high: int) -> int:
    return clamp(1 << least.bit_length(), low, high)


def new() -> list[int]:
    return [1 << 21, 0]


class Model:
    def __init__(self, data: bytes, bits: int, count: int) -> None:
        self.coder, self.bits, self.digits = Decoder(data), bits, -(-bits // 4)
        kind = (bits > 4) + (bits > 12)
        self.steps, self.searched = STEPS[kind], SEARCHED[kind]
        self.squash, self.stretch, self.rate, self.trust = tables()
        self.slots: dict[int, tuple[int, Slot]] = {}
        self.slot_count = power(4 * self.digits * count, 1 << 10, 1 << 20)
        self.heads: list[dict[int, int]] = [{}, {}]
        self.head_count = power(count, 1 << 8, 1 << 20)
        self.rolling, self.words = [0] * 6, list[int]()
        self.indirect: dict[tuple[int, int], list[int]] = defaultdict(new)
        self.matched: dict[tuple[int, ...], list[int]] = defaultdict(new)
        self.weights: dict[tuple[int, int], list[int]] = defaultdict(lambda: [7000] * 19)
        curve = [self.squash[clamp(128 * j - 1, 0, 4094)] << 6 for j in range(33)]
        self.curves: dict[int, list[int]] = defaultdict(lambda: list(curve))
        self.pointers, self.runs, self.misses = [-1] * 3, [0] * 3, [0] * 3
        self.pace, self.coded = 16, 0

    def part(self, shape: tuple[int, ...]) -> list[int]:
        begin, count = len(self.words), math.prod(shape)
        columns = max(1, shape[-1]) if shape else 1
        slice_ = max(1, math.prod(shape[1:])) if len(shape) > 2 else 2 * columns
        for _ in range(count if self.bits else 0):
            self.word(begin, columns, slice_)
        return self.words[begin:] if self.bits else [0] * count

    def at(self, place: int, begin: int) -> int:
        return self.words[place] if place >= begin else 0

    def word(self, begin: int, columns: int, slice_: int) -> None:
        t, at = len(self.words), self.at
        self.find(t, begin, columns, slice_)
        west, above = at(t - 1, 0), t - columns
        north, nwest, far = at(above, begin), at(above - 1, begin), at(t - slice_, begin)
        neast = at(above + 1, begin) if columns > 1 else 0
        guess = self.words[self.pointers[0]] if self.runs[0] else 0
        flat = (west + north - nwest) & WORD
        line, fall = (2 * west - at(t - 2, 0)) & WORD, (2 * north - far) & WORD
        n = mix(fold(north), 6)
        hashes = [0, *(mix(self.rolling[i], 1 + i) for i in range(5)), n]
        hashes += [mix(mix(n, fold(west)), fold(nwest)), mix(n, fold(neast))]
        hashes += [mix(mix(n, fold(far)), 1), mix((t - begin) % columns, 10)]
        hashes.append(mix(mix(fold(guess), min(self.runs[0], 15)), 11))
        high = 0
        for digit in range(self.digits):
            shift = 4 * (self.digits - 1 - digit)
            upper = min(shift + 4, self.bits)
            key = mix(fold(high), digit)
            keys = [mix(each, key) for each in hashes]
            for i, value in enumerate((flat, line, fall)):
                keys.append(mix(12 + i, 16 * self.compared(value, high, shift, upper) + digit))
            places = [self.slot(each) for each in keys]
            slots = [self.slots[place][1] for place in places]  # of equal places, the last one
            agreed = sum(
                (high == self.top(value, upper)) << i
                for i, value in enumerate((west, north, flat, line))
            )
            node = 1
            for k in range(upper - 1, shift - 1, -1):
                y = self.decide(k, digit, node, 16 * agreed + digit, high, slots)
                node, high = 2 * node + y, 2 * high + y
        self.words.append(high)
        self.step(high)

    def top(self, word: int, shift: int) -> int:
        return (word & ((1 << self.bits) - 1)) >> shift

    def compared(self, value: int, high: int, shift: int, upper: int) -> int:
        off = high - self.top(value, upper)
        if abs(off) > 1:
            return 0
        after = value >> (shift - 4) & 15 if shift else 0
        return (off + 2) << 8 | (value >> shift & 15) << 4 | after

    def slot(self, hashed: int) -> int:
        key = hashed * 0x5851F42D
        place, check = (key >> 32) % self.slot_count, key >> 16 & 0xFFFF
        for each in (place, place ^ 1):
            if each in self.slots and self.slots[each][0] == check:
                return each
        seen = [self.slots[p][1][1][1] if p in self.slots else 0 for p in (place, place ^ 1)]
        place ^= seen[1] < seen[0]
        self.slots[place] = (check, defaultdict(new))
        return place

    # --- decisions --------------------------------------------------------------------------

    def logit(self, prediction: list[int]) -> int:
        p, seen = prediction
        return self.stretch[p >> 10] * self.trust[seen] >> 8

    def learn(self, prediction: list[int], y: int) -> None:
        p, seen = prediction
        p += ((4194303 if y else 0) - p) * self.rate[seen] >> 16
        prediction[:] = [p, min(seen + 1, 255)]

    def decide(
        self,
        k: int,
        digit: int,
        node: int,
        agreed: int,
        high: int,
        slots: list[dict[int, list[int]]],
    ) -> int:
        x, learning = list[int](), list[list[int]]()
        for i, slot in enumerate(slots):
            p, seen = slot[node]
            learning.append(slot[node])
            length = min(seen.bit_length() - 1, 7)
            count = seen if seen < 4 else 2 * length + (seen >> (length - 1) & 1)
            kind = self.indirect[i, 32 * count + (self.stretch[p >> 10] + 2047 >> 7)]
            x.append(self.logit(kind) if seen else 0)
            learning += [kind] if seen else []
        foreseen = 0
        for m in range(3):
            guess = self.words[self.pointers[m]] if self.pointers[m] >= 0 else 0
            x.append(0)
            if self.pointers[m] >= 0 and self.top(guess, k + 1) == high:
                bit, length = guess >> k & 1, self.length(m)
                match = self.matched[m, length, self.misses[m] & 15, digit, bit]
                x[-1] = self.logit(match)
                learning.append(match)
                foreseen += (1 + bit) * (1, 3, 0)[m]
        x.append(256)
        at = 16 * digit + node
        rows = (0, at), (1, 9 * self.length(0) + foreseen), (2, agreed)
        weights = [self.weights[row] for row in rows]
        total = sum(sum(row[i] for row in weights) * x[i] for i in range(19))
        logit = clamp(total >> 17, -2047, 2047)
        mixed, curve = self.squash[logit + 2047], self.curves[at]
        j, rest = divmod(logit + 2048, 128)
        fine = curve[j] * (128 - rest) + curve[j + 1] * rest >> 13
        y = self.coder.bit(clamp((mixed + fine + 1) >> 1, 1, 65535))
        j = logit + 2112 >> 7
        curve[j] += (y << 22) - curve[j] >> 7
        error, self.coded = ((y << 16) - mixed) * self.pace, self.coded + 1
        if self.pace > 4 and self.coded >> (26 - self.pace):
            self.pace -= 1
        for row in weights:
            row[:] = [w + (each * error + 131072 >> 18) for w, each in zip(row, x, strict=True)]
        for prediction in learning:
            self.learn(prediction, y)
        return y

    # --- matches ----------------------------------------------------------------------------

    def length(self, m: int) -> int:
        run = self.runs[m]
        return run if run < 8 else 5 + min(run.bit_length() - 1, 10)

    def find(self, t: int, begin: int, columns: int, slice_: int) -> None:
        for search, which in enumerate(self.searched):
            key = (self.rolling[which] * 0x2F0B4C47 >> 20) % self.head_count
            start = self.heads[search].get(key, -1)
            self.heads[search][key] = t
            if self.runs[0] < 16 and start >= 0 and start != self.pointers[0]:
                length = 0
                while length < min(32, start):
                    if self.words[start - 1 - length] != self.words[t - 1 - length]:
                        break
                    length += 1
                if length > self.runs[0]:
                    self.pointers[0], self.runs[0], self.misses[0] = start, length, 0
        self.pointers[1] = t - columns if t - columns >= begin else -1
        self.pointers[2] = t - slice_ if t - slice_ >= begin else -1

    def step(self, word: int) -> None:
        for m in range(3):
            if self.pointers[m] >= 0:
                missed = self.words[self.pointers[m]] != word
                self.runs[m] = self.runs[m] >> 2 if missed else min(self.runs[m] + 1, 65535)
                self.misses[m] = (2 * self.misses[m] + missed) & 255
        self.pointers[0] += self.pointers[0] >= 0
        for i, move in enumerate(self.steps):
            moved = (self.rolling[i] << move) * 0x2F0B4C47 + (fold(word) + 1) * 0x369DEA0F
            self.rolling[i] = moved & 0xFFFFFFFF
