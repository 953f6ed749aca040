"""Rank-one differences: the vectors as numbers of the dtype, and what they save."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo.codes.lengths import integer_bits, kt_log2, word_bits
from kolmo.difference.factors import Factors, Pair, exact_share, propose
from kolmo.difference.lowrank import dtype_bits, lowrank_code
from kolmo.difference.rankone import PairView, dtype_factors, round_to_digits
from kolmo.floats import mantissa_bits

BFLOAT16 = ml_dtypes.bfloat16


def rank_one_update(rows, columns, dtype, size=0.01, rounded=True, seed=0):
    """base + u·vᵀ, the product rounded to the dtype before it is added or not, and the vectors."""
    random = np.random.default_rng(seed)
    base = random.normal(0, 0.05, (rows, columns)).astype(dtype)
    u = random.normal(0, 1, rows).astype(dtype)
    v = random.normal(0, size, columns).astype(dtype)
    product = np.multiply.outer(u.astype(np.float64), v.astype(np.float64))
    if rounded:
        product = product.astype(dtype).astype(np.float64)
    return base, (base.astype(np.float64) + product).astype(dtype), u, v


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("size", [3e-3, 0.1])
@pytest.mark.parametrize(("rows", "columns"), [(120, 100), (40, 400), (400, 40)])
@pytest.mark.parametrize(
    ("dtype", "ratio"), [(np.float32, 0.95), (BFLOAT16, 0.85), (np.float16, 1.0)]
)
def test_an_update_of_rank_one_costs_less_than_its_numbers(
    dtype, ratio, rows, columns, size, rounded
):
    base, tuned, *_ = rank_one_update(rows, columns, dtype, size, rounded)
    found = lowrank_code(base, tuned)
    assert found.rank == 1
    assert found.bits < ratio * 8 * tuned.dtype.itemsize * (rows + columns)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16])
def test_the_vectors_are_those_that_were_used(dtype):
    """But for a power of two, and small numbers, of which the weights do not tell."""
    base, tuned, u, v = rank_one_update(200, 150, dtype)
    pair = Pair.of(base, tuned)
    found = dtype_factors(PairView(pair), PairView(pair.turned), next(propose(pair)))
    for vector, used in ((found.u[:, 0], u), (found.v[:, 0], v)):
        ratios = vector / used.astype(np.float64)
        usual = np.median(ratios)
        assert abs(math.frexp(usual)[0]) == 0.5
        assert np.mean(ratios == usual) > 0.95
    assert exact_share(pair, found) > 0.998


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, ml_dtypes.float8_e4m3fn])
def test_all_numbers_have_the_digits_that_are_paid_for(dtype):
    """Right ones or not: here the update is all but hidden, and numbers move across octaves."""
    for seed in range(6):
        base, tuned, *_ = rank_one_update(60, 50, dtype, 1e-2, seed=seed)
        pair = Pair.of(base, tuned)
        factors = Factors(*np.random.default_rng(seed).normal(size=(2, 50, 1)), np.ones(1))
        factors = Factors(np.resize(factors.u, (60, 1)), factors.v, factors.values)
        found = dtype_factors(PairView(pair), PairView(pair.turned), factors)
        for vector in (found.u, found.v):
            mantissas = np.ldexp(np.frexp(vector)[0], mantissa_bits(tuned.dtype) + 1)
            assert (mantissas == np.rint(mantissas)).all()
        assert dtype_bits(pair.tuned.dtype, found) > 0


def test_a_vector_of_zeros_costs_something_and_no_error():
    factors = Factors(np.zeros((5, 1)), np.ones((4, 1)), np.ones(1))
    assert 0 < dtype_bits(np.dtype(np.float32), factors) < 32 * 9


def test_numbers_of_too_many_digits_are_not_tried():
    base, tuned, *_ = rank_one_update(60, 50, np.float32)
    factors = next(propose(Pair.of(base, tuned)))
    wide = Pair.of(base.astype(np.float64), tuned.astype(np.float64))
    assert dtype_factors(PairView(wide), PairView(wide.turned), factors) is None


def test_vectors_of_other_numbers_do_no_harm():
    """Then the code of factors at any precision is the shorter one."""
    random = np.random.default_rng(3)
    base = random.normal(0, 0.05, (120, 100)).astype(np.float32)
    u, v = random.normal(size=(120, 1)), random.normal(0, 0.01, (1, 100))  # of 53 digits
    found = lowrank_code(base, (base + u @ v).astype(np.float32))
    assert found.rank == 1
    assert found.bits < 1.25 * 32 * 220


def test_equal_numbers_are_equal():
    """All candidates are as good then; and as many are not kept."""
    base = rank_one_update(120, 100, np.float32)[0]
    found = lowrank_code(base, base + np.float32(0.001) * np.float32(np.arange(100) % 7))
    assert found.exact > 0.999
    assert found.bits < 0.8 * 32 * 220


@given(
    numbers=st.lists(st.integers(-255, 255), min_size=30, max_size=60),
    exponents=st.randoms(use_true_random=False),
    multiple=st.floats(0.01, 100),
)
def test_a_multiple_of_numbers_of_few_digits_is_known(numbers, exponents, multiple):
    largest = 255 * 4  # odd, and of all eight digits: the others cannot be halved or doubled
    vector = np.array([largest, *(n * 2.0 ** exponents.randint(-6, 2) for n in numbers)])
    again = round_to_digits(vector * multiple, 8)
    mantissas = np.frexp(again)[0] * 256
    assert (mantissas == np.rint(mantissas)).all()
    scale = again[0] / vector[0]
    assert np.abs(again / scale - vector).max() <= largest * 2**-8


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16])
def test_a_decoder_of_the_vectors_exists(dtype):
    """It reads a power of two, exponents below it, and signs and mantissas of the dtype's width."""
    _, _, u, v = rank_one_update(50, 40, dtype)
    u[3] = v[7] = 0
    pair = Pair(np.zeros((50, 40)), np.zeros((50, 40), dtype), *np.zeros((2, 50, 40)))
    factors = Factors(u[:, None].astype(float), v[:, None].astype(float), np.ones(1))
    bits, digits = integer_bits(1), mantissa_bits(np.dtype(dtype)) + 1
    for vector in (factors.u[:, 0], factors.v[:, 0]):
        mantissa, exponent = np.frexp(vector)
        top = exponent[vector != 0].max()
        below = np.where(vector != 0, top - exponent, -1)
        written = np.abs(np.ldexp(mantissa, digits)).astype(int)
        assert ((written >= 1 << (digits - 1)) & (written < 1 << digits))[vector != 0].all()
        decoded = np.where(below < 0, 0, np.ldexp(np.sign(vector) * written, top - below - digits))
        assert decoded.tolist() == vector.tolist()
        counts = np.array([np.count_nonzero(below == b) for b in range(below.max() + 1)])
        counts = np.append(counts, np.count_nonzero(below < 0))
        bits += 12 + integer_bits(counts.size - 1) + word_bits(kt_log2(counts))
        bits += digits * np.count_nonzero(vector)  # a sign, and all digits but the first
    assert dtype_bits(pair.tuned.dtype, factors) == bits
