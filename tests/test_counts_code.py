"""The order-0 code: exact, as long as the KT code for bits, shorter for smooth weights."""

import numpy as np
import pytest

from kolmo import InputError, get_estimator
from kolmo.codes.base import get_code
from kolmo.symbols import Alphabet

CODE = get_code("counts")


@pytest.mark.parametrize("alphabet", [2, 3, 15, 16, 255, 256, 1000, 65536])
@pytest.mark.parametrize("size", [1, 2, 2000])
def test_symbols_come_back(alphabet, size):
    random = np.random.default_rng(size)
    parts = [random.integers(0, alphabet, size, np.uint16), np.full(size, alphabet - 1, np.uint16)]
    data = CODE.encode(parts, Alphabet(alphabet))
    for part, found in zip(
        parts, CODE.decode(data, [(size,)] * 2, Alphabet(alphabet)), strict=True
    ):
        assert np.array_equal(found, part)


def test_its_length_is_that_of_the_krichevsky_trofimov_code():
    """For two symbols it starts at the same prior."""
    symbols = (np.random.default_rng(0).random(20_000) < 0.1).astype(np.uint8)
    bits = 8 * len(CODE.encode([symbols], Alphabet(2)))
    assert bits == pytest.approx(kt_bits(symbols, 2), rel=1e-3, abs=64)


def kt_bits(symbols, alphabet):
    accumulator = get_estimator("kt").start(symbols.shape, alphabet)
    accumulator.update(symbols)
    return accumulator.finish().bits


def test_smooth_distributions_cost_less_than_under_krichevsky_trofimov():
    random = np.random.default_rng(0)
    parts = [np.rint(random.normal(127, sd, 4000)).clip(0, 254).astype(np.uint8) for sd in (20, 40)]
    bits = 8 * len(CODE.encode(parts, Alphabet(255)))
    assert bits < 0.985 * kt_bits(np.concatenate(parts), 255)


def test_uniform_symbols_cost_their_logarithm():
    symbols = np.random.default_rng(0).integers(0, 255, 20_000, np.uint8)
    assert 8 * len(CODE.encode([symbols], Alphabet(255))) < 20_000 * np.log2(255) + 64


def test_damage_is_an_error_or_symbols():
    random = np.random.default_rng(1)
    data = CODE.encode([random.binomial(4, 0.5, 900).astype(np.uint8)], Alphabet(5))
    for _ in range(200):
        damaged = bytearray(data[: random.integers(1, len(data) + 1)])
        damaged[random.integers(0, len(damaged))] = random.integers(0, 256)
        try:
            (found,) = CODE.decode(bytes(damaged), [(900,)], Alphabet(5))
        except InputError:
            continue
        assert found.max() < 5
