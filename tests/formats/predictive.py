"""The predictive code (docs/formats/predictive.md)."""

from __future__ import annotations

import math
from collections import defaultdict

from tests.formats import context
from tests.formats.bits import Reader, clamp, demand
from tests.formats.context import LIMIT, Form, Pieces, fresh, learn, tables
from tests.formats.laws import Columns, Law, Neighbours, Question, lags_of
from tests.formats.scans import Shape, table_shape, unscanned

Context = tuple[str, int]

VALUE_BITS = 30
EXPONENT, LEADING, SIGN, FURTHER = range(4)  # kinds of decisions
WIDE = 5  # laws


# --- the model ------------------------------------------------------------------------------


class Model(context.Model):
    """The streams, and what is learned from the first table to the last."""

    def __init__(self, form: Form, decisions: bytes, plain: bytes) -> None:
        super().__init__(form, decisions, plain)
        self.maps: defaultdict[tuple[int, ...], context.Prediction] = defaultdict(fresh)
        self.mixers: defaultdict[tuple[str, int], list[int]] = defaultdict(
            lambda: [6500] * 6 + [2000] * (WIDE + 2)
        )

    def mix(
        self,
        node: int,
        kind: int,
        live: int,
        contexts: list[Context],
        foreseen: list[int],
        ask: Question,
    ) -> int:
        squash = tables()[0]
        maps = self.asked_maps(kind, foreseen, ask)
        asked = [self.mixed[(*each, node)] for each in contexts]
        x = [says(each) for each in asked] + [0] * (6 - len(asked))
        x += [*foreseen, *map(says, maps)]
        base = {LEADING: 64, FURTHER: 128}.get(kind, 0)
        rows = [
            self.mixers["node", base + node],
            self.mixers["run", 16 * kind + min(live, 15)],
            self.mixers["sharper", 8 * kind + ask.sharper],
        ]
        total = sum((a + b + c) * each for a, b, c, each in zip(*rows, x, strict=True))
        p = squash[clamp(total >> 17, -LIMIT, LIMIT) + LIMIT]
        y = self.coder.bit(p)
        error = ((y << 16) - p) * 3
        for i, each in enumerate(x):
            change = (each * error + 131072) >> 18
            for row in rows:
                row[i] += change
        for prediction in (*asked, *maps):
            learn(prediction, y)
        return y

    def asked_maps(
        self, kind: int, foreseen: list[int], ask: Question
    ) -> tuple[context.Prediction, context.Prediction]:
        level = (foreseen[ask.sharpest] + LIMIT) >> 6
        by_columns = clamp((foreseen[1] >> 6) + 16, 0, 31)
        by_neighbours = clamp((foreseen[3] >> 6) + 16, 0, 31)
        pair = self.maps[-1, kind, by_columns, by_neighbours]
        return self.maps[kind, ask.sharper, level], pair


def says(prediction: context.Prediction) -> int:
    _, stretch, _, trust = tables()
    p, seen = prediction
    return (stretch[p >> 10] * trust[seen]) >> 8


class Match(context.Match):
    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.resumed = 0

    def turn(self, row: int, column: int) -> None:
        """Match a row of a mirrored table with its column."""
        columns = self.part.columns
        if column == 0 and row > 0:
            self.pointer, self.step, self.run = row - columns, columns, 64
        elif column == row:
            self.run = self.resumed = 0

    def judge(self, right: bool, run: int) -> None:
        super().judge(right, run)
        if run >= 16 and not right:
            self.resumed = 8

    def resume(self) -> None:
        if self.run == 0 and self.resumed > 0:
            self.run = 1
            self.resumed -= 1


class Part(context.Part):
    """A table, its head read."""

    model: Model
    match: Match

    def __init__(self, model: Model, shape: Shape, head: tuple[int, ...]) -> None:
        super().__init__(model, shape, (head[0], head[1]))
        self.mirror, self.few, self.many, self.bound = head[2] % 2, *head[3:]
        self.match = Match(self)
        self.values: list[int] = []
        self.far = self.flipped = 0
        self.column_laws = Columns(self.columns, self.numel // self.columns)
        self.neighbours = Neighbours(lags_of(shape, self.taps), self.columns)

    def decode(self) -> list[int]:
        self.model.forget_columns()
        for place in range(self.numel):
            if self.mirror:
                self.match.turn(*divmod(place, self.columns))
            Weight(self, place).decode()
            past = place + 1
            if past >= self.form.order and (self.match.left > 0 or place % 16 == 15):
                self.match.find(past)
            self.match.resume()
        return self.weights

    @property
    def unit(self) -> int:
        """The value of an integer's 1."""
        return 1 << max(VALUE_BITS - self.top, 0)

    def value(self, pieces: Pieces) -> int:
        sign, exponent, mantissa = pieces
        if self.form.float:
            digits = mantissa + ((1 << self.form.m) if exponent > 0 else 0)
            shift = 29 - self.form.m - (max(self.top, 1) - max(exponent, 1))
            size = digits << shift if shift >= 0 else digits >> -shift
        else:
            size = ((1 << exponent >> 1) + mantissa) * self.unit
        return -size if sign else size

    def edge(self, exponent: int) -> int:
        """The value at which an exponent begins."""
        if exponent == 0:
            return 0
        if self.form.float:
            shift = 29 - max(self.top, 1) + exponent
            return 1 << shift if shift >= 0 else 0
        return (self.unit << exponent >> 1) - (self.unit >> 1)

    def learn(self, value: int, place: int, laws: list[Law], whole: bool) -> None:
        column = place % self.columns
        if not whole:
            self.neighbours.learn(value, laws)
        self.neighbours.fit_at(place)
        self.values.append(value)
        self.column_laws.learn(value, column, laws)
        if column == self.columns - 1:
            self.column_laws.end_row(self.values[-self.columns :])


class Weight(context.Weight):
    """One weight, piece by piece."""

    part: Part
    model: Model

    def decode(self) -> None:
        part, model, kind = self.part, self.model, self.kind()
        self.laws = part.column_laws.laws(self.column)
        asked = self.run > 0 and model.alone["whole", kind][0] >> 6 > 65000
        whole = asked and model.count("whole", kind) == 1
        pieces = self.of_match() if whole else self.in_pieces()
        part.learn(part.value(pieces), self.place, self.laws, whole)
        part.weights.append(self.form.symbol(pieces, part.centre))
        part.depths.append(self.depth)
        part.column_sum[self.column] += self.depth
        part.row_sum += self.depth
        part.depth_sum += self.depth
        right = pieces[1:] == self.guess[1:]
        if self.run > 0 and not asked:
            learn(model.alone["whole", kind], right)
        part.match.judge(right, self.run)

    def kind(self) -> int:
        return min(self.run, 11) if self.run < 16 else min(12 + self.run // 64, 15)

    def bits(self, exponent: int) -> tuple[int, int]:
        """Of the mantissa: all, and leading ones."""
        bits = self.form.m if self.form.float else max(exponent - 1, 0)
        return bits, min(self.form.modelled, bits)

    def set_depth(self, exponent: int, lead: int, leading: int) -> None:
        eighths = lead >> (leading - 3) if leading >= 3 else lead << (3 - leading)
        self.depth = clamp(8 * (self.part.top + 1 - exponent) - eighths, 0, 127)

    def of_match(self) -> Pieces:
        sign, exponent, mantissa = self.guess
        is_zero = (exponent, mantissa) == (0, 0)
        if not is_zero:
            bits, leading = self.bits(exponent)
            self.set_depth(exponent, mantissa >> (bits - leading), leading)
        if is_zero and not self.form.float:
            return 0, 0, 0
        agrees = self.model.count("agrees", 16 * self.part.flipped + min(self.run, 15))
        self.part.flipped = 1 - agrees
        return sign if agrees else 1 - sign, exponent, mantissa

    def in_pieces(self) -> Pieces:
        part = self.part
        self.laws += part.neighbours.laws(part.values, self.laws[0][1])
        self.ask = Question(self.laws)
        exponent = mantissa = sign = self.low = self.high = 0
        is_zero = self.is_zero()
        if not is_zero:
            exponent = self.exponent()
            lead, rest = self.leading(exponent)
            tail = self.repeated_tail(rest, exponent, lead)
        if not is_zero or self.form.float:
            sign = self.sign_bit(is_zero)
        if not is_zero:
            if tail is None:
                tail = self.new_tail(rest, exponent, lead, sign)
            self.remember(tail)
            mantissa = (lead << rest) | tail
        return sign, exponent, mantissa

    def decide(self, node: int, kind: int, contexts: list[Context], foreseen: list[int]) -> int:
        live = 0 if kind == FURTHER else self.live
        return self.model.mix(node, kind, live, contexts, foreseen, self.ask)

    def is_zero(self) -> int:
        if not self.part.zeros:
            return 0
        foreseen = int(self.guess[1:] == (0, 0))
        half = 0 if self.form.float else self.part.unit >> 1
        laws = self.ask.of_border(half)
        if half == 0:
            laws = [0] * WIDE
        contexts = [self.by_run(foreseen), *self.others()]
        y = 1 - self.decide(24, EXPONENT, contexts, laws)
        self.foresaw(y == foreseen)
        self.ask.narrow(1)
        return y

    def exponent(self) -> int:
        part, least, down = self.part, 0 if self.form.float else 1, 0
        others, ask = self.others(), self.ask
        ask.bound(part.edge(part.top + 1))
        while down < 24 and down < part.top - least:
            foreseen = int(down == part.top - self.guess[1])
            laws = ask.of_border(part.edge(part.top - down))
            y = self.decide(down, EXPONENT, [self.by_run(foreseen), *others], laws)
            self.foresaw(y == foreseen)
            ask.narrow(y)
            if y:
                break
            down += 1
        self.down, exponent = down, part.top - down
        if down == 24:
            exponent = self.escape(self.form.e if self.form.float else 6)
        self.foresaw(exponent == self.guess[1])
        return exponent

    def escape(self, width: int) -> int:
        node = 1
        for _ in range(width):
            node = 2 * node + self.model.count("escaped", node)
        self.part.far = (self.part.far + node) % (1 << width)
        return self.part.far

    def leading(self, exponent: int) -> tuple[int, int]:
        """The leading bits, and how many are left."""
        part, node = self.part, 1
        self.low, self.high = part.edge(exponent), part.edge(exponent + 1)
        bits, leading = self.bits(exponent)
        octave, scale = min(self.down, 15), self.expected >> 8
        for shift in range(bits - 1, bits - 1 - leading, -1):
            foreseen = (self.guess[2] >> shift) & 1
            matched = 16 + 2 * min(self.live - 1, 7) + foreseen
            contexts = [
                ("octave", matched if self.live > 0 else octave),
                ("scale", 16 * scale + octave),
                ("relative", clamp(8 * self.down + 36 - scale, 0, 63)),
            ]
            laws = self.ask.of_border((self.low + self.high) >> 1)
            y = self.decide(node, LEADING, contexts, laws)
            self.ask.narrow(y)
            self.foresaw(y == foreseen)
            self.halve(y)
            node = 2 * node + y
        lead = node - (1 << leading)
        self.set_depth(exponent, lead, leading)
        return lead, bits - leading

    def halve(self, y: int) -> None:
        middle = (self.low + self.high) >> 1
        self.low, self.high = (middle, self.high) if y else (self.low, middle)

    def repeated_tail(self, rest: int, exponent: int, lead: int) -> int | None:
        """The match's or the remembered one; None if it is neither."""
        part = self.part
        tail = self.tail_of_match(rest) if rest else 0
        self.slot, self.sure = None, 0
        if rest >= 12 and (part.tried < 8192 or 32 * part.hit > part.tried):
            key = 4099 * self.column + 16 * exponent + lead
            self.slot = key * context.HASH >> 8 & 0x3FFFF
            if self.slot in part.recent:
                tail, self.sure = self.recent_tail(tail, *part.recent[self.slot])
        return tail

    def sign_bit(self, is_zero: int) -> int:
        laws = [0] * WIDE if is_zero else self.ask.of_sign(self.low, self.high)
        contexts = [self.by_run(self.guess[0]), *self.of_sign()]
        sign = self.decide(25, SIGN, contexts, laws)
        self.part.flipped = int(sign != self.guess[0])
        return sign

    def new_tail(self, rest: int, exponent: int, lead: int, sign: int) -> int:
        part, model, scale = self.part, self.model, self.laws[self.ask.sharpest][1]
        upper, left = 0, rest
        tight = exponent == part.top and lead == part.bound >> 4
        for shift in (3, 2, 1, 0):
            if tight:
                most, y = part.bound >> shift & 1, 0
                if most:
                    y = int(model.count("bounded", shift))
                self.halve(y)
                upper, left, tight = 2 * upper + y, left - 1, y == most
        while left > 0 and self.high - self.low > scale >> 1 and self.high - self.low >= 4:
            middle = (self.low + self.high) >> 1
            laws = self.ask.of_side(self.low, middle, self.high, sign)
            y = self.decide(min(rest - left, 63), FURTHER, [], laws)
            self.halve(y)
            upper, left = 2 * upper + y, left - 1
        zeros = 0
        if 0 < part.few < left and model.count("zeros", part.flags):
            zeros = part.few
        if 0 < zeros < part.many < left and model.count("more zeros", part.flags):
            zeros = part.many
        zeros = max(zeros, min(left, part.grid - max(exponent, 1)))
        return (upper << left) | (model.plain.take(left - zeros) << zeros)

    def remember(self, tail: int) -> None:
        part = self.part
        if self.slot is not None:
            part.recent[self.slot] = (tail, self.sure)
        if part.few > 0:
            part.flags = (2 * part.flags + int(tail % (1 << part.few) == 0)) & 511


# --- the code -------------------------------------------------------------------------------


def predictive(data: bytes, shapes: list[Shape], alphabet: int, fmt: str) -> list[int]:
    form, reader = Form(alphabet, fmt), Reader(data)
    filled = [shape for shape in shapes if math.prod(shape)]
    heads = [read_head(reader, shape, form, alphabet) for shape in filled]
    decisions = reader.take(reader.varint())
    model, symbols = Model(form, decisions, reader.rest()), []
    for shape, head in zip(filled, heads, strict=True):
        scan = head[2] // 2
        weights = Part(model, table_shape(shape, scan), head).decode()
        symbols += unscanned(weights, shape, scan)
    model.coder.check_end()
    return symbols


def read_head(reader: Reader, shape: Shape, form: Form, alphabet: int) -> tuple[int, ...]:
    first, reference, how = reader.varint(), reader.varint(), reader.varint()
    few, many = (reader.varint(), reader.varint()) if form.float else (0, 0)
    bound = reader.varint() if form.float and form.m >= 7 else -1
    demand(bound < 128, "a bound of too many bits")
    largest = (1 << form.e) - 1 if form.float else 33
    demand(first // 2 <= largest and reference < alphabet, "a damaged head")
    demand(max(few, many) <= form.m, "more zeros than a mantissa has")
    table = table_shape(shape, how // 2)
    square = len(table) == 2 and table[0] == table[1]
    demand(square or how % 2 == 0, "a mirror of what is not square")
    return first, reference, how, few, many, bound
