"""Lempel–Ziv 1978: its phrases against the definition, its convention, what it says of noise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kolmo
from kolmo.errors import NotApplicableError
from kolmo.estimators import get_estimator
from kolmo.estimators.lz78 import most_phrases


def measure(symbols, alphabet=2, chunks=1):
    symbols = np.asarray(symbols, np.uint16)
    accumulator = get_estimator("lz78").start(symbols.shape, alphabet)
    for chunk in np.array_split(symbols, chunks):
        accumulator.update(chunk)
    return accumulator.finish()


def incremental_parsing(symbols):
    """By definition: the shortest stretch that is no earlier phrase is the next phrase."""
    seen, phrase = set(), ()
    for symbol in symbols:
        phrase = (*phrase, symbol)
        if phrase not in seen:
            seen.add(phrase)
            phrase = ()
    return len(seen) + bool(phrase)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 7, 65536]).flatmap(
        lambda a: st.tuples(st.just(a), st.lists(st.integers(0, a - 1), max_size=300))
    ),
    st.integers(1, 5),
)
def test_phrases_are_those_of_the_definition(drawn, chunks):
    alphabet, symbols = drawn
    code = measure(symbols, alphabet, chunks)
    phrases = incremental_parsing(symbols)
    assert code.details == {"phrases": phrases}
    expected = phrases * (math.log2(phrases) + math.log2(alphabet)) if phrases else 0
    assert (code.kind, code.bits) == ("estimate", expected)


def test_the_dictionary_grows():
    """More phrases than its first room and than one span, in chunks that split both."""
    symbols = np.random.default_rng(0).integers(0, 200, 300_000)
    code = measure(symbols, 255, chunks=3)
    assert code.details["phrases"] == incremental_parsing(symbols.tolist())
    assert code == measure(symbols, 255)


def test_a_constant_has_about_the_root_of_twice_its_length_in_phrases():
    assert measure(np.zeros(5050, np.uint8)).details["phrases"] == 100


def test_random_bits_cost_more_than_a_bit_each_but_not_much():
    weights = np.random.default_rng(0).normal(size=500_000)
    assert 1 <= kolmo.estimate(weights, "lz78", "sign").bits_per_weight < 1.25


def test_lz78_sees_order_that_the_entropy_does_not():
    weights = np.tile(np.random.default_rng(0).normal(size=20), 5000)
    repeated = kolmo.estimate(weights, "lz78", "sign").bits
    shuffled = kolmo.estimate(np.random.default_rng(1).permutation(weights), "lz78", "sign").bits
    assert repeated < shuffled / 2


def test_lz78_says_why_not():
    with pytest.raises(NotApplicableError, match="quantize first"):
        get_estimator("lz78").start((3,), 2**32)
    with pytest.raises(NotApplicableError, match="over its limit"):
        get_estimator("lz78").start((1 << 30,), 2)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 3, 256]), st.integers(0, 2000), st.integers(0, 100))
def test_no_string_has_more_phrases_than_the_most(alphabet, numel, seed):
    symbols = np.random.default_rng(seed).integers(0, alphabet, numel).astype(np.uint8)
    assert measure(symbols, alphabet).details["phrases"] <= most_phrases(numel, alphabet)


@pytest.mark.parametrize("alphabet", [1, 2, 4])
def test_the_most_phrases_are_all_the_short_strings(alphabet):
    """All strings of one to three symbols in turn are a phrase each, and a symbol more another."""
    words = [w for n in (1, 2, 3) for w in itertools.product(range(alphabet), repeat=n)]
    symbols = np.array([*itertools.chain(*words), 0], np.uint8)
    assert measure(symbols, alphabet).details["phrases"] == len(words) + 1
    assert most_phrases(symbols.size, alphabet) == len(words) + 1
