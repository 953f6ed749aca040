"""The context code: exact both ways for whatever bits, and short where there is structure."""

import hashlib
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo import InputError, estimate, get_estimator
from kolmo.codes import kernels_context as kernels
from kolmo.codes.base import get_code
from kolmo.codes.context import FORMS
from kolmo.codes.tables import constants
from kolmo.errors import NotApplicableError
from kolmo.estimators.context import row_parts
from kolmo.symbols import Alphabet

CODE = get_code("context")
FLOATS = Alphabet(1 << 32, "float32")
WIDTHS = {name: 1 + form.exponent_bits + form.mantissa_bits for name, form in FORMS.items()}
DTYPES = {name: np.dtype(f"u{width // 8}") for name, width in WIDTHS.items()}
SHAPES = [(0,), (), (1,), (300,), (17, 19), (6, 5, 3, 3), (1, 2000), (400, 1), (0, 4)]


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


def round_trip(parts, alphabet):
    data = CODE.encode(parts, alphabet)
    back = CODE.decode(data, [part.shape for part in parts], alphabet)
    for part, found in zip(parts, back, strict=True):
        assert found.shape == part.shape
        assert np.array_equal(found, part)
    return data


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_bits_come_back(kind, shape):
    parts = list(contents(kind, shape, 1))
    round_trip(parts, Alphabet(1 << WIDTHS[kind], kind))
    for part in parts:
        round_trip([part], Alphabet(1 << WIDTHS[kind], kind))


@settings(max_examples=40)
@given(
    alphabet=st.sampled_from([1, 2, 3, 15, 16, 255, 256, 257, 65535, 1 << 20, 1 << 32]),
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 1 << 30),
    spread=st.floats(0, 1),
)
def test_any_symbols_come_back(alphabet, shape, seed, spread):
    random = np.random.default_rng(seed)
    centre = random.integers(0, alphabet)
    drawn = np.rint(random.laplace(centre, spread * alphabet / 4 + 1e-9, shape))
    symbols = np.clip(drawn, 0, alphabet - 1).astype(np.uint32)
    last = np.full((3, 3), alphabet - 1, np.uint32)
    round_trip([symbols, last, symbols], Alphabet(alphabet))


def test_special_values_come_back():
    bits = np.float32([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, -1e-45, 3.4e38, 1])
    patterns = np.concatenate([bits.view(np.uint32), np.uint32([0x7F800001, 0xFFFFFFFF])])
    round_trip([np.tile(patterns, 50).reshape(60, 10)], FLOATS)
    doubles = np.float64([np.nan, -0.0, 5e-324, 1.7e308, -1 / 3]).view(np.uint64)
    round_trip([np.tile(doubles, 99)], Alphabet(1 << 64, "float64"))


def test_zeros_at_the_end_of_mantissas_do_not_confuse_the_decoder():
    """Rows of half-precision values, which recur in their column, among full ones."""
    random = np.random.default_rng(5)
    weights = random.normal(size=(300, 30)).astype(np.float32)
    weights[::3] = weights[::3].astype(np.float16)
    weights[:, 4] = np.float32(0.5) * np.sign(weights[:, 4])
    round_trip([weights.view(np.uint32)], FLOATS)


def bits_per_weight(weights, estimator="context"):
    return estimate(weights, estimator).bits_per_weight


def test_structure_is_found():
    random = np.random.default_rng(0)
    noise = random.normal(size=(128, 128)).astype(np.float32)
    plain = bits_per_weight(noise)
    assert 26 < plain < 27.3  # 26.4 and what is spent on learning
    halves = noise.astype(np.float16).astype(np.float32)
    assert bits_per_weight(halves) < plain - 12.5
    brains = noise.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert bits_per_weight(brains) < plain - 15
    assert bits_per_weight(np.vstack([noise, noise])) < 0.55 * plain
    assert bits_per_weight(np.hstack([noise, noise[:, ::-1]])) < 0.55 * plain
    assert bits_per_weight(np.hstack([noise, -noise[:, ::-1]])) < 0.55 * plain
    fixed = random.integers(-(2**20), 2**20, (128, 128)).astype(np.float32)
    assert bits_per_weight(fixed) < 22  # 21 bits each, and what is spent on learning
    scaled = noise * np.exp(2 * random.normal(size=(128, 1))).astype(np.float32)
    scaled *= np.exp(2 * random.normal(size=128)).astype(np.float32)
    shuffled = random.permutation(scaled.ravel()).reshape(scaled.shape)
    assert bits_per_weight(scaled) < bits_per_weight(shuffled) - 1


def test_smooth_kernels_cost_less_than_their_shuffle():
    random = np.random.default_rng(1)
    field = np.cumsum(random.normal(size=(64, 16, 25)), axis=2).reshape(64, 16, 5, 5)
    symbols = np.clip(np.rint(field * 8) + 128, 0, 255).astype(np.uint8)
    shuffled = random.permutation(symbols.ravel()).reshape(symbols.shape)
    assert len(CODE.encode([symbols], Alphabet(256))) < 0.95 * len(
        CODE.encode([shuffled], Alphabet(256))
    )


def test_the_estimator_measures_what_the_code_writes():
    random = np.random.default_rng(2)
    first = random.normal(size=(40, 50)).astype(np.float32).view(np.uint32)
    second = random.normal(size=70).astype(np.float32).view(np.uint32)
    accumulator = get_estimator("context").start_many([(40, 50), (70,)], FLOATS)
    for piece in (first.ravel()[:333], first.ravel()[333:], second):
        accumulator.update(piece)
    assert accumulator.finish().bits == 8 * len(CODE.encode([first, second], FLOATS))


def test_what_one_tensor_teaches_serves_the_next():
    parts = [
        np.random.default_rng(s).binomial(14, 0.5, (60, 60)).astype(np.uint8) for s in range(6)
    ]
    alone = sum(len(CODE.encode([part], Alphabet(15))) for part in parts)
    assert len(CODE.encode(parts, Alphabet(15))) < alone


def test_tensors_are_cut_into_rows():
    assert list(row_parts((3, 4), 100)) == [(3, 4)]
    assert list(row_parts((7, 4), 8)) == [(2, 4), (2, 4), (2, 4), (1, 4)]
    assert list(row_parts((2, 10), 8)) == [(8,), (8,), (4,)]
    assert list(row_parts((0, 4), 8)) == []


def test_bytes_never_change():
    """A file written by one version and machine is read by every other one."""
    random = np.random.default_rng(7)
    floats = random.integers(0x3D000000, 0x3F800000, (50, 40), np.uint32)
    floats |= random.integers(0, 2, (50, 40), np.uint32) << np.uint32(31)
    symbols = random.binomial(14, 0.5, (50, 40)).astype(np.uint8)
    found = {
        "float32": hashlib.sha256(CODE.encode([floats, floats], FLOATS)).hexdigest(),
        "symbols": hashlib.sha256(CODE.encode([symbols, symbols], Alphabet(15))).hexdigest(),
    }
    assert {name: digest[:16] for name, digest in found.items()} == GOLDEN


GOLDEN = {"float32": "3313fa5ea5073d1e", "symbols": "656e37e538aae943"}


def test_constants_are_the_same_on_every_machine():
    """No entry of the table lies so near the middle of two integers that exp could move it."""
    curve = [65536 / (1 + math.exp(-x / 170)) for x in range(-kernels.LIMIT, kernels.LIMIT + 1)]
    assert min(abs(value % 1 - 0.5) for value in curve) > 1e-6
    squash, stretch, rates, trust = constants()
    assert (np.diff(squash) >= 0).all()
    assert (np.diff(stretch) >= 0).all()
    assert squash[kernels.LIMIT] == 32768
    assert rates[0] > rates[-1] > 0
    assert 0 < trust[0] < trust[-1] < 256


def test_damaged_codes_are_errors_or_symbols():
    random = np.random.default_rng(3)
    symbols = random.binomial(20, 0.5, (30, 30)).astype(np.uint8)
    floats = random.normal(size=(30, 30)).astype(np.float32).view(np.uint32)
    for part, alphabet in ((symbols, Alphabet(21)), (floats, FLOATS)):
        data = CODE.encode([part], alphabet)
        for _ in range(150):
            damaged = bytearray(data[: random.integers(0, len(data) + 1)])
            for place in random.integers(0, max(1, len(damaged)), 3):
                if place < len(damaged):
                    damaged[place] = random.integers(0, 256)
            try:
                (found,) = CODE.decode(bytes(damaged), [part.shape], alphabet)
            except InputError:
                continue
            assert found.shape == part.shape
            assert int(found.max()) < alphabet.size


def test_what_it_does_not_take_is_named():
    with pytest.raises(NotApplicableError, match="too large"):
        estimate(np.arange(5), "context")
