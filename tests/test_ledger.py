"""Facts of tensors against numpy, whatever the dtype and wherever they are cut."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kolmo.checkpoints import array_tensor
from kolmo.dtypes import DTYPES
from kolmo.floats import exponents, is_float
from kolmo.ledger.facts import find_facts
from kolmo.ledger.tallies import expected_peak, tally
from kolmo.ledger.values import ValueCounter

BFLOAT16 = ml_dtypes.bfloat16
DRAWN = ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "int8", "int32", "int64"]


def facts(weights):
    return find_facts(array_tensor("w", np.asarray(weights))).facts


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DRAWN)
def test_sizes_are_those_of_numpy(dtype):
    weights = (20 * normal(99, 41)).astype(DTYPES[dtype])
    values, found = weights.astype(np.float64), facts(weights)
    assert (found.numel, found.dtype) == (weights.size, dtype)
    assert found.absmax == np.abs(values).max()
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.sd == pytest.approx(values.std(), rel=1e-12)
    assert found.peak == pytest.approx(found.absmax / found.sd)
    assert found.zeros == np.mean(values == 0)
    assert found.distinct == np.unique(values).size
    if is_float(weights.dtype):
        counts = np.unique(exponents(weights), return_counts=True)[1] / weights.size
        assert found.exponents == counts.size
        assert found.exponent_entropy == pytest.approx(-(counts * np.log2(counts)).sum())


@pytest.mark.parametrize("dtype", DRAWN)
def test_it_does_not_matter_where_weights_are_cut(dtype):
    weights = (20 * normal(5003)).astype(DTYPES[dtype])
    weights[3000:] *= weights.dtype.type(0.125) if is_float(weights.dtype) else 1  # a finer step
    tensor, whole = array_tensor("w", weights), tally(array_tensor("w", weights))
    whole.update(weights)
    for cuts in ([1, 2, 3], [4096], [2999, 3001]):
        pieces = tally(tensor)
        for piece in np.split(weights, cuts):
            pieces.update(piece)
        found, wanted = pieces.finish(), whole.finish()
        assert found.mean == pytest.approx(wanted.mean)
        assert found.sd == pytest.approx(wanted.sd)
        same = ("absmax", "zeros", "step_exponent", "trailing_zeros", "holds", "exponent_entropy")
        assert [getattr(found, n) for n in same] == [getattr(wanted, n) for n in same]


def test_a_large_mean_costs_no_digits_of_the_spread():
    weights = 1000 + 1e-3 * np.random.default_rng(0).normal(size=9999)
    assert facts(weights).sd == pytest.approx(weights.std(), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BFLOAT16])
def test_what_is_no_finite_number_is_counted_apart(dtype):
    found = facts(np.array([1, -np.inf, np.nan, 3, 0, np.inf], np.float64).astype(dtype))
    assert (found.nonfinite, found.absmax, found.zeros) == (3, 3.0, 1 / 6)
    assert found.mean == pytest.approx(4 / 3)
    nothing = facts(np.full(5, -np.inf).astype(dtype))
    assert (nothing.nonfinite, nothing.absmax, nothing.sd, nothing.peak) == (5, None, None, None)


def test_of_no_weights_nothing_is_known():
    found = facts(np.zeros((0, 4), np.float32))
    assert (found.numel, found.absmax, found.zeros, found.pattern) == (0, None, None, "")


def test_large_weights_waste_levels_that_many_normal_ones_do_not():
    plain, outlier = normal(1000, 100), normal(1000, 100)
    outlier[3, 4] = 20
    assert facts(plain).spare_bits == pytest.approx(0, abs=0.2)
    assert facts(outlier).spare_bits == pytest.approx(
        math.log2(20 / expected_peak(100_000)), abs=0.02
    )
    assert facts(np.sign(plain)).spare_bits == pytest.approx(
        -math.log2(expected_peak(100_000)), abs=0.01
    )


@pytest.mark.parametrize("numel", [1, 2, 30, 31, 1000])
def test_the_expected_peak_is_the_median_of_the_largest(numel):
    peak = expected_peak(numel)
    assert math.erf(peak / math.sqrt(2)) ** numel == pytest.approx(0.5, rel=0.02)


# --- precision --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrow", "wide", "bits"),
    [
        ("bfloat16", np.float32, 16),
        ("float16", np.float32, 13),
        ("float16", np.float64, 42),
        ("bfloat16", np.float64, 45),
        ("float32", np.float64, 29),
    ],
)
def test_wide_floats_that_hold_narrow_ones(narrow, wide, bits):
    found = facts(normal(64, 64).astype(DTYPES[narrow]).astype(wide))
    assert (found.holds, found.trailing_zeros) == (narrow, bits)
    assert facts(normal(64, 64).astype(wide)).holds == ("float32" if wide is np.float64 else "")


def test_what_is_out_of_reach_of_a_narrow_format_is_not_held_by_it():
    coarse = (np.arange(1, 1025) / 1024).astype(np.float32)  # 11 binary digits: a float16
    assert facts(coarse).holds == "float16"
    assert facts(coarse * np.float32(2.0**20)).holds == "tf32"  # beyond 65,504
    assert facts(coarse * np.float32(2.0**-20)).holds == "tf32"  # finer than 2⁻²⁴


@given(arrays(np.float32, 40, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_every_weight_is_a_multiple_of_the_step_and_some_odd_one(weights):
    found = facts(weights)
    multiples = [Fraction(float(w)) / Fraction(2) ** (found.step_exponent or 0) for w in weights]
    if found.step_exponent is None:
        assert not weights.any()
    else:
        assert all(m.denominator == 1 for m in multiples)
        assert any(m.numerator % 2 for m in multiples)


@given(arrays(np.float32, 40, elements=st.floats(width=16, allow_nan=False, allow_infinity=False)))
def test_what_a_format_holds_survives_it(weights):
    found = facts(weights)
    if found.holds in DTYPES:
        assert (weights.astype(DTYPES[found.holds]).astype(np.float32) == weights).all()
    assert found.holds in ("bfloat16", "float16", "")  # float16 holds all of them


def test_initial_weights_are_multiples_of_a_coarse_step():
    """As torch draws them: 24 random bits, scaled to [−1/8, 1/8)."""
    bits = np.random.default_rng(0).integers(0, 1 << 24, size=(64, 64))
    weights = (bits * 2.0**-26 - 0.125).astype(np.float32)
    found = facts(weights)
    assert (found.step_exponent, found.holds) == (-26, "")
    assert found.fixed_bits == pytest.approx(24, abs=0.01)


# --- distinct values --------------------------------------------------------------------------


def dequantized(weights, width, bits, dtype=np.float32):
    """Rounded to multiples of absmax / (2^(bits − 1) − 1) of each group of weights."""
    groups = weights.reshape(-1, width)
    steps = (np.abs(groups).max(1, keepdims=True) / (2 ** (bits - 1) - 1)).astype(dtype)
    return (np.rint(groups / steps) * steps).astype(dtype).reshape(weights.shape)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("width", "group"), [(512, "row"), (256, "256"), (128, "128"), (64, "64"), (32, "32")]
)
def test_dequantized_weights_are_multiples_of_a_step_in_each_group(bits, width, group):
    found = facts(dequantized(normal(96, 512), width, bits))
    assert (found.group, found.group_levels) == (group, 2 ** (bits - 1) - 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, BFLOAT16])
def test_they_are_found_in_other_formats_too(dtype):
    found = facts(dequantized(normal(96, 512).astype(dtype), 64, 4, dtype))
    assert (found.group, found.group_levels) == ("64", 7)


def test_a_scale_for_the_whole_tensor():
    found = facts(dequantized(normal(96, 512), 96 * 512, 8))
    assert (found.group, found.group_values, found.group_levels) == ("tensor", found.distinct, 127)


def test_a_table_of_values_for_each_group_has_no_step():
    table, codes = normal(16), np.random.default_rng(1).integers(0, 16, size=(96 * 8, 64))
    scales = np.random.default_rng(2).uniform(1, 2, size=(96 * 8, 1))
    found = facts((table[codes] * scales).astype(np.float32).reshape(96, 512))
    assert (found.group, found.group_values, found.group_levels) == ("64", 16, None)


@pytest.mark.parametrize(
    "weights",
    [
        normal(96, 512),
        normal(96, 512).astype(np.float16),
        normal(96, 512).astype(BFLOAT16),
        normal(96, 512) * (np.random.default_rng(1).random((96, 512)) < 0.1),  # few are not zero
        np.random.default_rng(1).random((96, 512), np.float32),
        normal(64),
    ],
    ids=["normal", "float16", "bfloat16", "sparse", "uniform", "vector"],
)
def test_other_weights_have_no_groups(weights):
    assert facts(weights).group == ""


@pytest.mark.parametrize("values", [1, 2, 65_535, 65_536, 65_537])
def test_distinct_values_are_counted_up_to_65_536(values):
    weights = np.arange(2 * values, dtype=np.float64) % values + 0.5
    np.random.default_rng(0).shuffle(weights)
    counter = ValueCounter(array_tensor("w", weights))
    for piece in np.array_split(weights, 3):
        counter.update(piece)
    assert counter.finish()[0] == (values if values <= 65_536 else None)


def test_rows_of_zeros_ahead_hide_no_groups():
    weights = np.concatenate([np.zeros((64, 512)), dequantized(normal(96, 512), 128, 4)])
    found = facts(weights.astype(np.float32))
    assert (found.group, found.group_levels) == ("128", 7)


@pytest.mark.parametrize("row", [50, 95])
def test_a_single_weight_beside_its_step_is_no_multiple(row):
    weights = dequantized(normal(96, 512), 128, 4)
    weights[row, 77] += np.float32(0.01)
    assert facts(weights).group_levels is None
