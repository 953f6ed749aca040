"""The prequential code: a probability over sequences, the product of its predictions, a learner."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kolmo
from kolmo.codes.lengths import word_bits
from kolmo.errors import NotApplicableError
from kolmo.estimators import get_estimator
from kolmo.estimators import kernels_prequential as kernels


def accumulate(symbols, alphabet, chunks=1):
    symbols = np.asarray(symbols, np.uint16)
    accumulator = get_estimator("prequential").start(symbols.shape, alphabet).inner
    for chunk in np.array_split(symbols, chunks):
        accumulator.update(chunk)
    return accumulator


@pytest.mark.parametrize(("alphabet", "length"), [(1, 4), (2, 9), (3, 6), (5, 4)])
def test_probabilities_sum_to_one_and_words_obey_kraft(alphabet, length):
    found = [
        accumulate(sequence, alphabet)
        for sequence in itertools.product(range(alphabet), repeat=length)
    ]
    assert math.fsum(2**a.log2_probability for a in found) == pytest.approx(1, abs=1e-9)
    assert math.fsum(2.0 ** -a.finish().bits for a in found) <= 1


def bell(symbol, alphabet, mean, deviation):
    """The logistic law over one symbol's interval, in plain Python."""
    scale = max(deviation, 0.05) / (2 * math.log(2))
    edge = [1 / (1 + math.exp(-(x - mean) / scale)) for x in (symbol - 0.5, symbol + 0.5)]
    low, high = 0.0 if symbol == 0 else edge[0], 1.0 if symbol == alphabet - 1 else edge[1]
    return (1 - 2**-10) * (high - low) + 2**-10 / alphabet


def sequential(symbols, alphabet):
    """log2 of the product of the predictions, from the definition."""
    log2, weights = 0.0, [1 / 5] * 5
    for t, symbol in enumerate(symbols):
        past = symbols[:t]
        fading = [2 ** (-(t - 1 - i) / 1024) for i in range(t)]
        of_symbol = math.fsum(f for f, s in zip(fading, past, strict=True) if s == symbol)
        each = [
            (past.count(symbol) + 0.5) / (t + alphabet / 2),
            (of_symbol + 0.5) / (math.fsum(fading) + alphabet / 2),
        ]
        for half_life in (32, 512, 8192):
            mass, mean, deviation = 1.0, (alphabet - 1) / 2, max(alphabet / 8, 0.25)
            for s in past:
                mass = mass * 2 ** (-1 / half_life) + 1
                away = s - mean
                mean += away / mass
                deviation += (abs(away) - deviation) / mass
            each.append(bell(symbol, alphabet, mean, deviation))
        probability = math.fsum(w * p for w, p in zip(weights, each, strict=True))
        log2 += math.log2(probability)
        posterior = [w * p / probability for w, p in zip(weights, each, strict=True)]
        weights = [(1 - 2**-12) * w + 2**-12 / 5 for w in posterior]
    return log2


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([2, 6, 20]).flatmap(
        lambda a: st.tuples(st.just(a), st.lists(st.integers(0, a - 1), max_size=60))
    ),
    st.integers(1, 4),
)
def test_the_length_is_the_sum_over_the_predictions(drawn, chunks):
    alphabet, symbols = drawn
    expected = sequential(symbols, alphabet)
    found = accumulate(symbols, alphabet, chunks)
    assert found.log2_probability == pytest.approx(expected, abs=1e-7)
    assert found.finish().bits == word_bits(found.log2_probability)


def test_each_predictor_is_a_distribution():
    state, each = kernels.new_state(255), np.empty(kernels.PREDICTORS)
    learned = np.random.default_rng(0).normal(200, 9, 3000).clip(0, 254).astype(np.int64)
    kernels.predict_symbols(learned, state)
    total = np.zeros(kernels.PREDICTORS)
    for symbol in range(255):
        kernels.predict(symbol, state, each)
        total += each
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("quantizer", ["sign", "symmetric:4", "symmetric:8"])
def test_it_costs_little_more_than_kt_and_less_where_scales_drift(quantizer):
    noise = np.random.default_rng(0).standard_t(4, 40_000)
    drifting = noise * np.exp(np.sin(np.arange(noise.size) / 3000) * 1.5)
    for weights in (noise, drifting):
        kt, found = (kolmo.estimate(weights, e, quantizer) for e in ("kt", "prequential"))
        assert found.bits <= kt.bits + math.log2(5) + 4e-4 * weights.size + 2
    if quantizer != "sign":
        assert found.bits < 0.97 * kt.bits
        assert sum(found.details["predictors"].values()) == pytest.approx(1)


def test_old_counts_are_scaled_back_in_time():
    """The increment passes its limit after some 340,000 symbols; nothing overflows."""
    symbols = np.random.default_rng(0).integers(0, 4, 400_000).astype(np.uint8)
    bits = accumulate(symbols, 4).finish().bits
    assert bits == pytest.approx(2 * symbols.size, rel=0.002)


def test_it_says_why_not():
    with pytest.raises(NotApplicableError, match="quantize first"):
        get_estimator("prequential").start((3,), 2**32)
