"""The context code and the predictive code: both are exact both ways, and safe on damage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo import InputError, get_estimator
from kolmo.codes.base import get_code
from kolmo.codes.context import FORMS
from kolmo.symbols import Alphabet

CODES = ["context", "predictive"]
FLOATS = Alphabet(1 << 32, "float32")
WIDTHS = {name: 1 + form.exponent_bits + form.mantissa_bits for name, form in FORMS.items()}
DTYPES = {name: np.dtype(f"u{width // 8}") for name, width in WIDTHS.items()}
SHAPES = [(0,), (), (1,), (300,), (17, 19), (6, 5, 3, 3), (1, 2000), (400, 1), (0, 4)]
LARGE = [(70, 40), (3, 700), (40, 6, 3, 3), (9, 8, 5, 3, 2), (60, 1, 20), (2000,)]
"""So large that scans are tried and correlations learned."""


def contents(kind: str, shape, seed: int):
    """Arrays of bit patterns of a kind that differ in what a model may trip over."""
    random = np.random.default_rng(seed)
    width, form = WIDTHS[kind], FORMS[kind]
    size = math.prod(shape)
    dtype = DTYPES[kind]
    noise = random.integers(0, 1 << min(width, 63), size, np.uint64)
    signs = random.integers(0, 2, size, np.uint64) << np.uint64(width - 1)
    fields = random.integers(0, 6, size, np.uint64) << np.uint64(form.mantissa_bits)
    few = random.choice(noise[:3], size) if size else noise
    narrow = signs | fields | (noise & np.uint64(7)) << np.uint64(max(0, form.mantissa_bits - 3))
    sparse = np.where(random.random(size) < 0.9, 0, signs | fields)
    mirrored = np.concatenate([few[: size // 2], few[: size - size // 2][::-1]])
    for array in (noise, signs, fields, few, narrow, sparse, mirrored, np.sort(noise)):
        yield array.astype(dtype).reshape(shape)


def round_trip(code, parts, alphabet):
    data = get_code(code).encode(parts, alphabet)
    back = get_code(code).decode(data, [part.shape for part in parts], alphabet)
    for part, found in zip(parts, back, strict=True):
        assert found.shape == part.shape
        assert np.array_equal(found, part)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_bits_come_back(code, kind, shape):
    round_trip(code, list(contents(kind, shape, 1)), Alphabet(1 << WIDTHS[kind], kind))


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_bits_of_one_tensor_come_back(kind, shape):
    for part in contents(kind, shape, 1):
        round_trip("context", [part], Alphabet(1 << WIDTHS[kind], kind))


@pytest.mark.parametrize("code", CODES)
@settings(max_examples=40)
@given(
    alphabet=st.sampled_from([1, 2, 3, 15, 16, 255, 256, 257, 65535, 1 << 20, 1 << 32]),
    shape=st.sampled_from([*SHAPES, *LARGE]),
    seed=st.integers(0, 1 << 30),
    spread=st.floats(0, 1),
)
def test_any_symbols_come_back(code, alphabet, shape, seed, spread):
    random = np.random.default_rng(seed)
    centre = random.integers(0, alphabet)
    drawn = np.rint(random.laplace(centre, spread * alphabet / 4 + 1e-9, shape))
    symbols = np.clip(drawn, 0, alphabet - 1).astype(np.uint32)
    last = np.full((3, 3), alphabet - 1, np.uint32)
    round_trip(code, [symbols, last, symbols], Alphabet(alphabet))


@pytest.mark.parametrize("code", CODES)
def test_special_values_come_back(code):
    bits = np.float32([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, -1e-45, 3.4e38, 1])
    patterns = np.concatenate([bits.view(np.uint32), np.uint32([0x7F800001, 0xFFFFFFFF])])
    round_trip(code, [np.tile(patterns, 250).reshape(60, 50)], FLOATS)
    doubles = np.float64([np.nan, -0.0, 5e-324, 1.7e308, -1 / 3]).view(np.uint64)
    round_trip(code, [np.tile(doubles, 600).reshape(60, 50)], Alphabet(1 << 64, "float64"))


@pytest.mark.parametrize("code", CODES)
def test_the_estimator_measures_what_the_code_writes(code):
    random = np.random.default_rng(2)
    first = random.normal(size=(60, 50)).astype(np.float32).view(np.uint32)
    second = random.normal(size=70).astype(np.float32).view(np.uint32)
    accumulator = get_estimator(code).start_many([(60, 50), (70,)], FLOATS)
    for piece in (first.ravel()[:333], first.ravel()[333:], second):
        accumulator.update(piece)
    assert accumulator.finish().bits == 8 * len(get_code(code).encode([first, second], FLOATS))


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("first", [40, 1 << 20], ids=["heads", "all"])
def test_damaged_codes_are_errors_or_symbols(code, first):
    """In the first bytes, where the heads are, or in any."""
    random = np.random.default_rng(3)
    symbols = random.binomial(20, 0.5, (50, 45)).astype(np.uint8)
    floats = random.normal(size=(50, 45)).astype(np.float32).view(np.uint32)
    for part, alphabet in ((symbols, Alphabet(21)), (floats, FLOATS)):
        data = get_code(code).encode([part], alphabet)
        for _ in range(60):
            damaged = bytearray(data[: random.integers(0, len(data) + 1)])
            for place in random.integers(0, max(1, min(len(damaged), first)), 3):
                if place < len(damaged):
                    damaged[place] = random.integers(0, 256)
            try:
                (found,) = get_code(code).decode(bytes(damaged), [part.shape], alphabet)
            except InputError:
                continue
            assert found.shape == part.shape
            assert int(found.max()) < alphabet.size
