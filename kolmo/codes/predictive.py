"""The predictive code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kolmo.codes import kernels_laws as laws_of
from kolmo.codes import kernels_predictive as kernels
from kolmo.codes.arithmetic import FILLED, HELD, PLACE, WRITTEN, last_bytes, new_coder
from kolmo.codes.context import _constants, form_of, _grid, _commonest, _columns, COLUMNS, widest
from kolmo.codes.kernels_context import FRESH, table_size
from kolmo.codes.kernels_predictive import TableHead

_SPAN = 1 << 14
_WORST = 200
_HASHES = 1 << 18


class Session:
    def __init__(self, form, columns, coded, decoding):
        self.form = form
        self.state = kernels.new_state(_constants(), new_coder(coded, decoding))
        self.table = np.full(table_size(columns), FRESH, np.uint32)
        self.chances = laws_of.chances()

    def run(self, weights, head, shape, coded, plain, shrink):
        memory = kernels.Memory(
            np.zeros(weights.size, np.int64),
            np.zeros(head.columns, np.int64),
            np.zeros(_HASHES, np.int32),
            np.zeros(_HASHES, np.int32),
            np.full(_HASHES, -1, np.int64),
            np.zeros(weights.size, np.int64),
        )
        columns = new_columns(head.columns, shrink)
        f = laws_of.FEATURES
        near = laws_of.Neighbours(
            lags(shape, head), np.zeros(f + 1, np.int64), np.zeros((2, f + 1, f + 1), np.int64),
            np.zeros((2, f), np.int64), np.zeros((4, f + 1, f + 1), np.int64),
        )
        laws = laws_of.Laws(
            np.ones((laws_of.LAWS, 3), np.int64), np.zeros((laws_of.LAWS, 3), np.int64),
            np.full((laws_of.LAWS, 2), 1 << 12, np.int64), self.chances,
        )
        kernels.begin_table(self.state, self.table)
        for first in range(0, weights.size, _SPAN):
            last = min(first + _SPAN, weights.size)
            kernels.code_span(weights, first, last, self.form, head, self.state, self.table,
                              coded, plain, memory, columns, near, laws)
            yield


def new_columns(count, shrink):
    most = min(laws_of.WIDEST, max(1, MEMORY // count))
    bands = -(-count // most)
    d = -(-count // bands)
    registers = np.zeros((bands, laws_of.REGISTERS), np.int64)
    registers[:, laws_of.NEXT_FIT] = 32
    registers[:, laws_of.SCALE_SUM] = 1 << 26
    registers[:, laws_of.ROWS] = registers[:, laws_of.GUESSED] = 1
    return laws_of.Columns(
        registers,
        np.zeros((bands, d, d), np.int64),
        np.zeros((bands, 2, d, d), np.int32),
        np.full((bands, d), 1 << 12, np.int64),
        np.zeros((bands, 32, d), np.int32),
        np.zeros((2, d), np.int32),
        np.zeros(3, np.int64),
        np.array(shrink, np.int64),
        np.zeros(d, np.int64),
    )


def lags(shape, head):
    t = head.taps
    if t == 1:
        pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, -1), (2, 0), (0, 5), (0, 6), (1, 2), (3, 0)]
    else:
        k = shape[-1]
        pairs = [(0, 1), (0, 2), (0, t), (0, 2 * t), (0, k), (1, 0), (0, t + 1), (0, t - 1), (1, -1), (1, 1), (2, 0), (0, k + 1)]
        if len(shape) == 3:
            pairs[4] = (0, 3); pairs[11] = (0, 4)
    seen = []
    for p in pairs:
        seen.append(p if p not in seen else (0, 0))
    return np.array(seen, np.int64)


MEMORY = 1 << 22
SHRINK = (1 << 24) // 32, (1 << 24) // 4


def describe(weights, shape, form):
    coarse = coarser = 0
    if form.exponent_bits:
        magnitudes = weights & ((1 << (form.exponent_bits + form.mantissa_bits)) - 1)
        top, centre, grid = int(magnitudes.max()) >> form.mantissa_bits, 0, _grid(magnitudes, form)
        coarse, coarser = zeros(magnitudes, form)
    else:
        centre = _commonest(weights)
        magnitudes = np.abs(weights - centre)
        top, grid = int(magnitudes.max()).bit_length(), 0
    c = _columns(shape)
    taps = math.prod(shape[2:]) if len(shape) > 2 else 1
    mirror = 0
    if len(shape) == 2 and shape[0] == shape[1]:
        m = magnitudes.reshape(shape)
        mirror = int((m == m.T).mean() > .75)
    return TableHead(c, min(taps, c), top, int(magnitudes.min() == 0), centre, grid, coarse, coarser, mirror)


def zeros(magnitudes, form):
    """The two numbers of trailing zeros that occur far more often than by chance."""
    positive = magnitudes[magnitudes & ((1 << form.mantissa_bits) - 1) > 0]
    low = positive & -positive
    counts = np.bincount(np.frexp(low.astype(np.float64))[1] - 1, minlength=form.mantissa_bits + 1)[:form.mantissa_bits]
    above = np.cumsum(counts[::-1])[::-1]
    total = max(positive.size, 1)
    best = []
    for level in range(4, form.mantissa_bits - 3):
        share = above[level] / total
        if share > 4 / (1 << level) and share > .002:
            # bits saved: level × share
            best.append((counts[level] * level, level))
    best.sort(reverse=True)
    levels = sorted(l for _, l in best[:2])
    return (levels + [0, 0])[:2]


def encode_size(parts, alphabet, shrink=SHRINK):
    form = form_of(alphabet)
    shapes = [p.shape for p in parts]
    coded = np.empty(_WORST * _SPAN, np.uint8)
    plain = np.empty(8 * _SPAN + 8, np.uint8)
    session = Session(form, min(widest(shapes), COLUMNS), coded, False)
    a = b = 0
    for part in parts:
        weights = part.reshape(-1).astype(np.int64)
        head = describe(weights, part.shape, form)
        for _ in session.run(weights, head, part.shape, coded, plain, shrink):
            a += int(session.state["coder"][PLACE]); session.state["coder"][PLACE] = 0
            b += int(session.state["plain"][WRITTEN]); session.state["plain"][WRITTEN] = 0
    return a, b
