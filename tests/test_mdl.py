"""Order-0 codes: identities over all sequences, brute force, and what the parameters say."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo.codes.lengths import entropy_bits, multinomial_regret, word_bits
from kolmo.errors import NotApplicableError
from kolmo.estimators import get_estimator

CODES = ["kt", "nml", "enumerative", "gaussian", "laplace"]
UNIVERSAL = CODES[:3]


def measure(name, symbols, alphabet, chunks=1):
    symbols = np.asarray(symbols)
    accumulator = get_estimator(name).start(symbols.shape, alphabet)
    for chunk in np.array_split(symbols, chunks):
        accumulator.update(chunk)
    return accumulator.finish()


def log2_probability(name, sequence, alphabet):
    counts = np.bincount(np.array(sequence, np.int64), minlength=alphabet)
    return get_estimator(name).chance(counts)[0].log2


def sequences(alphabet, length):
    return itertools.product(range(alphabet), repeat=length)


SMALL = [(1, 4), (2, 1), (2, 9), (3, 6), (4, 5), (6, 4)]


@pytest.mark.parametrize("name", UNIVERSAL)
@pytest.mark.parametrize(("alphabet", "length"), SMALL)
def test_probabilities_sum_to_one(name, alphabet, length):
    each = [2 ** log2_probability(name, s, alphabet) for s in sequences(alphabet, length)]
    assert sum(each) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(("alphabet", "length"), [(2, 7), (3, 5), (4, 4)])
def test_code_words_obey_kraft(name, alphabet, length):
    lengths = [measure(name, np.uint8(s), alphabet).bits for s in sequences(alphabet, length)]
    assert sum(2.0**-bits for bits in lengths) <= 1


@pytest.mark.parametrize(("alphabet", "total"), [*SMALL, (2, 200), (3, 60), (5, 17)])
def test_regret_is_the_sum_of_maximum_likelihoods(alphabet, total):
    likelihoods = [
        2 ** -entropy_bits(np.array(counts)) * orders
        for counts, orders in compositions(alphabet, total)
    ]
    expected = math.log2(math.fsum(likelihoods))
    assert multinomial_regret(alphabet, total) == pytest.approx(expected, abs=1e-10)


def compositions(parts, total):
    """All counts of ``parts`` symbols that add up to ``total``, each with its number of orders."""
    if parts == 1:
        yield (total,), 1
        return
    for first in range(total + 1):
        for rest, orders in compositions(parts - 1, total - first):
            yield (first, *rest), math.comb(total, first) * orders


@pytest.mark.parametrize(("alphabet", "total"), [(2, 10**6), (255, 10**7), (65536, 10**5)])
def test_large_regrets_are_near_their_asymptotics(alphabet, total):
    """C(A, n) between 1 and the number of compositions; for n >> A, Rissanen's formula (1996)."""
    regret = multinomial_regret(alphabet, total)
    composed = math.lgamma(total + alphabet) - math.lgamma(alphabet) - math.lgamma(total + 1)
    assert 0 < regret < composed / math.log(2)
    if total > 1000 * alphabet:
        half = (alphabet - 1) / 2
        expected = half * math.log(total / (2 * math.pi)) + alphabet / 2 * math.log(math.pi)
        expected -= math.lgamma(alphabet / 2)
        assert regret == pytest.approx(expected / math.log(2), rel=0.02)


@pytest.mark.parametrize(("alphabet", "length"), [(2, 9), (3, 6), (4, 5)])
def test_nml_has_the_least_worst_case(alphabet, length):
    """Its regret is the same for all sequences; other codes exceed it for some."""

    def regrets(name):
        for sequence in sequences(alphabet, length):
            counts = np.bincount(np.array(sequence), minlength=alphabet)
            yield -log2_probability(name, sequence, alphabet) - entropy_bits(counts)

    nml = list(regrets("nml"))
    assert max(nml) == pytest.approx(min(nml), abs=1e-9)
    assert max(regrets("kt")) > max(nml)
    assert max(regrets("enumerative")) > max(nml)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_enumerative_counts_compositions_and_orders(counts):
    total, alphabet = sum(counts), len(counts)
    orders = math.factorial(total) // math.prod(map(math.factorial, counts))
    expected = math.log2(math.comb(total + alphabet - 1, alphabet - 1) * orders)
    found, _ = get_estimator("enumerative").chance(np.array(counts))
    assert -found.log2 == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", CODES)
@settings(max_examples=30, deadline=None)
@given(
    symbols=st.lists(st.integers(0, 9), min_size=1, max_size=200),
    alphabet=st.sampled_from([10, 255, 300]),
    chunks=st.integers(1, 5),
)
def test_bits_exceed_the_entropy_whatever_the_chunks(name, symbols, alphabet, chunks):
    symbols = np.array(symbols, np.uint16)
    code = measure(name, symbols, alphabet)
    assert code.bits == measure(name, symbols, alphabet, chunks).bits
    assert code.bits >= entropy_bits(np.bincount(symbols)) - 1e-9
    assert (code.kind, code.numel) == ("bound", symbols.size)


@pytest.mark.parametrize("name", CODES)
def test_nothing_costs_nothing_and_certainty_little(name):
    assert measure(name, np.empty(0, np.uint8), 255).bits == 0
    assert measure(name, np.zeros(1000, np.uint8), 1).bits <= 2 + 6 * (name in CODES[3:])
    constant = measure(name, np.full(10**6, 7, np.uint8), 16)
    assert constant.bits < 300


@pytest.mark.parametrize("name", ["nml", "enumerative"])
def test_wide_alphabets_are_coded_by_byte_plane(name):
    symbols = np.random.default_rng(0).integers(0, 2**20, 500).astype(np.uint32)
    planes = symbols.view(np.uint8).reshape(-1, 4).T
    code = measure(name, symbols, 2**32, chunks=3)
    each = [log2_probability(name, plane, 256) for plane in planes]
    assert code.details["byte_planes"] == pytest.approx([-e for e in each])
    assert code.bits == word_bits(math.fsum(each))


# --- densities ------------------------------------------------------------------------------


DENSITIES = {
    "gaussian": lambda z: math.exp(-z * z / 2),
    "laplace": lambda z: math.exp(-abs(z)),
}


def draw(name, location, scale, alphabet, size, seed=0):
    weights = [DENSITIES[name]((x - location) / scale) for x in range(alphabet)]
    probabilities = np.array(weights) / math.fsum(weights)
    return np.random.default_rng(seed).choice(alphabet, size, p=probabilities).astype(np.uint8)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize(("location", "scale", "alphabet"), [(127, 20, 255), (7, 0.4, 15)])
def test_bits_follow_from_the_parameters_sent(name, location, scale, alphabet):
    symbols = draw(name, location, scale, alphabet, 5000)
    code = measure(name, symbols, alphabet)
    sent = code.details
    weights = [DENSITIES[name]((x - sent["location"]) / sent["scale"]) for x in range(alphabet)]
    log2 = math.fsum(math.log2(weights[s] / math.fsum(weights)) for s in symbols.tolist())
    assert code.bits == word_bits(log2 - 4 - 2 * sent["precision"])
    steps = sent["location"] / (alphabet - 1) * (2 ** sent["precision"] - 1)
    assert steps == pytest.approx(round(steps), abs=1e-6)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("scale", [0.3, 1, 5, 40])
def test_parameters_are_found(name, scale):
    symbols = draw(name, 127, scale, 255, 20_000)
    code = measure(name, symbols, 255)
    assert code.details["location"] == pytest.approx(127, abs=0.05 * scale + 0.05)
    assert code.details["scale"] == pytest.approx(scale, rel=0.05)
    assert code.bits <= measure("kt", symbols, 255).bits
    assert code.bits <= entropy_bits(np.bincount(symbols)) + 254 / 2 * math.log2(20_000)


@pytest.mark.parametrize(("right", "wrong"), list(itertools.permutations(DENSITIES)))
def test_the_right_density_is_shorter(right, wrong):
    symbols = draw(right, 127, 15, 255, 20_000)
    assert measure(right, symbols, 255).bits < measure(wrong, symbols, 255).bits


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_want_numbers_on_a_line(name):
    with pytest.raises(NotApplicableError, match="quantize first"):
        get_estimator(name).start((3,), 2**32)
