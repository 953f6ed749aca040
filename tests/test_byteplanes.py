"""The quick code: exact both ways, near the entropy of the exponents, safe on damage."""

import math

import numpy as np
import pytest

from kolmo import InputError
from kolmo.codes.base import get_code
from kolmo.symbols import Alphabet

CODE = get_code("byteplanes")
KINDS = {
    "float64": np.uint64,
    "float32": np.uint32,
    "float16": np.uint16,
    "bfloat16": np.uint16,
    "float8_e4m3fn": np.uint8,
    "float8_e5m2": np.uint8,
}
SHAPES = [(), (1,), (777,), (33, 21), (5, 4, 3, 3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_bits_come_back(kind, shape):
    dtype = np.dtype(KINDS[kind])
    random = np.random.default_rng(1)
    parts = [random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True) for _ in range(3)]
    alphabet = Alphabet(1 << 8 * dtype.itemsize, kind)
    data = CODE.encode(parts, alphabet)
    for part, found in zip(parts, CODE.decode(data, [shape] * 3, alphabet), strict=True):
        assert found.dtype == dtype
        assert np.array_equal(found, part)


@pytest.mark.parametrize("alphabet", [1, 2, 3, 5, 15, 16, 17, 255, 256, 257, 65535, 1 << 20])
def test_any_symbols_come_back(alphabet):
    random = np.random.default_rng(alphabet)
    shapes = [(1,), (1001,), (20, 30)]
    parts = [random.integers(0, alphabet, shape, np.uint32) for shape in shapes]
    data = CODE.encode(parts, Alphabet(alphabet))
    for part, found in zip(parts, CODE.decode(data, shapes, Alphabet(alphabet)), strict=True):
        assert np.array_equal(found, part)
    numel = sum(map(math.prod, shapes))
    assert len(data) < numel * max(1, (alphabet - 1).bit_length()) / 6 + 40  # little over plain


def entropy(symbols):
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / symbols.size)).sum())


def test_noise_costs_little_more_than_its_exponents_tell():
    weights = np.random.default_rng(0).normal(size=300_000).astype(np.float32).view(np.uint32)
    least = entropy(weights >> 23 & 255) + 24 * weights.size
    assert 8 * len(CODE.encode([weights], Alphabet(1 << 32, "float32"))) < 1.01 * least
    symbols = np.random.default_rng(0).binomial(6, 0.5, 300_000).astype(np.uint8)
    assert 8 * len(CODE.encode([symbols], Alphabet(7))) < 1.03 * entropy(symbols)


def test_damage_is_an_error_or_symbols():
    random = np.random.default_rng(0)
    symbols = random.binomial(4, 0.5, 3000).astype(np.uint8)
    data = CODE.encode([symbols], Alphabet(5))
    for _ in range(300):
        damaged = bytearray(data[: random.integers(1, len(data) + 1)])
        damaged[random.integers(0, len(damaged))] = random.integers(0, 256)
        try:
            (found,) = CODE.decode(bytes(damaged), [(3000,)], Alphabet(5))
        except InputError:
            continue
        assert found.max() < 5
