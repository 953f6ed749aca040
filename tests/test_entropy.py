"""Lempel–Ziv complexity: its suffix array and its phrases against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kolmo
from kolmo.errors import NotApplicableError
from kolmo.estimators import entropy, get_estimator
from kolmo.estimators.entropy import LZ_LIMIT, PLAIN_LIMIT, suffix_array


def phrases(symbols, alphabet=2, chunks=1):
    symbols = np.array(symbols, np.uint16)
    accumulator = get_estimator("lz76").start(symbols.shape, alphabet)
    for chunk in np.array_split(symbols, chunks):
        accumulator.update(chunk)
    code = accumulator.finish()
    assert code.kind == "estimate"
    assert code.bits == code.details["phrases"] * math.log2(max(1, symbols.size))
    return code.details["phrases"]


def exhaustive_history(text):
    """By definition (Lempel & Ziv 1976): a phrase ends where it was not seen, one symbol short."""
    count, start = 0, 0
    while start < len(text):
        end = start + 1
        while end <= len(text) and text[start:end] in text[: end - 1]:
            end += 1
        count, start = count + 1, end
    return count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("0", 1),
        ("0" * 100, 2),  # 0, and the rest
        ("01" * 50, 3),  # 0, 1, and the rest
        ("0001101001000101", 6),  # the example of the 1976 paper
    ],
)
def test_known_complexities(text, expected):
    assert phrases([int(bit) for bit in text]) == expected


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 4), st.text("abcd", max_size=120), st.integers(1, 4))
def test_phrases_are_those_of_the_definition(alphabet, text, chunks):
    symbols = [ord(letter) % alphabet for letter in text]
    expected = exhaustive_history("".join(map(str, symbols)))
    assert phrases(symbols, alphabet, chunks) == expected


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([2, 15, 255, 256, 300, 65536]), st.integers(0, 5000), st.integers(0, 99))
def test_phrases_are_the_same_without_the_package(alphabet, numel, seed):
    random = np.random.default_rng(seed)
    symbols = random.integers(0, min(alphabet, 1 + seed * 700), numel)
    symbols[numel // 2 :] = symbols[: numel - numel // 2]
    found = phrases(symbols, alphabet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy, "find_spec", lambda name: None)
        assert phrases(symbols, alphabet) == found


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([2, 3, 256, 65536]).flatmap(
        lambda a: st.tuples(st.just(a), st.lists(st.integers(0, min(a, 5) - 1), max_size=200))
    )
)
def test_suffix_arrays_are_sorted(drawn):
    alphabet, symbols = drawn
    symbols = np.array(symbols, np.uint16)
    if symbols.size == 0:
        return
    suffixes = sorted(range(symbols.size), key=lambda i: symbols[i:].tolist())
    assert suffix_array(symbols, alphabet).tolist() == suffixes


def test_random_bits_cost_about_a_bit_each():
    weights = np.random.default_rng(0).normal(size=200_000)
    code = kolmo.estimate(weights, "lz76", "sign")
    assert 1 <= code.bits_per_weight < 1.03


def test_lz76_sees_order_that_the_entropy_does_not():
    weights = np.tile(np.random.default_rng(0).normal(size=100), 100)
    repeated = kolmo.estimate(weights, "lz76", "sign").bits
    shuffled = kolmo.estimate(np.random.default_rng(1).permutation(weights), "lz76", "sign").bits
    assert repeated < shuffled / 10


def test_lz76_says_why_not(monkeypatch):
    with pytest.raises(NotApplicableError, match="quantize first"):
        get_estimator("lz76").start((3,), 2**32)
    with pytest.raises(NotApplicableError, match="over its limit"):
        get_estimator("lz76").start((LZ_LIMIT + 1,), 2)
    monkeypatch.setattr(entropy, "find_spec", lambda name: None)
    with pytest.raises(NotApplicableError, match=r"pip install '\.\[suffix\]'"):
        get_estimator("lz76").start((PLAIN_LIMIT + 1,), 2)
