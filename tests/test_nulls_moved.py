"""Shuffles in windows and buckets: exact, uniform, and the same whoever asks for what."""

import collections
import itertools
import math
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo.nulls import kernels
from kolmo.nulls.moved import MovedInColumns, MovedInLine, MovedInRows, Sizes
from kolmo.nulls.seeds import name_seed, random_keys

ALL = {"line": MovedInLine, "rows": MovedInRows, "columns": MovedInColumns}
TINY = [Sizes(), Sizes(bucket=1), Sizes(window=3, bucket=1, band=1, step=4), Sizes(2, 1, 1, 4)]


class Held:
    """Weights in memory that can be pickled, and how often each was read."""

    def __init__(self, weights):
        self.weights, self.reads = weights.reshape(-1), 0

    def load(self, start, stop):
        self.reads += stop - start
        return self.weights[start:stop]


def moved(kind, weights, seed=(0,), sizes=TINY[0], width=None):
    shape = weights.shape if kind != "line" else (weights.size,)
    width = width or weights.dtype.itemsize
    return ALL[kind](Held(weights).load, weights.dtype, shape, width, seed, sizes)


def drawn(kind, weights, seed=(0,), sizes=TINY[0]):
    return moved(kind, weights, seed, sizes).load(0, weights.size)


def excess(counts, expected):
    """How many deviations chi-square lies above its mean."""
    counts = np.asarray(counts, float)
    freedom = counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


def test_words_are_those_of_splitmix64():
    """The first outputs of the published generator for the seed 0."""
    words = np.empty(3, np.uint64)
    kernels.random_words(np.array([0, 0x9E3779B97F4A7C15], np.uint64), 1, words)
    assert [hex(word) for word in words] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_keys_step_by_odd_numbers_of_many_changes():
    steps = [int(key[1]) for seed in range(300) for key in random_keys((seed,), 2)]
    assert len(set(steps)) == 600
    assert all(step & 1 and (step ^ step >> 1).bit_count() >= 24 for step in steps)
    assert name_seed("a") != name_seed("b")


# --- every order is as likely as any other -----------------------------------------------------


@pytest.mark.parametrize("sizes", TINY)
def test_all_orders_of_a_line_are_alike(sizes):
    weights = np.arange(4, dtype=np.uint8)
    seen = collections.Counter(tuple(drawn("line", weights, (n,), sizes)) for n in range(1200))
    assert set(seen) == set(itertools.permutations(range(4)))
    assert excess(list(seen.values()), 50) < 5


@pytest.mark.parametrize("sizes", TINY)
@pytest.mark.parametrize("kind", ["rows", "columns"])
def test_all_orders_of_two_lines_are_alike_and_independent(kind, sizes):
    weights = np.arange(6, dtype=np.uint8).reshape(2, 3)
    weights = np.ascontiguousarray(weights.T if kind == "columns" else weights)
    seen = collections.Counter(tuple(drawn(kind, weights, (n,), sizes)) for n in range(1080))
    assert len(seen) == 36
    assert excess(list(seen.values()), 30) < 5


@pytest.mark.parametrize("kind", ["line", "columns"])
def test_values_come_to_all_places_across_borders(kind):
    """A value is as likely at a place of its own bucket or window as at one of any other."""
    sizes, n = Sizes(window=24, bucket=8, band=32, step=16), 64
    weights = np.arange(n, dtype=np.uint8).reshape(-1, 1)
    weights = weights if kind == "line" else np.repeat(weights, 2, 1)
    counts = np.zeros((n, n))
    for number in range(900):
        counts[np.arange(n), drawn(kind, weights, (number,), sizes).reshape(n, -1)[:, 0]] += 1
    # rows and columns of the table have fixed sums: (n − 1)² degrees of freedom
    chi2, freedom = ((counts - 900 / n) ** 2 / (900 / n)).sum(), (n - 1) ** 2
    assert abs(chi2 - freedom) < 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("numbers", [(0, 1), (1, 1 << 40)])
@pytest.mark.parametrize("names", [("a", "a"), ("a", "b")])
def test_two_draws_are_independent(names, numbers):
    """The pair of orders is as likely as any other, for two draws and for two tensors."""
    weights = np.arange(3, dtype=np.uint8)
    seen = collections.Counter()
    for seed in range(1080):
        pair = ((seed, name_seed(name), n, 1) for name, n in zip(names, numbers, strict=True))
        seen[tuple(tuple(drawn("line", weights, each)) for each in pair)] += 1
    assert len(seen) == 36
    assert excess(list(seen.values()), 30) < 5


def test_large_draws_are_uncorrelated():
    """Ranks after the shuffle against ranks before, and against those of another draw."""
    weights = np.arange(200_000, dtype=np.uint32)
    first, second = (drawn("line", weights, (0, n), Sizes(bucket=1 << 12)) for n in range(2))
    for one, other in ((first, weights), (first, second), (first[1:], first[:-1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(one.size)


# --- the same whoever asks for what ------------------------------------------------------------


@given(
    st.sampled_from(sorted(ALL)),
    st.integers(1, 12),
    st.integers(1, 12),
    st.builds(Sizes, st.integers(1, 200), st.integers(1, 40), st.integers(1, 64),
              st.sampled_from([4, 8, 64])),
    st.lists(st.integers(0, 144), max_size=6),
    st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_cut_gives_the_same_permutation_of_every_line(kind, rows, columns, sizes, cuts, dtype):
    weights = np.arange(rows * columns).astype(dtype).reshape(rows, columns)
    made = moved(kind, weights, (7,), sizes)
    whole = made.load(0, weights.size)
    edges = sorted({0, weights.size, *(min(cut, weights.size) for cut in cuts)})
    pieces = [made.load(a, b) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert np.array_equal(pickle.loads(pickle.dumps(made)).load(0, weights.size), whole)
    lines = {"line": (1, -1), "rows": weights.shape, "columns": weights.shape}[kind]
    axis = 0 if kind == "columns" else 1
    before, after = weights.reshape(lines), whole.reshape(lines)
    assert np.array_equal(np.sort(before, axis), np.sort(after, axis))


def test_a_line_does_not_depend_on_its_window():
    weights = np.arange(5000, dtype=np.uint16)
    sizes = [Sizes(window=window, bucket=100, step=64) for window in (100, 999, 1 << 20)]
    first, *others = (drawn("line", weights, (3,), each) for each in sizes)
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("kind", sorted(ALL))
def test_numbers_of_other_widths_move_alike(kind):
    """The codes of a quantized tensor, a byte each, go where its weights go."""
    numbers = np.arange(240).reshape(12, 20)
    sizes = Sizes(window=120, bucket=16, band=64, step=32)
    weights, codes = numbers.astype(np.float32), numbers.astype(np.uint8)
    apart = [moved(kind, each, (1,), sizes, width=4).load(0, 240) for each in (weights, codes)]
    assert np.array_equal(apart[0].astype(np.uint8), apart[1])


@pytest.mark.parametrize("kind", sorted(ALL))
def test_threads_share_a_draw(kind):
    weights = np.arange(3000, dtype=np.uint16).reshape(50, 60)
    made = moved(kind, weights, (2,), Sizes(window=512, bucket=64, band=128, step=64))
    expected = made.load(0, 3000)
    found = [np.empty(0)] * 4

    def read(which):
        places = range(0, 3000, 7 + which)
        found[which] = np.concatenate([made.load(p, min(p + 7 + which, 3000)) for p in places])

    threads = [threading.Thread(target=read, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(each, expected) for each in found)


@pytest.mark.parametrize(("kind", "times"), [("line", 4), ("rows", 1), ("columns", 4)])
def test_the_tensor_is_read_once_for_each_window(kind, times):
    weights = np.zeros((64, 64), np.uint8)
    held = Held(weights)
    sizes = Sizes(window=1024 + 64 * (kind == "line"), bucket=64, band=256, step=128)
    shape = weights.shape if kind != "line" else (weights.size,)
    made = ALL[kind](held.load, weights.dtype, shape, 1, (0,), sizes)
    for start in range(0, 4096, 100):
        made.load(start, min(start + 100, 4096))
    assert held.reads == times * weights.size


MEASURE = """
import resource, sys
import numpy as np
from tests.test_nulls_moved import ALL, Sizes
kind, rows, columns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def load(start, stop):
    return np.arange(start, stop, dtype=np.uint32).view(np.uint8)[::4].copy()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def read(rows, columns, sizes):
    shape = (rows, columns) if kind != "line" else (rows * columns,)
    made = ALL[kind](load, np.dtype(np.uint8), shape, 1, (0,), sizes)
    for start in range(0, rows * columns, 1 << 20):
        chunk = made.load(start, min(start + (1 << 20), rows * columns))
    return made.memory
read(300, 300, Sizes(window=30_000, bucket=1000))
before = peak()
held = read(rows, columns, Sizes(window=1 << 22, band=1 << 20, step=1 << 18))
print(peak() - before, held)
"""


SHAPES = [("line", 1, 24_000_000), ("columns", 4800, 5000)]
ODD = [("rows", 3, 8_000_000), ("rows", 240_000, 100), ("columns", 12_000_000, 2),
       ("columns", 2, 12_000_000)]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "rows", "columns"),
    [*SHAPES, *(pytest.param(*shape, marks=pytest.mark.slow) for shape in ODD)],
)
def test_what_is_held_is_what_was_said(kind, rows, columns):
    """24 MB are drawn; a window is 4 MiB."""
    code = [sys.executable, "-c", MEASURE, kind, str(rows), str(columns)]
    found = subprocess.run(code, capture_output=True, text=True, check=True).stdout.split()
    grown, said = map(int, found)
    assert grown < said + (4 << 20)
    assert said < 16 << 20
