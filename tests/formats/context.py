"""The context code (docs/formats/context.md)."""

from __future__ import annotations

import bisect
import math
import re
from collections import defaultdict
from functools import cache

from tests.formats.bits import (
    Decoder,
    PlainBits,
    Reader,
    clamp,
    demand,
    logistic,
    symbol_bits,
)

LIMIT = 2047
FORMS = {  # E, M, modelled, coarse, coarser, order
    "float64": (11, 52, 3, 29, 42, 2),
    "float32": (8, 23, 3, 13, 16, 2),
    "float16": (5, 10, 3, 0, 0, 3),
    "bfloat16": (8, 7, 3, 0, 0, 3),
    "float8_e4m3fn": (4, 3, 3, 0, 0, 4),
    "float8_e5m2": (5, 2, 2, 0, 0, 5),
}
HASH = 2654435761

Pieces = tuple[int, int, int]  # sign, exponent, mantissa
Prediction = list[int]  # p, seen


@cache
def tables() -> tuple[list[int], list[int], list[int], list[int]]:
    """squash, stretch, rate, trust."""
    squash = [clamp(value, 1, 65535) for value in logistic(170, LIMIT)]
    found = [bisect.bisect_left(squash, 16 * q + 8) - LIMIT for q in range(4096)]
    stretch = [min(x, LIMIT) for x in found]
    rate = [655360 // (10 * i + 16) for i in range(1024)]
    trust = [256 * (10 * i + 4) // (10 * i + 16) for i in range(1024)]
    return squash, stretch, rate, trust


class Form:
    """How a weight of the unit is split."""

    def __init__(self, alphabet: int, fmt: str) -> None:
        order = min(16, max(2, -(-32 // symbol_bits(alphabet))))
        form = FORMS.get(fmt, (0, 0, 6, 0, 0, order))
        if made := re.fullmatch(r"e(\d+)m(\d+)", fmt):
            exponent, mantissa = map(int, made.groups())
            form = (exponent, mantissa, min(3, mantissa), 0, 0, max(2, order))
        self.float = form[0] > 0
        self.e, self.m, self.modelled, self.coarse, self.coarser, self.order = form

    def pieces(self, symbol: int, centre: int) -> Pieces:
        if self.float:
            exponent = symbol >> self.m & ((1 << self.e) - 1)
            return symbol >> (self.e + self.m), exponent, symbol & ((1 << self.m) - 1)
        d = symbol - centre
        exponent = abs(d).bit_length()
        return int(d < 0), exponent, abs(d) - (1 << exponent >> 1)

    def symbol(self, pieces: Pieces, centre: int) -> int:
        sign, exponent, mantissa = pieces
        if self.float:
            return ((sign << self.e) | exponent) << self.m | mantissa
        magnitude = (1 << exponent >> 1) + mantissa
        return centre - magnitude if sign else centre + magnitude

    def magnitude(self, symbol: int, centre: int) -> int:
        if self.float:
            return symbol & ((1 << (self.e + self.m)) - 1)
        return abs(symbol - centre)


class Model:
    """The streams, and what is learned from the first part to the last."""

    def __init__(self, form: Form, decisions: bytes, plain: bytes) -> None:
        self.form, self.coder, self.plain = form, Decoder(decisions), PlainBits(plain)
        self.mixed: defaultdict[tuple[str, int, int], Prediction] = defaultdict(fresh)
        self.alone: defaultdict[tuple[str, int], Prediction] = defaultdict(fresh)
        self.node_mixer = [[11000 if n < 64 else 22000] * 6 for n in range(128)]
        self.length_mixer = [[11000 if n < 16 else 22000] * 6 for n in range(32)]

    def decide(self, node: int, base: int, live: int, contexts: list[tuple[str, int]]) -> int:
        squash, stretch, _, trust = tables()
        asked = [self.mixed[(*context, node)] for context in contexts]
        a = self.node_mixer[base + node]
        b = self.length_mixer[min(live, 15) + (16 if base else 0)]
        x = [(stretch[p >> 10] * trust[seen]) >> 8 for p, seen in asked]
        total = sum((a[i] + b[i]) * x[i] for i in range(len(x)))
        p = squash[clamp(total >> 17, -LIMIT, LIMIT) + LIMIT]
        y = self.coder.bit(p)
        error = ((y << 16) - p) * 6
        for i, prediction in enumerate(asked):
            change = (x[i] * error + 131072) >> 18
            a[i] += change
            b[i] += change
            learn(prediction, y)
        return y

    def count(self, name: str, context: int) -> int:
        prediction = self.alone[name, context]
        y = self.coder.bit(clamp(prediction[0] >> 6, 1, 65535))
        learn(prediction, y)
        return y

    def forget_columns(self) -> None:
        for key in [key for key in self.mixed if key[0] == "column"]:
            del self.mixed[key]


def fresh() -> Prediction:
    return [1 << 21, 0]


def learn(prediction: Prediction, y: int) -> None:
    p, seen = prediction
    prediction[0] = p + ((((4194303 if y else 0) - p) * tables()[2][seen]) >> 16)
    prediction[1] = min(seen + 1, 1023)


class Match:
    """Weights that occurred before, in order or in reverse."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.pointer = self.step = self.run = 0
        self.left = 32768
        self.ahead: dict[int, int] = {}
        self.behind: dict[int, int] = {}

    def foreseen(self) -> Pieces:
        """What the next weight would be; moves on."""
        self.pointer += self.step
        if self.pointer < 0:
            self.run = 0
        return self.part.pieces(self.part.weights[self.pointer] if self.run else 0)

    def judge(self, right: bool, run: int) -> None:
        if run > 0:
            self.left = min(self.left + 16 * right, 65536)
            self.run = min(run + 1, 400) if right else 0

    def find(self, place: int) -> None:
        order, newest, oldest = self.part.form.order, 0, 0
        for i in range(order):
            newest = self.mix(newest, place - 1 - i)
            oldest = self.mix(oldest, place - order + i)
        newest, oldest = (newest >> 12) % (1 << 18), (oldest >> 12) % (1 << 18)
        if self.run == 0:
            self.left -= 1
            self.follow(place, self.ahead.get(newest), 1)
            self.follow(place, self.behind.get(newest), -1)
        self.ahead[newest] = place
        self.behind[oldest] = place - order - 1

    def mix(self, key: int, place: int) -> int:
        return (key + self.part.magnitude(place) + 1) * HASH % (1 << 40)

    def follow(self, place: int, start: int | None, step: int) -> None:
        if start is None or start < 0:
            return
        length, other, magnitude = 0, start - step, self.part.magnitude
        while length < 32 and 0 <= other < place and length < place:
            if magnitude(place - 1 - length) != magnitude(other):
                break
            length += 1
            other -= step
        if length >= self.part.form.order and length > self.run:
            self.run, self.step, self.pointer = length, step, start - step


class Part:
    """A part as a table, its head read."""

    def __init__(self, model: Model, shape: tuple[int, ...], head: tuple[int, int]) -> None:
        self.model, self.form, self.numel = model, model.form, math.prod(shape)
        self.columns = columns_of(shape)
        self.taps = min(math.prod(shape[2:]) if len(shape) > 2 else 1, self.columns)
        self.top, self.zeros = divmod(head[0], 2)
        self.grid, self.centre = (head[1], 0) if self.form.float else (0, head[1])
        self.weights: list[int] = []
        self.depths: list[int] = []
        self.column_sum = [0] * self.columns
        self.row_sum = self.depth_sum = self.flags = self.tried = self.hit = 0
        self.mean = 16384
        self.recent: dict[int, tuple[int, int]] = {}
        self.match = Match(self)

    def pieces(self, symbol: int) -> Pieces:
        return self.form.pieces(symbol, self.centre)

    def magnitude(self, place: int) -> int:
        return self.form.magnitude(self.weights[place], self.centre)

    def decode(self) -> list[int]:
        self.model.forget_columns()
        for place in range(self.numel):
            Weight(self, place).decode()
            past = place + 1
            if past >= self.form.order and (self.match.left > 0 or place % 16 == 15):
                self.match.find(past)
        return self.weights


class Weight:
    """One weight, piece by piece."""

    def __init__(self, part: Part, place: int) -> None:
        self.part, self.model, self.form, self.place = part, part.model, part.form, place
        self.row, self.column = divmod(place, part.columns)
        self.look()
        self.guess = part.match.foreseen()
        self.run = self.live = part.match.run
        self.down, self.depth = 24, 127

    def look(self) -> None:
        part, place, row, column = self.part, self.place, self.row, self.column
        if column == 0:
            part.row_sum = part.flags = 0
        if place > 0 and place % 256 == 0:
            part.mean = (part.depth_sum << 8) // place
        mean = part.mean
        by_row = mean + ((part.row_sum << 8) - column * mean) // (column + 6)
        by_column = mean + ((part.column_sum[column] << 8) - row * mean) // (row + 6)
        self.expected = clamp(by_row + by_column - mean, 0, 32767)
        self.r, self.c = clamp(by_row >> 9, 0, 63), clamp(by_column >> 9, 0, 63)
        self.west = part.depths[place - part.taps] if column >= part.taps else 64
        self.beside = part.depths[place - 1] if column > 0 else 64
        self.north = part.depths[place - part.columns] if row > 0 else 64

    def decode(self) -> None:
        part, exponent, mantissa, sign = self.part, 0, 0, 0
        is_zero = self.is_zero()
        if not is_zero:
            exponent = self.exponent()
            mantissa = self.mantissa(exponent)
        if not is_zero or self.form.float:
            contexts = [self.by_run(self.guess[0]), *self.of_sign()]
            sign = self.model.decide(25, 0, self.live, contexts)
        part.weights.append(self.form.symbol((sign, exponent, mantissa), part.centre))
        part.depths.append(self.depth)
        part.column_sum[self.column] += self.depth
        part.row_sum += self.depth
        part.depth_sum += self.depth
        part.match.judge((exponent, mantissa) == self.guess[1:], self.run)

    def foresaw(self, right: bool) -> None:
        if not right:
            self.live = 0

    def by_run(self, foreseen: int) -> tuple[str, int]:
        return "run", 2 * min(self.live, 15) + (foreseen if self.live > 0 else 0)

    def others(self) -> list[tuple[str, int]]:
        return [
            ("depth", self.expected >> 7),
            ("axes", 64 * self.r + self.c),
            ("column", self.column),
            ("west", 64 * (self.west >> 2) + (self.expected >> 9)),
            ("near", 64 * (self.beside >> 2) + (self.north >> 1)),
        ]

    def is_zero(self) -> int:
        if not self.part.zeros:
            return 0
        foreseen = int(self.guess[1:] == (0, 0))
        y = self.model.decide(24, 0, self.live, [self.by_run(foreseen), *self.others()])
        self.foresaw(y == foreseen)
        return y

    def exponent(self) -> int:
        top, least, down = self.part.top, 0 if self.form.float else 1, 0
        others = self.others()
        while down < 24 and down < top - least:
            foreseen = int(down == top - self.guess[1])
            y = self.model.decide(down, 0, self.live, [self.by_run(foreseen), *others])
            self.foresaw(y == foreseen)
            if y:
                break
            down += 1
        self.down, exponent = down, top - down
        if down == 24:
            exponent = self.model.plain.take(self.form.e if self.form.float else 6)
        self.foresaw(exponent == self.guess[1])
        return exponent

    def mantissa(self, exponent: int) -> int:
        bits = self.form.m if self.form.float else max(exponent - 1, 0)
        leading = min(self.form.modelled, bits)
        node = 1
        for shift in range(bits - 1, bits - 1 - leading, -1):
            node = 2 * node + self.leading_bit(node, shift)
        lead, rest = node - (1 << leading), bits - leading
        eighths = lead >> (leading - 3) if leading >= 3 else lead << (3 - leading)
        self.depth = clamp(8 * (self.part.top + 1 - exponent) - eighths, 0, 127)
        return (lead << rest) | (self.tail(rest, exponent, lead) if rest else 0)

    def leading_bit(self, node: int, shift: int) -> int:
        octave, scale = min(self.down, 15), self.expected >> 8
        foreseen = (self.guess[2] >> shift) & 1
        matched = 16 + 2 * min(self.live - 1, 7) + foreseen
        contexts = [
            ("octave", matched if self.live > 0 else octave),
            ("scale", 16 * scale + octave),
            ("relative", clamp(8 * self.down + 36 - scale, 0, 63)),
        ]
        y = self.model.decide(node, 64, self.live, contexts)
        self.foresaw(y == foreseen)
        return y

    def tail(self, rest: int, exponent: int, lead: int) -> int:
        part, coarse = self.part, self.form.coarse
        tail = self.tail_of_match(rest)
        remembers = rest >= 12 and (part.tried < 8192 or 32 * part.hit > part.tried)
        slot = (4099 * self.column + 16 * exponent + lead) * HASH >> 8 & 0x3FFFF
        sure = 0
        if remembers and slot in part.recent:
            tail, sure = self.recent_tail(tail, *part.recent[slot])
        if tail is None:
            tail = self.plain_tail(rest, exponent)
        if remembers:
            part.recent[slot] = (tail, sure)
        if coarse > 0:
            ends = int(tail % (1 << coarse) == 0)
            part.flags = (2 * part.flags + ends) & 511
        return tail

    def tail_of_match(self, rest: int) -> int | None:
        if self.live > 0:
            if self.model.count("foreseen", min(self.live, 15)):
                return self.guess[2] & ((1 << rest) - 1)
            self.live = 0
        return None

    def recent_tail(self, tail: int | None, last: int, sure: int) -> tuple[int | None, int]:
        if tail is None:
            hit = self.model.count("recent", sure)
            tail = last if hit else None
            self.part.tried += 1
            self.part.hit += hit
        return tail, min(sure + 1, 3) if tail == last else 0

    def plain_tail(self, rest: int, exponent: int) -> int:
        form, model, part, low = self.form, self.model, self.part, 0
        if 0 < form.coarse < rest and model.count("coarse", part.flags):
            low = form.coarse
        if low > 0 and form.coarser < rest and model.count("coarser", part.flags):
            low = form.coarser
        low = max(low, min(rest, part.grid - max(exponent, 1)))
        return model.plain.take(rest - low) << low

    def of_sign(self) -> list[tuple[str, int]]:
        part, near = self.part, min(self.down, 7)
        w = self.sign(self.column >= part.taps, self.place - part.taps)
        b = self.sign(self.column > 0, self.place - 1)
        n = self.sign(self.row > 0, self.place - part.columns)
        return [
            ("depth", w + 3 * b + 9 * n + 27 * near),
            ("axes", 64 * (8 * w + near) + (self.west >> 1)),
            ("column", self.column),
            ("west", 64 * (8 * b + near) + (self.beside >> 1)),
            ("near", 64 * (8 * n + near) + (self.north >> 1)),
        ]

    def sign(self, inside: bool, place: int) -> int:
        if not inside:
            return 2
        sign, *magnitude = self.part.pieces(self.part.weights[place])
        return 2 if not self.form.float and not any(magnitude) else sign


def columns_of(shape: tuple[int, ...]) -> int:
    return min(1 << 20, max(1, math.prod(shape[1:] if len(shape) > 1 else shape)))


def context(data: bytes, shapes: list[tuple[int, ...]], alphabet: int, fmt: str) -> list[int]:
    form, reader = Form(alphabet, fmt), Reader(data)
    filled = [shape for shape in shapes if math.prod(shape)]
    heads = [(reader.varint(), reader.varint()) for _ in filled]
    largest = (1 << form.e) - 1 if form.float else 33
    demand(all(a // 2 <= largest and b < alphabet for a, b in heads), "a damaged head")
    decisions = reader.take(reader.varint())
    model, symbols = Model(form, decisions, reader.rest()), []
    for shape, head in zip(filled, heads, strict=True):
        symbols += Part(model, shape, head).decode()
    model.coder.check_end()
    return symbols
