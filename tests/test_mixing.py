"""The mixing code: exact round trips, lengths near what they should be, damage never unbounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo.codes import kernels_mixing as kernels
from kolmo.codes import mixing
from kolmo.codes.mixing import decode, encode
from kolmo.errors import InputError


def entropy_bits(table):
    counts = np.unique(table, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


@st.composite
def many_tables(draw):
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    alphabet = draw(st.sampled_from([1, 2, 3, 4, 5, 16, 17, 200, 70_000]))
    shapes = draw(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=4))
    skew = draw(st.sampled_from([1, 4, 30]))
    tables = [(alphabet * random.random(shape) ** skew).astype(np.int64) for shape in shapes]
    return tables, alphabet


@given(many_tables())
@settings(max_examples=80)
def test_decode_undoes_encode(case):
    tables, alphabet = case
    found = decode(encode(tables, alphabet), [table.shape for table in tables], alphabet)
    assert len(found) == len(tables)
    assert all(np.array_equal(a, b) for a, b in zip(found, tables, strict=True))


def test_long_tables_go_in_spans():
    random = np.random.default_rng(0)
    tables = [random.integers(0, 3, (1, 200_001)), random.integers(0, 3, (70_000, 3))]
    found = decode(encode(tables, 3), [table.shape for table in tables], 3)
    assert all(np.array_equal(a, b) for a, b in zip(found, tables, strict=True))


@pytest.mark.parametrize(("alphabet", "share"), [(2, 0.5), (2, 0.01), (3, 0.1), (16, 0.5)])
def test_independent_symbols_take_their_entropy(alphabet, share):
    random = np.random.default_rng(1)
    table = random.integers(1, alphabet, (400, 500)) * (random.random((400, 500)) < share)
    bits = 8 * len(encode([table], alphabet))
    assert entropy_bits(table) - 100 <= bits <= 1.01 * entropy_bits(table) + 300


def test_rows_and_columns_are_seen():
    random = np.random.default_rng(2)
    rates = np.outer(random.random(300) ** 6, random.random(300) ** 6)
    table = (random.random((300, 300)) < rates).astype(np.uint8)
    ideal = -np.log2(np.where(table, rates, 1 - rates)).sum()
    bits = 8 * len(encode([table], 2))
    assert bits < 0.8 * entropy_bits(table)
    assert bits < 1.35 * ideal  # 600 rates are learned on the way


def test_columns_are_likened_to_the_rows_that_feed_them():
    random = np.random.default_rng(3)
    alive = random.random(400) < 0.3
    first = (random.random((400, 200)) < 0.3 * alive[:, None]).astype(np.uint8)
    second = (random.random((10, 400)) < 0.3 * alive).astype(np.uint8)
    together = len(encode([first, second], 2))
    assert together < len(encode([first], 2)) + 0.9 * len(encode([second], 2))


def test_a_code_of_one_symbol_is_empty():
    assert encode([np.zeros((1000, 1000), np.uint8)], 1) == b""
    assert decode(b"", [(3, 4)], 1)[0].tolist() == [[0] * 4] * 3


def test_zeros_cost_next_to_nothing():
    assert len(encode([np.zeros((1000, 1000), np.uint8)], 5)) < 30


def test_the_tables_are_the_same_on_every_machine():
    limit = kernels.LIMIT
    exact = [65536 / (1 + math.exp(-x / 256)) for x in range(-limit, limit + 1)]
    assert min(abs(value % 1 - 0.5) for value in exact) > 1e-9
    tables = mixing._tables()
    assert tables.squash[0] == 1
    assert tables.squash[-1] == 65535
    assert (np.diff(tables.squash) >= 0).all()
    at = tables.squash[tables.stretch + limit]
    assert (at >= np.arange(65536))[:65535].all()  # the least logit whose probability is as high


def test_golden_bytes():
    table = (np.arange(60).reshape(6, 10) ** 2 % 7) % 4
    assert encode([table], 4).hex() == GOLDEN


GOLDEN = "100fde7a11ab51f37e5617"


@given(st.binary(max_size=60), st.sampled_from([2, 3, 17, 1000]))
@settings(max_examples=60)
def test_any_bytes_are_an_error_or_symbols_of_the_alphabet(data, alphabet):
    try:
        (table,) = decode(data, [(40, 50)], alphabet)
    except InputError:
        return
    assert table.shape == (40, 50)
    assert table.max() < alphabet


def test_a_cut_code_is_noticed():
    table = np.random.default_rng(0).integers(0, 3, (100, 100))
    with pytest.raises(InputError, match=r"ends before|names a symbol"):
        decode(encode([table], 3)[:-100], [table.shape], 3)


@pytest.mark.parametrize(
    ("table", "alphabet", "message"),
    [
        (np.zeros(3, np.uint8), 2, "rows and columns"),
        (np.full((1, 1), 2), 2, "0 to 1"),
        (np.full((1, 1), -1), 2, "0 to 1"),
        (np.zeros((1, 1), np.uint8), 0, "alphabet has"),
        (np.zeros((1, 1), np.uint8), 1 << 25, "alphabet has"),
    ],
)
def test_what_cannot_be_coded_is_refused(table, alphabet, message):
    with pytest.raises(InputError, match=message):
        encode([table], alphabet)
