"""The laws of the predictive code (docs/formats/predictive.md)."""

from __future__ import annotations

import math

from tests.formats.bits import clamp
from tests.formats.context import tables

FEATURES, QUICK = 12, 4  # neighbours of the slow law and of the quick one
BLOCK = 32

Law = tuple[int, int, int]  # mean, scale, reciprocal
Square = list[list[int]]


def chances() -> list[int]:
    found = []
    for step in range(-2048, 2049):
        x = step / 128 / math.sqrt(6 + (step / 128) ** 2)
        c = 1 - x * x
        chance = 0.5 + 0.5 * x * (1 + c / 2 + 3 * c * c / 8)
        found.append(round(chance * 2**28) + 16 * step)
    return [1 + entry - found[0] for entry in found]


CHANCES = chances()


def root(number: int) -> int:
    return math.isqrt(max(number, 0))


def entry(number: int) -> int:
    return clamp(number, -(1 << 24), 1 << 24)


def square(size: int) -> Square:
    return [[0] * size for _ in range(size)]


def law_of(mean: int, scale: int) -> Law:
    scale = clamp(scale, 4, 1 << 31)
    return clamp(mean, -(1 << 32), 1 << 32), scale, (1 << 40) // scale


def below(law: Law, border: int) -> int:
    mean, scale, reciprocal = law
    away, limit = border - mean, 16 * scale
    if not -limit <= away <= limit:
        away = limit if away > 0 else -limit
    steps = (away * reciprocal) >> 28
    entry = min((steps >> 5) + 2048, 4095)
    low = CHANCES[entry]
    return low + (((CHANCES[entry + 1] - low) * (steps & 31)) >> 5)


def within(law: Law, border: int) -> int:
    return below(law, border) - below(law, -border)


def stretched(yes: int, no: int) -> int:
    yes, no = max(yes, 1), max(no, 1)
    return tables()[1][clamp((yes << 12) // (yes + no), 1, 4095)]


class Question:
    """What the laws say of one weight, piece by piece."""

    def __init__(self, laws: list[Law]) -> None:
        self.laws = laws
        self.sharpest = min(range(1, len(laws)), key=lambda which: laws[which][1])
        ratio = (laws[0][1] << 4) // laws[self.sharpest][1]
        self.sharper = sum(ratio > 17 << step for step in range(7))
        self.lower, self.upper, self.middle = ([0] * len(laws) for _ in range(3))
        self.bound(1 << 30)

    def bound(self, border: int) -> None:
        self.upper = [within(law, border) for law in self.laws]

    def of_border(self, border: int) -> list[int]:
        self.middle = [within(law, border) for law in self.laws]
        edges = zip(self.lower, self.middle, self.upper, strict=True)
        return [stretched(upper - middle, middle - lower) for lower, middle, upper in edges]

    def narrow(self, y: int) -> None:
        if y:
            self.lower = self.middle
        else:
            self.upper = self.middle

    def of_sign(self, low: int, high: int) -> list[int]:
        return [
            stretched(
                below(law, -low) - below(law, -high), below(law, high) - below(law, low)
            )
            for law in self.laws
        ]  # fmt: skip

    def of_side(self, low: int, middle: int, high: int, sign: int) -> list[int]:
        side = -1 if sign else 1
        found = []
        for law in self.laws:
            inner, at, outer = (below(law, side * border) for border in (low, middle, high))
            found.append(stretched(abs(outer - at), abs(at - inner)))
        return found


# --- columns --------------------------------------------------------------------------------


class Band:
    """Columns whose correlations are learned together."""

    def __init__(self, width: int) -> None:
        self.scale_sum, self.rows, self.next_fit = 1 << 26, 1, BLOCK
        self.guessed, self.fitted = True, False
        self.scales = [1 << 12] * width
        self.waiting: list[list[int]] = []
        self.sums = square(width)
        self.factors = [square(width), square(width)]

    def scale(self, at: int) -> int:
        return max((self.scales[at] * (self.scale_sum // self.rows)) >> 12, 1)

    def learn_row(self, row: list[int]) -> None:
        scale = root(sum((value >> 4) ** 2 // len(row) for value in row)) << 4
        if scale == 0:
            return
        self.waiting.append([clamp((value << 12) // scale, -65536, 65536) for value in row])
        if self.guessed:
            self.guessed, self.rows, self.scale_sum = False, 0, 0
        self.rows += 1
        self.scale_sum += scale
        if len(self.waiting) == BLOCK or self.rows in (4, 8, 16):
            self.take_block(len(row))
        if self.rows >= self.next_fit and not self.waiting:
            self.next_fit = self.rows + max(64, self.rows // 4)
            self.factors = [self.factor(len(row), (1 << 24) // part) for part in (128, 4)]
            self.fitted = True

    def take_block(self, count: int) -> None:
        for row in self.waiting:
            for i in range(count):
                for j in range(i + 1):
                    self.sums[i][j] += row[i] * row[j]
        self.waiting = []
        for i in range(count):
            mean = (self.sums[i][i] + (4 << 24)) // (self.rows + 4)
            self.scales[i] = max(root(mean), 16)

    def factor(self, count: int, shrink: int) -> Square:
        shrink = shrink * min(count, self.rows) // self.rows
        factor, keep = square(count), (1 << 24) - shrink
        own = [max(root(self.sums[i][i]), 1) for i in range(count)]
        for i, line in enumerate(factor):
            for j in range(i):
                correlation = (((self.sums[i][j] << 12) // own[i]) << 12) // own[j]
                total = sum(line[k] * factor[j][k] for k in range(j))
                line[j] = entry((correlation * keep - total) // factor[j][j])
            rest = (1 << 48) - sum(line[k] * line[k] for k in range(i))
            line[i] = max(root(rest), 256)
        return factor


class Columns:
    def __init__(self, count: int, rows: int) -> None:
        most = max(1, min(1024, 4 * rows + 12, (1 << 22) // count))
        bands = -(-count // most)
        self.count, self.width = count, -(-count // bands)
        self.bands = [Band(self.width) for _ in range(bands)]
        self.errors = [[1 << 12] * count, [1 << 12] * count]
        self.whitened = [[0] * self.width, [0] * self.width]
        self.energy, self.foreseen = 0, [0, 0]

    def laws(self, column: int) -> list[Law]:
        """The plain one, and those of both factors."""
        number, at = divmod(column, self.width)
        band, means, scales = self.bands[number], [0, 0], [0, 0]
        scale = band.scale(at)
        by_row = root((4 * (1 << 24) + self.energy) // (4 + column))
        plain = max((scale * by_row) >> 12, 1)
        for which in range(2):
            scales[which] = plain
            if band.fitted:
                line = band.factors[which][at]
                total = sum(line[i] * self.whitened[which][i] for i in range(at))
                self.foreseen[which] = total
                means[which] = (clamp(total >> 24, -(1 << 28), 1 << 28) * scale) >> 16
                own = (plain * line[at]) >> 24
                scales[which] = (own * self.errors[which][column]) >> 12
        return [law_of(0, plain), *map(law_of, means, scales)]

    def learn(self, value: int, column: int, laws: list[Law]) -> None:
        number, at = divmod(column, self.width)
        band = self.bands[number]
        normal = clamp((value << 16) // band.scale(at), -(1 << 24), 1 << 24)
        own = normal >> 4
        if band.fitted:
            for which, (mean, scale, _) in enumerate(laws[1:3]):
                share = min((abs(value - mean) << 12) // scale, 1 << 14)
                error = self.errors[which][column]
                error += ((share - 3760) * error) >> 17
                self.errors[which][column] = clamp(error, 1 << 7, 1 << 14)
                rest = (normal << 24) - self.foreseen[which]
                z = clamp(rest // band.factors[which][at][at], -(1 << 29), 1 << 29)
                self.whitened[which][at] = z
                own = z >> 4
        self.energy += clamp(own, -65536, 65536) ** 2

    def end_row(self, row: list[int]) -> None:
        self.energy = 0
        for number, band in enumerate(self.bands):
            band.learn_row(row[number * self.width : (number + 1) * self.width])


# --- neighbours -----------------------------------------------------------------------------


def lags_of(shape: tuple[int, ...], taps: int) -> list[tuple[int, int]]:
    """Rows up and columns to the left of each neighbour, (0, 0) for none."""
    if taps == 1:
        lags = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, -1), (2, 0)]
        lags += [(0, 5), (0, 6), (1, 2), (3, 0)]
    else:
        inner = shape[-1] if len(shape) > 3 else 3
        lags = [(0, 1), (0, 2), (0, taps), (0, 2 * taps), (0, inner), (1, 0), (0, taps + 1)]
        lags += [(0, taps - 1), (1, -1), (1, 1), (2, 0), (0, inner + 1)]
    return [lag if lag not in lags[:i] else (0, 0) for i, lag in enumerate(lags)]


class Neighbours:
    def __init__(self, lags: list[tuple[int, int]], columns: int) -> None:
        self.lags, self.columns = lags, columns
        self.features = [0] * FEATURES
        self.sums = [square(FEATURES + 1), square(FEATURES + 1)]
        self.weights = [[0] * FEATURES, [0] * QUICK]
        self.errors = [1 << 12, 1 << 12]

    def laws(self, values: list[int], plain: int) -> list[Law]:
        place = len(values)
        row, column = divmod(place, self.columns)
        for i, (up, left) in enumerate(self.lags):
            there = row >= up and 0 <= column - left < self.columns and (up, left) != (0, 0)
            self.features[i] = values[place - up * self.columns - left] if there else 0
        found = []
        for weights, error in zip(self.weights, self.errors, strict=True):
            total = sum(a * b for a, b in zip(weights, self.features, strict=False))
            found.append(law_of(total >> 20, (plain * error) >> 12))
        return found

    def learn(self, value: int, laws: list[Law]) -> None:
        small = [feature >> 8 for feature in (*self.features, value)]
        for i, own in enumerate(small):
            for j in range(i + 1):
                for sums in self.sums:
                    sums[i][j] += own * small[j]
        for which in range(2):
            off = abs(value - laws[3 + which][0])
            share = min((off << 12) // laws[0][1], 1 << 18)
            self.errors[which] = max(self.errors[which] + ((share - self.errors[which]) >> 4), 1)

    def fit_at(self, place: int) -> None:
        if place % 32 == 31:
            self.fit(0, FEATURES, 5)
        if place % 8 == 7:
            self.fit(1, QUICK, 2)

    def fit(self, which: int, count: int, decay: int) -> None:
        sums = self.sums[which]
        self.weights[which] = least_squares(sums, count)
        for i in range(FEATURES + 1):
            for j in range(i + 1):
                sums[i][j] -= sums[i][j] >> decay


def share(total: int, one: int, other: int) -> int:
    """A correlation, Q48."""
    return ((total // one) << 24) // other << 24


def least_squares(sums: Square, count: int) -> list[int]:
    target = max(root(sums[FEATURES][FEATURES]), 1)
    scale = [max(root(sums[i][i]), 1) for i in range(count)]
    factor, forward, back = square(count), [0] * count, [0] * count

    for i, line in enumerate(factor):
        for j in range(i):
            total = share(sums[i][j], scale[i], scale[j]) - sum(
                line[k] * factor[j][k] for k in range(j)
            )
            line[j] = entry(total // factor[j][j])
        total = (((1 << 24) + 512) << 24) - sum(line[k] * line[k] for k in range(i))
        line[i] = max(root(total), 1 << 12)
        total = share(sums[FEATURES][i], scale[i], target) - sum(
            line[k] * forward[k] for k in range(i)
        )
        forward[i] = entry(total // line[i])
    weights = [0] * count
    for i in reversed(range(count)):
        total = (forward[i] << 24) - sum(factor[k][i] * back[k] for k in range(i + 1, count))
        back[i] = clamp(total // factor[i][i], -(1 << 31), 1 << 31)
        whole = (back[i] * target // scale[i]) >> 4
        weights[i] = clamp(whole, -(1 << 25), 1 << 25)
    return weights
