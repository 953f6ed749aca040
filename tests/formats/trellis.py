"""The trellis code (docs/formats/trellis.md)."""

from __future__ import annotations

import math
from collections import defaultdict

from tests.formats.bits import Decoder, Reader, clamp, demand
from tests.formats.context import LIMIT, Prediction, fresh, learn, tables
from tests.formats.laws import Columns, Law, Question, below, stretched
from tests.formats.predictive import says

PARITIES = {2: (0o5, 0o2), 3: (0o13, 0o4), 4: (0o23, 0o4), 6: (0o103, 0o24)}
ZERO, SIGN, LARGER, LENGTH, BITS = 0, 1, 1, 16, 24  # nodes
UNARY, LONGEST = 14, 18

Context = tuple[str, int]


def columns_of(shape: tuple[int, ...]) -> int:
    return max(1, math.prod(shape[1:] if len(shape) > 1 else shape))


def trellis(data: bytes, shapes: list[tuple[int, ...]], alphabet: int, fmt: str) -> list[int]:
    demand(alphabet % 2 == 1 and 1 < alphabet <= 1 << 20 and not fmt, "another kind of symbols")
    demand(all(columns_of(shape) < 1 << 20 for shape in shapes), "rows that are too long")
    reader = Reader(data)
    filled = [shape for shape in shapes if math.prod(shape)]
    heads = [read_head(reader, columns_of(shape)) for shape in filled]
    model, symbols = Model(reader.rest()), []
    for shape, head in zip(filled, heads, strict=True):
        levels = Table(model, math.prod(shape), *head).decode()
        symbols += [level + alphabet // 2 for level in levels]
    model.coder.check_end()
    return symbols


def read_head(reader: Reader, columns: int) -> tuple[int, int, list[int]]:
    memory, has_states = divmod(reader.varint(), 2)
    bits = reader.varint()
    demand(memory in PARITIES and bits < 20, "a damaged head")
    states = list(reader.take(columns)) if has_states else [0] * columns
    demand(max(states) < 1 << memory, "a state that there is not")
    return memory, bits, states


def parity(bits: int) -> int:
    return bits.bit_count() % 2


class Model:
    """What is learned from the first table to the last."""

    def __init__(self, decisions: bytes) -> None:
        self.coder = Decoder(decisions)
        self.contexts: defaultdict[tuple[str, int, int, int], Prediction] = defaultdict(fresh)
        self.maps: defaultdict[tuple[int, int, int], Prediction] = defaultdict(fresh)
        self.mixers: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [12_000] * 9)

    def decide(
        self, node: int, odd: int, contexts: list[Context], said: list[int], ask: Question
    ) -> int:
        squash = tables()[0]
        kind = 2 * (node if node < 8 else 7 + node // 8) + odd
        own = self.maps[kind, ask.sharper, (said[ask.sharpest] + LIMIT) >> 6]
        asked = [self.contexts[(*each, odd, node)] for each in contexts]
        x = [*map(says, asked), *said, says(own), 256]
        rows = self.mixers["node", kind], self.mixers["sharper", 2 * ask.sharper + odd]
        total = sum((a + b) * each for a, b, each in zip(*rows, x, strict=True))
        p = squash[clamp(total >> 17, -LIMIT, LIMIT) + LIMIT]
        y = self.coder.bit(p)
        error = ((y << 16) - p) * 3
        for i, each in enumerate(x):
            for row in rows:
                row[i] += (each * error + 131072) >> 18
        for prediction in (*asked, own):
            learn(prediction, y)
        return y

    def forget_columns(self) -> None:
        for key in [key for key in self.contexts if key[0] == "column"]:
            del self.contexts[key]


class Table:
    """A table, its head read."""

    def __init__(self, model: Model, numel: int, memory: int, bits: int, states: list[int]) -> None:
        self.model, self.numel, self.memory, self.bits = model, numel, memory, bits
        self.states, self.columns = states, len(states)
        self.unit = 30 - bits
        self.levels: list[int] = []
        self.values: list[int] = []
        self.by_column = [0] * self.columns
        self.by_row = self.sum = 0
        self.laws = Columns(self.columns, numel // self.columns)

    def decode(self) -> list[int]:
        self.model.forget_columns()
        for place in range(self.numel):
            row, column = divmod(place, self.columns)
            if column == 0:
                self.by_row = 0
            laws = self.laws.laws(column)
            level = self.level(row, column, laws)
            self.levels.append(level)
            self.by_column[column] += abs(level)
            self.by_row += abs(level)
            self.sum += abs(level)
            self.values.append(clamp(level, -(1 << self.bits), 1 << self.bits) << self.unit)
            self.laws.learn(self.values[-1], column, laws)
            if column == self.columns - 1:
                self.laws.end_row(self.values[-self.columns :])
        return self.levels

    def level(self, row: int, column: int, laws: list[Law]) -> int:
        """Decode a level, and move the column's state on."""
        checks, which = PARITIES[self.memory]
        state = self.states[column]
        odd = parity(state & which >> 1)
        index = Index(self.model, odd, self.around(row, column), self.unit, laws).decode()
        bit = (index + parity(state & checks >> 1)) % 2
        self.states[column] = (2 * state + bit) % (1 << self.memory)
        return 2 * index - odd * ((index > 0) - (index < 0))

    def at(self, row: int, column: int) -> int:
        if row < 0 or not 0 <= column < self.columns:
            return 0
        return self.levels[row * self.columns + column]

    def around(self, row: int, column: int) -> list[Context]:
        place = row * self.columns + column
        mean = (16 * self.sum + 64) // (place + 2)
        r = scale((16 * self.by_row + 4 * mean) // (column + 4))
        c = scale((16 * self.by_column[column] + 2 * mean) // (row + 2))
        west, north = self.at(row, column - 1), self.at(row - 1, column)
        near = [(row, column - 2), (row - 2, column), (row - 1, column - 1), (row - 1, column + 1)]
        wide = abs(west) + abs(north) + sum(abs(self.at(*each)) for each in near)
        signs = 3 * sign(west) + sign(north)
        return [
            ("axes", 32 * r + c),
            ("near", 9 * (8 * min(abs(west), 7) + min(abs(north), 7)) + signs),
            ("wide", scale(16 * wide) + (32 if row > 0 else 0)),
            ("column", column),
        ]


def sign(level: int) -> int:
    return 0 if level == 0 else 1 if level > 0 else 2


def scale(mean: int) -> int:
    mean = min(mean, 1023)
    octave = max(mean.bit_length() - 3, 0)
    return 4 * octave + (mean >> octave) % 4 if octave else mean // 2


class Index:
    """The index of one level, decision by decision."""

    def __init__(
        self, model: Model, odd: int, contexts: list[Context], unit: int, laws: list[Law]
    ) -> None:
        self.model, self.odd, self.contexts, self.unit = model, odd, contexts, unit
        self.ask = Question(laws)

    def decode(self) -> int:
        if not self.is_larger(0, ZERO):
            return 0
        chances = [below(law, 0) for law in self.ask.laws]
        said = [stretched(chance, (1 << 28) - chance) for chance in chances]
        negative = self.model.decide(SIGN, self.odd, self.contexts, said, self.ask)
        return -self.magnitude() if negative else self.magnitude()

    def magnitude(self) -> int:
        for size in range(1, UNARY + 1):
            if not self.is_larger(size, LARGER + size):
                return size
        length = 0
        while length < LONGEST:
            if not self.is_larger(UNARY + 2 ** (length + 1) - 1, LENGTH + min(length, 7)):
                break
            length += 1
        size = UNARY + 2**length
        for shift in reversed(range(length)):
            if self.is_larger(size + 2**shift - 1, BITS + min(shift, 7)):
                size += 2**shift
        return size

    def is_larger(self, than: int, node: int) -> int:
        said = self.ask.of_border(self.border(than))
        y = self.model.decide(node, self.odd, self.contexts, said, self.ask)
        self.ask.narrow(y)
        return y

    def border(self, size: int) -> int:
        """Half-way between two magnitudes of levels."""
        if not self.odd:
            return (2 * size + 1) << self.unit
        return 2 * size << self.unit if size > 0 else 1 << self.unit >> 1
