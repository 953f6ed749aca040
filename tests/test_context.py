"""The context code: short where there is structure."""

import hashlib
import math

import ml_dtypes
import numpy as np
import pytest

from kolmo import estimate
from kolmo.codes import kernels_context as kernels
from kolmo.codes.base import get_code
from kolmo.codes.tables import constants
from kolmo.errors import NotApplicableError
from kolmo.estimators.context import row_parts
from kolmo.symbols import Alphabet
from tests.test_weight_codes import FLOATS, round_trip

CODE = get_code("context")


def test_zeros_at_the_end_of_mantissas_do_not_confuse_the_decoder():
    """Rows of half-precision values, which recur in their column, among full ones."""
    random = np.random.default_rng(5)
    weights = random.normal(size=(300, 30)).astype(np.float32)
    weights[::3] = weights[::3].astype(np.float16)
    weights[:, 4] = np.float32(0.5) * np.sign(weights[:, 4])
    round_trip("context", [weights.view(np.uint32)], FLOATS)


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


def test_what_it_does_not_take_is_named():
    with pytest.raises(NotApplicableError, match="too large"):
        estimate(np.arange(5), "context")
