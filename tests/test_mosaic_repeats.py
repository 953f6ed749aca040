"""Repeated blocks, counted in little memory, against a dictionary of all blocks."""

import collections
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo.estimators import counting, few_repeats, get_estimator, repeats, spool, streams
from kolmo.symbols import Alphabet

ALPHABETS = [2, 3, 255, 2**16, 2**17, 2**32, 2**64]
CUTS = [(1, 2, 4, 8, 16, 32), (1, 2, 4), (3,), (12,), (33,), (100,)]


@pytest.fixture(params=["in memory", "in a file, a few at a time"])
def room(request, monkeypatch):
    if request.param != "in memory":
        monkeypatch.setattr(spool, "HELD", 64)
        monkeypatch.setattr(counting, "BUFFER", 256)
        monkeypatch.setattr(repeats, "KNOWN", 5)
        monkeypatch.setattr(streams, "_CHUNK", 70)


def count_all(symbols, numels, size):
    """By definition: all blocks of each tensor."""
    blocks, start = [], 0
    for numel in numels:
        flat = symbols[start : start + numel // size * size].reshape(-1, size)
        blocks += map(tuple, flat.tolist())
        start += numel
    return collections.Counter(blocks)


def count_symbols(symbols):
    return collections.Counter(symbols.tolist())


def planes_of(counted, alphabet):
    """Counts by byte-plane of all occurrences but the first."""
    itemsize = Alphabet(alphabet).container.itemsize
    planes = np.zeros((itemsize, 256), np.int64)
    for block, count in counted.items():
        for symbol, plane in itertools.product(block, range(itemsize)):
            planes[plane, symbol >> (8 * plane) & 255] += count - 1
    return planes


def drawn(seed, alphabet, numels):
    """A few motifs, cut and mixed with other symbols."""
    random = np.random.default_rng(seed)
    container = Alphabet(alphabet).container
    high = min(alphabet, 2**63)
    motifs = random.integers(0, high, (int(random.integers(1, 9)), int(random.integers(1, 70))))
    symbols = motifs.astype(container)[random.integers(0, len(motifs), sum(numels))].reshape(-1)
    symbols = symbols[: sum(numels)]
    other = random.random(symbols.size) < random.choice([0, 0.01, 0.2])
    symbols[other] = random.integers(0, high, int(other.sum())).astype(container)
    return symbols


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(ALPHABETS),
    st.sampled_from(CUTS),
    st.lists(st.integers(0, 700), min_size=1, max_size=4),
    st.integers(1, 4),
)
def check_repeats(seed, alphabet, sizes, numels, chunks):
    symbols = drawn(seed, alphabet, numels)
    cut = streams.Cut(sizes, Alphabet(alphabet).bits)
    its = streams.BlockStreams(numels, cut, Alphabet(alphabet))
    search = repeats.Search(its, Alphabet(alphabet))
    few = few_repeats.FewSearch(sizes, Alphabet(alphabet))
    searches = [search, few] if len(numels) == 1 and sizes[0] == 1 else [search]
    for each in searches:
        for chunk in np.array_split(symbols, chunks):
            each.update(chunk)
        check_search(each, symbols, numels, alphabet)


def check_search(search, symbols, numels, alphabet):
    every = planes_of({(s,): n + 1 for s, n in count_symbols(symbols).items()}, alphabet)
    for size, found in search.run():
        assert (search.planes == every).all()
        counted = count_all(symbols, numels, size)
        again = {block: count for block, count in counted.items() if count > 1}
        assert found.times == dict(collections.Counter(again.values()))
        assert (found.planes == planes_of(again, alphabet)).all()


def test_repeats_are_those_of_a_dictionary(room):
    check_repeats()


@pytest.mark.parametrize("common", [0, 0.5, 0.95])
def test_common_keys_overflow_no_class(common, monkeypatch):
    """Most keys are one and the same, which no hash divides."""
    monkeypatch.setattr(counting, "BUFFER", 4096)
    random = np.random.default_rng(0)
    keys = random.integers(0, 3000, 20_000).astype(np.uint64)
    keys[random.random(keys.size) < common] = 7
    chunks = np.array_split(keys, 13)
    found = list(counting.repeated_keys(lambda: iter(chunks), keys.size, keys.dtype))
    counted = {int(k): int(c) for ks, cs in found for k, c in zip(ks, cs, strict=True)}
    values, counts = np.unique(keys, return_counts=True)
    expected = dict(zip(values[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True))
    assert counted == expected
    assert len(found) > 30


def test_chunks_of_a_file_may_be_read_in_turn(monkeypatch):
    monkeypatch.setattr(spool, "HELD", 0)
    put = spool.Spool(np.dtype(np.uint16), 1000)
    put.append(np.arange(600, dtype=np.uint16))
    put.append(np.arange(600, 1000, dtype=np.uint16))
    pairs = zip(put.chunks(300), put.chunks(150), strict=False)
    assert [(a[0], b[0]) for a, b in pairs] == [(0, 0), (300, 150), (600, 300), (900, 450)]
    put.close()


def test_few_keys_in_a_file_are_read_piece_by_piece(monkeypatch):
    """A chunk of a file is overwritten by the next one."""
    monkeypatch.setattr(spool, "HELD", 0)
    monkeypatch.setattr(streams, "_CHUNK", 8)
    symbols = np.uint16([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 9, 9, 3, 4, 9, 9])
    its = streams.BlockStreams([16], streams.Cut((2,), 16), Alphabet(2**16))
    its.update(symbols)
    ((_, found),) = repeats.Search(its, Alphabet(2**16)).run()
    assert found.times == {2: 3}


def test_symbols_in_a_file_cost_the_same(room):
    random = np.random.default_rng(0)
    symbols = random.integers(0, 2**16, (40, 8))[random.integers(0, 40, 300)].reshape(-1)
    accumulator = get_estimator("mosaic").start((300, 8), 2**16)
    accumulator.update(symbols.astype(np.uint16))
    code = accumulator.finish()
    assert code.details == {"block": 8, "motifs": 40, "share_motifs": 1.0, "indices": "kt"}
    assert code.bits == 6626
