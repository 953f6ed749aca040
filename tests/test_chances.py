"""Word lengths against exact fractions: right where −log2 P is whole, and never too short."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo.codes import chances
from kolmo.codes.chances import (
    Chance,
    all_of,
    enumerative,
    kt,
    kt_rows,
    nml,
    one_of,
    orders,
    plain,
)
from kolmo.codes.lengths import word_bits
from kolmo.difference.digits import digits
from kolmo.estimators import get_estimator

CODES = {"kt": kt, "enumerative": enumerative, "nml": nml}


# --- probabilities from their definitions, as fractions -----------------------------------------


def kt_exact(counts):
    """Symbol by symbol."""
    probability, seen, alphabet = Fraction(1), 0, len(counts)
    for count in counts:
        for before in range(count):
            probability *= Fraction(2 * before + 1, 2 * seen + alphabet)
            seen += 1
    return probability


def multiplicity(counts):
    return math.factorial(sum(counts)) // math.prod(map(math.factorial, counts))


def compositions(alphabet, total):
    if alphabet == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in compositions(alphabet - 1, total - first):
            yield (first, *rest)


def enumerative_exact(counts):
    compositions_ = math.comb(sum(counts) + len(counts) - 1, len(counts) - 1)
    return Fraction(1, compositions_ * multiplicity(counts))


def likelihood(counts):
    total = max(1, sum(counts))
    return math.prod(Fraction(count, total) ** count for count in counts)


def nml_exact(counts):
    every = compositions(len(counts), sum(counts))
    return likelihood(counts) / sum(multiplicity(c) * likelihood(c) for c in every)


EXACT = {"kt": kt_exact, "enumerative": enumerative_exact, "nml": nml_exact}


def exact_bits(up, down):
    """ceil(−log2) + 1 of up / down, 0 of a certainty."""
    length = (-(-down // up) - 1).bit_length()
    return length + 1 if length else 0


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(
    ("alphabet", "most"), [(1, 9), (2, 16), (3, 9), (4, 8), (5, 5), (8, 4), (16, 2)]
)
def test_all_small_words_are_exact(name, alphabet, most):
    for total in range(most + 1):
        for counts in compositions(alphabet, total):
            if list(counts) == sorted(counts):
                exact = EXACT[name](counts)
                wanted = exact_bits(exact.numerator, exact.denominator)
                assert CODES[name](np.array(counts)).word_bits == wanted, counts


@pytest.mark.parametrize("name", CODES)
def test_the_integers_are_the_probability(name):
    for counts in compositions(4, 5):
        assert Fraction(*CODES[name](np.array(counts)).ratio()) == EXACT[name](counts)


@pytest.mark.parametrize("name", [*CODES, "lowrank"])
@pytest.mark.parametrize("power", [1, 2, 3, 5, 8, 12, 16])
def test_one_symbol_of_two_to_the_power_costs_the_power_and_one(name, power):
    accumulator = get_estimator(name).start((1,), 1 << power)
    accumulator.update(np.zeros(1, np.uint16))
    rank = name == "lowrank"  # a bit says that it is 0
    assert accumulator.finish().bits == power + 1 + rank


@given(
    st.sampled_from(["kt", "enumerative"]),
    st.lists(st.integers(0, 3000), min_size=2, max_size=12),
    st.integers(0, 300),
)
def test_larger_words_are_exact(name, counts, more):
    """Against products of integers that are made one by one."""
    counts = [*counts, *[0] * more]
    total, alphabet = sum(counts), len(counts)
    if name == "kt":
        up = math.prod(2 * i + 1 for count in counts for i in range(count))
        down = math.prod(alphabet + 2 * i for i in range(total))
    else:
        up, down = 1, math.comb(total + alphabet - 1, total) * multiplicity(counts)
    chance = CODES[name](np.array(counts))
    assert chance.word_bits == exact_bits(up, down)
    assert Fraction(*chance.ratio()) == Fraction(up, down)


@given(st.integers(1, 2**70), st.integers(0, 2**70), st.floats(-0.9, 0.9))
def test_a_logarithm_that_is_off_does_not_matter(up, more, off):
    """Integers decide where its error leaves a doubt; without them no word is too short."""
    size = 2.0**22
    log2 = math.log2(Fraction(up, up + more)) + off * chances._ERROR * size
    wanted = exact_bits(up, up + more)
    assert Chance(log2, size, lambda: (up, up + more)).word_bits == wanted
    assert wanted <= Chance(log2, size).word_bits <= wanted + (1 if wanted else 2)


@pytest.mark.parametrize("power", [1, 7, 40, 60])
@pytest.mark.parametrize("off", [-1e-9, 0.0, 1e-9])
def test_beside_a_whole_number_of_bits_integers_decide(power, off):
    size = 2.0**20
    half = 1 << power
    for down, wanted in ((half - 1, power), (half, power), (half + 1, power + 1)):
        chance = Chance(-power + off, size, lambda down=down: (1, down))
        assert chance.word_bits == wanted + 1
    assert Chance(-power + off, size).word_bits == power + 2


def test_logarithms_err_by_less_than_is_allowed_for():
    random = np.random.default_rng(0)
    for total in (50, 1000, 20_000, 60_000):
        for alphabet, name in itertools.product((2, 17, 256), ("kt", "enumerative")):
            counts = random.multinomial(total, random.dirichlet(np.full(alphabet, 0.3)))
            chance = CODES[name](counts)
            up, down = chance.ratio()
            whole = down.bit_length() - up.bit_length()
            rest = math.log2(Fraction((down << 80) // (up << whole), 1 << 80))
            assert abs(-chance.log2 - whole - rest) < chances._ERROR * chance.size / 8


def test_large_counts_have_no_integers_to_wait_for():
    counts = np.array([10**8, 3 * 10**8, 7])
    assert kt(counts).word_bits in (word_bits(kt(counts).log2), word_bits(kt(counts).log2) + 1)
    assert nml(np.full(300, 400)).ratio is None


def test_chances_of_several_are_their_product():
    parts = [kt(np.array([1, 0])), enumerative(np.array([1, 0, 0, 0])), one_of(4), plain(3)]
    assert all_of(parts).word_bits == 1 + 2 + 2 + 3 + 1
    assert all_of([]).word_bits == 0
    six = all_of([one_of(6), orders(3)])  # one of six, and all six mean the same
    assert six.word_bits == 0
    assert all_of([one_of(24), orders(3)]).word_bits == 3


@given(st.lists(st.integers(0, 255), min_size=1, max_size=12))
def test_the_digits_code_is_exact_too(numbers):
    chance = digits(np.array(numbers, np.uint8))
    assert chance.word_bits == exact_bits(*chance.ratio())


@given(st.integers(1, 4), st.integers(1, 40), st.sampled_from([3, 200, 20_000]), st.integers(0, 99))
def test_rows_together_cost_what_they_cost_one_by_one(rows, alphabet, most, seed):
    counts = np.random.default_rng(seed).integers(0, most, (rows, alphabet))
    together, each = kt_rows(counts), all_of(map(kt, counts))
    assert together.word_bits == each.word_bits
    assert abs(together.log2 - each.log2) <= 2.0**-46 * together.size
