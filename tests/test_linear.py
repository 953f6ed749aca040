"""The linear code: its length is that of the law that it states, and it sees covariance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import stdtr

import kolmo
from kolmo.codes.lengths import integer_bits, word_bits
from kolmo.errors import NotApplicableError
from kolmo.estimators import get_estimator
from kolmo.estimators import kernels_linear as kernels
from kolmo.estimators import linear as code
from kolmo.symbols import Alphabet

LAW = stats.t(6)


def of(symbols, alphabet, chunks=1):
    """The accumulator that has taken an array."""
    accumulator = get_estimator("linear").start(symbols.shape, alphabet)
    for chunk in np.array_split(symbols.reshape(-1), chunks):
        accumulator.update(chunk)
    return accumulator.inner


def correlated(rows, columns, seed=0):
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(columns // 4, columns))
    return random.normal(size=(rows, columns // 4)) @ mixing + random.normal(size=(rows, columns))


# --- the law --------------------------------------------------------------------------------


def sequential(rows, alphabet, scale, mean):
    """log2 of the probability of the rows of a matrix, as the definition says."""
    count, columns = rows.shape
    mean += (alphabet - 1) // 2
    x = rows - mean
    moments, seen, counts = np.zeros((columns, columns)), 0, np.zeros(alphabet)
    weights, squares = np.full(5, 0.2), np.full(4, scale**2)
    factors = np.array([np.eye(columns)] * 4)
    log2, found = 0.0, 16
    for r in range(count):
        if r == found:
            found += max(16, r // 4)
            whole, diagonal = (
                moments + np.eye(columns) / 16,
                np.diag(np.diag(moments)) + np.eye(columns) / 16,
            )
            for k, much in enumerate((0.05, 0.3, 0.8, 1)):
                much = much if k == 3 else much * min(1, columns / (seen + 1 / 16))
                covariance = ((1 - much) * whole + much * diagonal) / (seen + 1 / 16)
                factors[k] = np.linalg.cholesky(covariance)
        z = np.array([np.linalg.solve(factor, x[r]) for factor in factors])
        for j in range(columns):
            each = []
            for k in range(4):
                own = factors[k, j, j]
                middle = x[r, j] - own * z[k, j] + mean
                square = (8 * squares[k] + (z[k, :j] ** 2).sum()) / (8 + j)
                ends = (rows[r, j] + np.array([-0.5, 0.5]) - middle) / (
                    7 / 8 * own * math.sqrt(square)
                )
                low = 0 if rows[r, j] == 0 else stdtr(6, ends[0])
                high = 1 if rows[r, j] == alphabet - 1 else stdtr(6, ends[1])
                each.append(high - low)
            each.append((counts[rows[r, j]] + 0.5) / (counts.sum() + alphabet / 2))
            counts[rows[r, j]] += 1
            posterior = weights * each
            log2 += math.log2(posterior.sum())
            weights = (1 - 2**-12) * posterior / posterior.sum() + 2**-12 / 5
        squares = np.maximum(squares + ((z**2).mean(axis=1) - squares) / 16, scale**2 / 2**20)
        if x[r].any():
            unit = x[r] / math.sqrt((x[r] ** 2).mean())
            moments += np.outer(unit, unit)
            seen += 1
    return log2


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from([3, 21, 255]), st.integers(0, 99), st.sampled_from([(37, 3), (3, 37), (44, 1)])
)
def test_the_length_is_the_sum_over_the_predictions(alphabet, seed, shape):
    weights = (
        correlated(*shape, seed)
        if min(shape) > 1
        else np.random.default_rng(seed).normal(size=shape)
    )
    levels = np.rint((weights / np.abs(weights).max() + 1) / 2 * (alphabet - 1)).astype(np.int64)
    found = of(levels, alphabet, chunks=1 + seed % 3)
    scale, mean = 2 ** (found._exponent / 2), found._mean
    turned = [levels, levels.T] if min(shape) > 1 else [levels]
    expected = [sequential(rows, alphabet, scale, mean) for rows in turned]
    assert found.log2_probability == pytest.approx(max(expected), abs=1e-6)
    said = signed_bits(found._exponent) + 1
    if mean:
        said += signed_bits(round(4 * mean / scale))
    assert found.finish().bits == word_bits(found.log2_probability) + said + len(turned) - 1


def signed_bits(number):
    return integer_bits(2 * number if number >= 0 else -2 * number - 1)


@given(st.floats(-40, 40), st.floats(0, 30))
def test_an_interval_has_at_most_what_the_law_gives_it(low, width):
    found, true = (
        kernels.interval(low, low + width, width, 1.0),
        LAW.cdf(low + width) - LAW.cdf(low),
    )
    assert found <= true + 1e-12
    if width > 1e-3:
        assert found == pytest.approx(true, abs=1e-9)


@given(st.floats(-40, 40), st.floats(1e-30, 5e-4))
def test_a_narrow_interval_is_nearly_its_density(low, width):
    found = kernels.interval(low, low + width, width, 1.0)
    assert found == pytest.approx(LAW.pdf(low) * width, rel=3e-3)
    assert found <= LAW.pdf(low if low > 0 else low + width) * width * (1 + 1e-12)


@pytest.mark.parametrize("scale", [2.0**-8, 1.0, 30.0])
@pytest.mark.parametrize("format", ["float8_e4m3fn", "float8_e4m3fnuz", "float16", "bfloat16"])
def test_all_floats_together_have_at_most_all_probability(format, scale):
    alphabet = Alphabet.of_dtype(np.dtype(kolmo.dtypes.DTYPES[format]))
    line = code._FloatLine(alphabet)
    patterns = np.arange(alphabet.size).astype(alphabet.container).reshape(1, -1)
    _, lower, upper, classes = line.intervals(patterns, code._Law(0, 0.25))
    known = ~np.isnan(lower)
    ends = zip(lower[known], upper[known], strict=True)
    each = [kernels.interval(low, high, high - low, scale) for low, high in ends]
    assert 0.9 < sum(each) <= 1 + 1e-9
    assert line.within * np.unique(classes).size <= line.classes * line.within
    assert np.bincount(classes.reshape(-1)).max() * line.within == 1


# --- what it sees ---------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [False, True])
def test_correlated_columns_cost_less_and_the_way_is_found(transposed):
    weights = correlated(600, 40)
    weights = weights.T if transposed else weights
    linear, kt = (kolmo.estimate(weights, e, "symmetric:8") for e in ("linear", "kt"))
    assert linear.bits < 0.9 * kt.bits
    assert linear.details["transposed"] == transposed
    assert sum(linear.details["predictors"].values()) == pytest.approx(1)


@pytest.mark.parametrize("quantizer", ["sign", "symmetric:4", "symmetric:8", "affine:8"])
def test_it_costs_little_more_than_kt_where_there_is_nothing_to_see(quantizer):
    weights = np.random.default_rng(0).standard_t(3, (300, 100))
    linear, kt = (kolmo.estimate(weights, e, quantizer) for e in ("linear", "kt"))
    assert linear.bits <= kt.bits + math.log2(5) + 4e-4 * weights.size + 40


def test_floats_cost_what_their_levels_do_and_their_last_bits():
    weights = correlated(300, 40).astype(np.float32)
    half = weights.astype(np.float16)
    native, narrow, widened = (
        kolmo.estimate(w, "linear").bits for w in (weights, half, half.astype(np.float32))
    )
    assert native == pytest.approx(narrow + 13 * weights.size, rel=1e-3)
    assert widened == pytest.approx(narrow, rel=1e-3)
    shuffled = np.random.default_rng(0).permutation(weights.reshape(-1)).reshape(weights.shape)
    assert native < kolmo.estimate(shuffled, "linear").bits - 0.7 * weights.size


def test_zeros_and_what_is_no_number_are_flags():
    weights = np.zeros(4000, np.float32)
    weights[::40] = np.random.default_rng(0).normal(size=100)
    assert kolmo.estimate(weights, "linear").bits < 4000 * 0.2 + 100 * 30
    weights[5:8] = np.nan, np.inf, -0.0
    assert kolmo.estimate(weights, "linear").bits < 4000 * 0.2 + 100 * 30 + 150


def test_bit_patterns_of_signed_integers_are_turned():
    levels = np.rint(correlated(200, 24) * 2).astype(np.int8)
    signed, levelled = kolmo.estimate(levels, "linear"), of(levels.astype(int) + 128, 256)
    assert signed.bits == levelled.finish().bits


def test_many_columns_are_bands(monkeypatch):
    """Each is coded after the whole of the one before, with the scale that a row had there."""
    weights = correlated(200, 40) * np.exp(np.random.default_rng(1).normal(size=(200, 1)))
    whole = kolmo.estimate(weights, "linear", "symmetric:8").bits
    monkeypatch.setattr(code, "BAND", 20)
    banded = kolmo.estimate(weights, "linear", "symmetric:8").bits
    assert whole < banded < kolmo.estimate(weights, "kt", "symmetric:8").bits
    monkeypatch.setattr(code, "_CHUNK", 64)
    assert kolmo.estimate(weights, "linear", "symmetric:8").bits == banded


def test_models_learn_from_one_tensor_for_the_next():
    random = np.random.default_rng(0)
    parts = [
        random.integers(120, 124, shape).astype(np.uint8)
        for shape in [(5,), (3, 4), (), (9, 1)] * 20
    ]
    together = get_estimator("linear").start_many([(0, 4), *(part.shape for part in parts)], 255)
    for part in parts:
        together.update(part)
    alone = sum(of(part, 255).finish().bits for part in parts)
    assert together.finish().bits < 0.92 * alone


def test_it_says_why_not():
    with pytest.raises(NotApplicableError, match="quantize first"):
        get_estimator("linear").start((3, 3), 2**32)
    with pytest.raises(NotApplicableError, match="largest tensor would take"):
        get_estimator("linear").start((1 << 15, 1 << 15), 255)
    get_estimator("linear").start((3, 3), Alphabet(256, "float8_e8m0fnu"))


@pytest.mark.parametrize("octaves", [200, 300, 700, 1019])
def test_a_scale_is_said_and_changes_nothing_else(octaves):
    """Beyond 511 octaves a square is no number."""
    weights = np.random.default_rng(1).normal(size=(24, 20)) * np.arange(1, 21) / 10
    plain, scaled = (kolmo.estimate(w, "linear") for w in (weights, weights * 2.0**octaves))
    assert scaled.details == plain.details
    said = round(2 * np.log2(weights.std()))  # half octaves, of no sign
    assert scaled.bits - plain.bits == integer_bits(4 * octaves + 2 * said) - integer_bits(2 * said)
