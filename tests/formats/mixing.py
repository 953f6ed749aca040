"""The mixing code (docs/formats/codes.md)."""

from __future__ import annotations

import bisect
import math
from functools import cache

from tests.formats.bits import Decoder, clamp, demand, logistic

LIMIT = 2800


@cache
def tables() -> tuple[list[int], list[int], list[int]]:
    """squash, stretch, rate."""
    curve = logistic(256, LIMIT)
    stretch = [min(bisect.bisect_left(curve, q) - LIMIT, LIMIT) for q in range(65536)]
    rate = [131072 // (2 * i + 3) for i in range(1024)]
    return [clamp(value, 1, 65535) for value in curve], stretch, rate


def st(q: int) -> int:
    return tables()[1][clamp(q, 1, 65535)]


def level(q: int) -> int:
    return clamp((st(q) + 2048) >> 8, 0, 15)


class Prediction:
    def __init__(self) -> None:
        self.p, self.seen = 1 << 21, 0

    def says(self) -> int:
        return st(self.p >> 6)

    def learn(self, y: int) -> None:
        self.p += (((y << 22) - self.p) * tables()[2][self.seen]) >> 16
        self.seen = min(self.seen + 1, 1023)


def predictions(count: int) -> list[Prediction]:
    return [Prediction() for _ in range(count)]


class Model:
    def __init__(self, data: bytes, alphabet: int) -> None:
        self.coder, self.alphabet = Decoder(data), alphabet
        self.top = max(0, (alphabet - 1).bit_length() - 1)
        self.near, self.crossed, self.fed = map(predictions, (16, 256, 256))
        self.node, self.left, self.above = map(predictions, (32 + alphabet, 1536, 1536))
        self.zero_mixers = [[22000] * 7 for _ in range(3)]
        self.node_mixers = [[22000] * 3 for _ in range(97)]

    def mix(self, weights: list[int], inputs: list[int]) -> int:
        mixed = sum(w * x for w, x in zip(weights, inputs, strict=False)) >> 16
        p = tables()[0][clamp(mixed, -LIMIT, LIMIT) + LIMIT]
        y = self.coder.bit(p)
        error = (y << 16) - p
        for i, x in enumerate(inputs):
            weights[i] += (x * error * 160) >> 24
        return y

    def decide(self, node: int, west: int, north: int) -> int:
        asked = [self.node[node]]
        if node < 96:
            asked += [self.left[16 * node + west], self.above[16 * node + north]]
        y = self.mix(self.node_mixers[min(node, 96)], [each.says() for each in asked])
        for each in asked:
            each.learn(y)
        return y

    def rank(self, west: int, north: int) -> int:
        west, north, length = min(15, west), min(15, north), 0
        while length < self.top and self.decide(length, west, north):
            length += 1
        v = 1
        for _ in range(length):
            v = 2 * v + self.decide(32 + v, west, north)
            demand(v < self.alphabet, "a symbol out of the alphabet")
        return v


class Table:
    """One table, and what is counted of it."""

    def __init__(self, model: Model, rows: int, columns: int, before: list[int]) -> None:
        self.model, self.rows, self.columns = model, rows, columns
        self.symbols: list[int] = []
        self.r, self.c = [0] * rows, [0] * columns
        self.t = self.m = 0
        self.feeds = feeds(before, columns)

    def at(self, row: int, column: int) -> int:
        if row < 0 or column < 0:
            return 0
        return self.symbols[row * self.columns + column]

    def decode(self) -> list[int]:
        for row in range(self.rows):
            for column in range(self.columns):
                west, north = self.at(row, column - 1), self.at(row - 1, column)
                y = self.other_than_zero(row, column)
                self.symbols.append(self.model.rank(west, north) if y else 0)
                self.c[column] += y
                self.r[row] += y
                self.t += y
                self.m += 1
        return self.symbols

    def other_than_zero(self, row: int, column: int) -> int:
        around = [(row, column - 1), (row - 1, column), (row, column - 2), (row - 1, column - 1)]
        near = sum((self.at(*place) > 0) << i for i, place in enumerate(around))
        overall = (65536 * self.t + 3277) // (self.m + 1)
        by_column = (65536 * self.c[column] + 2 * overall) // (row + 2)
        by_row = (65536 * self.r[row] + 4 * overall) // (column + 4)
        model, of_column = self.model, 16 * level(by_column)
        asked = [
            model.near[near],
            model.crossed[of_column + level(by_row)],
            model.fed[of_column + self.feeds[column]],
        ]
        counted = [st(overall), st(by_column), st(by_row)]
        which = 0 if row == 0 else 1 if self.c[column] == 0 else 2
        inputs = [*counted, *(each.says() for each in asked), 64]
        y = model.mix(model.zero_mixers[which], inputs)
        for each in asked:
            each.learn(y)
        return y


def feeds(before: list[int], columns: int) -> list[int]:
    a, b = len(before), columns
    if not a or not b or max(a, b) % min(a, b):
        return [0] * b
    if b >= a:
        fed = [before[j // (b // a)] for j in range(b)]
    else:
        fed = [sum(before[j * (a // b) : (j + 1) * (a // b)]) for j in range(b)]
    return [1 + min(14, count.bit_length()) for count in fed]


def decode_tables(data: bytes, shapes: list[tuple[int, int]], alphabet: int) -> list[int]:
    """The symbols of all tables, one after the other."""
    if alphabet == 1:
        return [0] * sum(rows * columns for rows, columns in shapes)
    demand(alphabet <= 1 << 24, "too large an alphabet")
    model, before, found = Model(data, alphabet), [], []
    for rows, columns in shapes:
        table = Table(model, rows, columns, before)
        found += table.decode()
        if rows > 1:
            before = table.r
    model.coder.check_end()
    return found


def mixing(data: bytes, shapes: list[tuple[int, ...]], alphabet: int, fmt: str) -> list[int]:
    return decode_tables(data, [as_table(shape) for shape in shapes], alphabet)


def as_table(shape: tuple[int, ...]) -> tuple[int, int]:
    numel = math.prod(shape)
    if not numel:
        return 0, 0
    return (shape[0], numel // shape[0]) if len(shape) > 1 else (1, numel)
