"""Differences of tensors: arithmetic that can be undone, codes that are probabilities, decoders."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kolmo.codes.lengths import word_bits
from kolmo.difference.codes import mask_bits
from kolmo.difference.digits import digits_log2
from kolmo.difference.lowrank import Prediction, fewer_steps, lowrank_code, product_of
from kolmo.floats import (
    bit_patterns,
    exponents,
    neighbours,
    ordered,
    unordered,
    zigzag,
)

FLOATS = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
DTYPES = [*FLOATS, ml_dtypes.float8_e5m2, np.int8, np.uint16, np.int64, bool]


def from_zigzag(numbers):
    """Undo `zigzag`, as a decoder does: 0, 1, 2, 3, … become 0, −1, 1, −2, … modulo 2^w."""
    one = numbers.dtype.type(1)
    return (numbers >> one) ^ (~(numbers & one) + one)


def patterns(dtype, seed=0, size=500):
    """Every kind of bit pattern: NaN payloads, infinities, subnormals, both zeros."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.random.default_rng(seed).integers(0, 2, size).astype(bool)
    drawn = np.random.default_rng(seed).bytes(size * dtype.itemsize)
    return np.frombuffer(drawn, dtype).copy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_can_be_undone(dtype):
    base, tuned = patterns(dtype), patterns(dtype, 1)
    apart = zigzag(ordered(tuned) - ordered(base))
    again = unordered(ordered(base) + from_zigzag(apart), tuned.dtype)
    assert again.tobytes() == tuned.tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
def test_integers_are_in_the_order_of_the_values(dtype):
    values = patterns(dtype)
    with np.errstate(invalid="ignore"):
        values = values[np.isfinite(values.astype(np.float64))]
    by_integer = values[np.argsort(ordered(values), kind="stable")].astype(np.float64)
    assert (np.diff(by_integer) >= 0).all()
    zeros = ordered(np.array([-0.0, 0.0], dtype))
    assert int(zeros[1]) - int(zeros[0]) == 1


def test_neighbours_are_numpys():
    values = np.float32([1.0, -2.5, 1e-40, 65504.0])
    low, high = neighbours(values)
    assert (low == np.nextafter(values, np.float32(-np.inf))).all()
    assert (high == np.nextafter(values, np.float32(np.inf))).all()


@given(hnp.arrays(np.uint64, st.integers(0, 30)))
def test_zigzag_can_be_undone(numbers):
    assert (zigzag(from_zigzag(numbers)) == numbers).all()


def test_exponents_tell_magnitudes():
    assert exponents(np.float32([0.5, -0.75, 1.0, 0.0])).tolist() == [126, 126, 127, 0]
    assert exponents(np.array([True, False])).tolist() == [1, 0]
    assert exponents(ml_dtypes.bfloat16(2.0).reshape(1)).tolist() == [128]


# --- the digits code --------------------------------------------------------------------------


def kinds():
    """One number of 8 bits for each kind that the code tells apart, and how many are alike."""
    yield from ((0, 1), (1, 1), (2, 1), (3, 1))
    for digits in range(3, 9):
        for after in range(4):
            yield (1 << (digits - 1)) | (after << (digits - 3)), 1 << (digits - 3)


@pytest.mark.parametrize("length", [1, 2])
def test_digits_are_a_probability_over_sequences(length):
    total = math.fsum(
        math.prod(times for _, times in drawn) * 2 ** digits_log2(np.uint8([n for n, _ in drawn]))
        for drawn in itertools.product(kinds(), repeat=length)
    )
    assert total == pytest.approx(1, abs=1e-9)


def digits_sequential(numbers, width):
    """log2 of the product of the predictions, number by number."""
    counts, log2 = {}, 0.0

    def decide(place, choice, choices):
        nonlocal log2
        seen = counts.setdefault(place, [0.5] * choices)
        log2 += math.log2(seen[choice] / sum(seen))
        seen[choice] += 1

    for number in numbers:
        digits = number.bit_length()
        for d in range(min(digits + 1, width)):
            decide(("longer", d), int(digits > d), 2)
        if digits == 2:
            decide(("after", 2), number & 1, 2)
        elif digits > 2:
            decide(("after", digits), (number >> (digits - 3)) & 3, 4)
            log2 -= digits - 3
    return log2


@given(st.lists(st.integers(0, 2**16 - 1) | st.integers(0, 20), max_size=60), st.integers(1, 3))
def test_digits_are_the_sequential_product_in_each_context(numbers, contexts):
    numbers = np.array(numbers, np.uint16)
    places = np.arange(numbers.size) % contexts
    expected = [digits_sequential(numbers[places == c].tolist(), 16) for c in range(contexts)]
    assert digits_log2(numbers, places) == pytest.approx(sum(expected), abs=1e-7)


@pytest.mark.parametrize("length", [1, 5])
def test_masks_obey_kraft(length):
    every = itertools.product([False, True], repeat=2 * length)
    lengths = [mask_bits(np.array(m).reshape(2, length)) for m in every]
    assert math.fsum(2.0**-bits for bits in lengths) <= 1


# --- low-rank codes ---------------------------------------------------------------------------


def low_rank_update(rows, columns, rank, dtype=np.float32, size=1e-3, seed=0):
    """fl(base + A·B), everything in the dtype, as a program that merges an adapter has it."""
    random = np.random.default_rng(seed)
    base = random.normal(0, 0.05, (rows, columns)).astype(dtype)
    a = (random.normal(size=(rows, rank)) * math.sqrt(size)).astype(dtype)
    b = (random.normal(size=(rank, columns)) * math.sqrt(size / rank)).astype(dtype)
    return base, (base + (a.astype(np.float32) @ b.astype(np.float32)).astype(dtype)).astype(dtype)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_decoder_exists(dtype, rounded):
    """It knows base and factors, hence prediction and contexts, and reads how far away."""
    base, tuned = low_rank_update(30, 40, 2, dtype, size=0.01)
    random = np.random.default_rng(1)
    u, v = random.normal(0, 0.05, (30, 2)), random.normal(0, 0.05, (40, 2))
    wide = base.astype(np.float64)
    prediction = Prediction.of(wide, product_of(u, v), tuned.dtype, -20, rounded)
    away = prediction.away(tuned)
    fewer, whole = fewer_steps(away, prediction.shift)
    # --- what is read: for each weight whether its steps are whole ones, and a number
    numbers = np.where(whole, fewer, away)
    one = away.dtype.type(1)
    odd, magnitude = numbers & one, (numbers >> one) + (numbers & one)
    spread = magnitude << prediction.shift.astype(away.dtype)
    again = np.where(whole & (numbers > 0), (spread << one) - odd, numbers)
    steps = from_zigzag(again)
    steps = np.where(prediction.low, steps, -steps)
    decoded = unordered(ordered(prediction.predicted) + steps, tuned.dtype)
    assert bit_patterns(decoded).tolist() == bit_patterns(tuned).tolist()


def test_products_are_added_in_order():
    random = np.random.default_rng(0)
    u, v = random.normal(size=(5, 3)), random.normal(size=(4, 3))
    for i, j in itertools.product(range(5), range(4)):
        expected = 0.0
        for a, b in zip(u[i].tolist(), v[j].tolist(), strict=True):
            expected += a * b
        assert product_of(u, v)[i, j] == expected


@pytest.mark.parametrize(
    ("rows", "columns", "rank"),
    [
        (256, 320, 8),
        pytest.param(512, 512, 8, marks=pytest.mark.slow),
        pytest.param(512, 512, 4, marks=pytest.mark.slow),
        pytest.param(768, 768, 8, marks=pytest.mark.slow),
        pytest.param(768, 512, 16, marks=pytest.mark.slow),
    ],
)
def test_an_update_of_low_rank_costs_its_parameters(rows, columns, rank):
    """Under 1.2 × 32 bits a parameter, the rounding that hides them included."""
    base, tuned = low_rank_update(rows, columns, rank)
    found = lowrank_code(base, tuned)
    assert found.rank == rank
    assert found.bits < 1.2 * 32 * rank * (rows + columns)
    assert found.exact > 0.9


@pytest.mark.parametrize(
    ("rank", "size", "rounded", "ratio"),
    [(1, 0.003, False, 1.1), (1, 0.01, False, 1.25), (2, 0.01, False, 1.15), (4, 0.03, False, 1.1),
     (1, 0.003, True, 1.15), (1, 0.01, True, 1.25), (4, 0.003, True, 1.05)],
)  # fmt: skip
def test_few_factors_are_found_from_the_bounds_of_rounding(rank, size, rounded, ratio):
    """Whether base + product is rounded once, or the product before, as in a program of float32."""
    random = np.random.default_rng(rank)
    base = random.normal(0, 0.05, (120, 100)).astype(np.float32)
    deviation = math.sqrt(size / math.sqrt(rank))
    u = random.normal(0, deviation, (120, rank)).astype(np.float32)
    v = random.normal(0, deviation, (rank, 100)).astype(np.float32)
    product = u @ v if rounded else u.astype(float) @ v.astype(float)
    found = lowrank_code(base, (base + product).astype(np.float32))
    assert found.rank == rank
    assert found.bits < ratio * 32 * rank * 220


def test_a_coarse_dtype_hides_more_of_the_update():
    base, tuned = low_rank_update(200, 200, 4, ml_dtypes.bfloat16, size=0.02)
    found = lowrank_code(base, tuned)
    apart = zigzag(ordered(tuned) - ordered(base))
    assert found.rank == 4
    assert found.factor_bits < 0.5 * 32 * 4 * 400
    assert found.bits < 0.5 * word_bits(digits_log2(apart, exponents(base)))


def test_a_low_rank_part_of_a_difference_is_found_too():
    base, tuned = low_rank_update(200, 200, 4, size=0.01)
    noise = np.random.default_rng(5).normal(0, 1e-3, base.shape).astype(np.float32)
    found = lowrank_code(base, tuned + noise)
    apart = zigzag(ordered(tuned + noise) - ordered(base))
    assert found.rank == 4
    assert found.bits < 0.95 * word_bits(digits_log2(apart, exponents(base)))


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scales_that_squares_do_not_hold_are_no_trouble(scale, dtype):
    with np.errstate(over="ignore", under="ignore"):
        base = (scale * np.random.default_rng(0).normal(size=(30, 40))).astype(dtype)
        tuned = (base * np.linspace(1, 1.5, 30, dtype=dtype)[:, None]).astype(dtype)
    found = lowrank_code(base, tuned)
    assert found is None or found.bits > 0


def test_an_update_that_nothing_rounds_is_found():
    base = np.zeros((40, 50), np.float32)
    tuned = np.multiply.outer(np.arange(40), np.arange(50) - 9).astype(np.float32)
    found = lowrank_code(base, tuned)
    assert found.rank == 1
    assert found.exact > 0.99
    assert found.bits < 32 * 90


def test_there_is_no_low_rank_code_of_noise_or_of_nothing():
    base, _ = low_rank_update(100, 100, 1)
    noise = np.random.default_rng(5).normal(0, 1e-3, base.shape).astype(np.float32)
    assert lowrank_code(base, base + noise) is None
    assert lowrank_code(base, base) is None
    assert lowrank_code(base[:3], base[:3] + noise[:3]) is None
    assert lowrank_code(base[0], base[0] + noise[0]) is None
    assert lowrank_code(base.astype(int), 1 + base.astype(int)) is None
    broken = base.copy()
    broken[3, 4] = np.nan
    assert lowrank_code(base, broken) is None
    assert lowrank_code(broken, base) is None
