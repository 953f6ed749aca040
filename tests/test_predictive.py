"""The predictive code: short where values follow."""

import hashlib
import math

import ml_dtypes
import numpy as np
import pytest
from scipy.stats import t as student

from kolmo import InputError, estimate
from kolmo.codes import kernels_laws as laws
from kolmo.codes.base import get_code
from kolmo.codes.predictive import neighbours_of, widest_scan
from kolmo.codes.scans import Scans, scanned, shape_of, unscanned
from kolmo.symbols import Alphabet
from tests.test_weight_codes import FLOATS, LARGE, round_trip

CODE = get_code("predictive")


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_tables_of_every_shape_come_back(shape):
    random = np.random.default_rng(len(shape))
    weights = random.normal(size=shape) * random.normal(size=(*shape[:-1], 1))
    weights = np.cumsum(weights, axis=0).astype(np.float32)
    round_trip("predictive", [weights.view(np.uint32), weights[:1].view(np.uint32)], FLOATS)
    halves = weights.astype(ml_dtypes.bfloat16).view(np.uint16)
    round_trip("predictive", [halves], Alphabet(1 << 16, "bfloat16"))
    round_trip("predictive", [np.clip(weights + 7, 0, 14).astype(np.uint8)], Alphabet(15))


def bits(weights, estimator="predictive"):
    return estimate(np.asarray(weights, np.float32), estimator).bits_per_weight


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(size=(160, 160))


def test_noise_costs_what_it_holds(noise):
    assert bits(noise) < bits(noise, "context") + 0.05
    assert bits(noise) > 26.2  # the entropy of normal weights that are rounded to float32


def test_rows_that_others_give(noise):
    """Columns of the transposed table are correlated; the bits of a ratio are not free, though."""
    random = np.random.default_rng(1)
    scaled, noisy = noise.copy(), noise.copy()
    scaled[1::2] = noise[::2] * random.uniform(-2, 2, (80, 1))
    noisy[1::2] = noise[::2] + 0.05 * noise[1::2]
    assert bits(scaled) < bits(noise) - 1
    assert bits(noisy) < bits(noise) - 0.8


def test_low_rank(noise):
    assert bits(noise[:, :3] @ noise[:3]) < bits(noise) - 3


@pytest.mark.parametrize("sign", [1, -1])
def test_symmetric_and_antisymmetric_tables(noise, sign):
    assert bits(noise + sign * noise.T) < 0.54 * bits(noise)


def test_what_follows_from_neighbours(noise):
    time = np.arange(160)
    random = np.random.default_rng(2)
    waves = [np.exp(-time * random.uniform(0, 0.01)) * np.sin(time * random.uniform(0.01, 0.3) + k)
             for k in range(160)]  # fmt: skip
    assert bits(np.array(waves)) < bits(noise) - 7
    smooth = np.cumsum(np.cumsum(noise, axis=0), axis=1)
    assert bits(smooth) < bits(noise) - 2


def test_rows_that_are_shifted(noise):
    line = np.concatenate([noise[0], noise[1]])
    toeplitz = np.array([line[k : k + 160] for k in range(160)])
    assert bits(toeplitz) < 1


def test_weights_that_decayed_to_nothing(noise):
    tiny = np.where(np.arange(160) % 3 > 0, noise * 1e-20, noise)
    assert bits(tiny) < bits(tiny, "context") - 1


def test_shuffled_weights_are_never_shorter_by_more_than_chance(noise):
    heavy = np.random.default_rng(3).standard_t(3, (128, 128))
    assert bits(heavy) > bits(heavy, "context") - 0.02


# --- parts ----------------------------------------------------------------------------------


def test_scans_are_permutations():
    tensor = np.arange(3 * 4 * 1 * 5 * 2 * 2).reshape(3, 4, 1, 5, 2, 2)
    tables = [scanned(tensor, number) for number in range(24)]
    assert len({table.tobytes() for table in tables}) == 24
    for number, table in enumerate(tables):
        assert table.shape == shape_of(tensor.shape, number) or number == 0
        assert np.array_equal(unscanned(table.reshape(-1), tensor.shape, number), tensor)
        assert math.prod(table.shape[1:]) <= widest_scan([tensor.shape])
    with pytest.raises(InputError, match="no such scan"):
        shape_of((3, 4), 2)


def test_a_scan_is_chosen_by_its_cost():
    tried = []

    def cost(table):
        tried.append(table.shape)
        return abs(table.shape[0] - 30)

    scans = Scans(cost)
    assert shape_of((60, 40, 2), scans.best(np.zeros((60, 40, 2), np.uint8)))[0] == 40
    count = len(tried)
    scans.best(np.zeros((61, 41, 2), np.uint8))  # a kernel alike
    assert len(tried) == count
    assert scans.best(np.zeros((30, 40), np.uint8)) == 0  # too small to be tried


def test_the_law_is_that_of_student():
    table = laws.chances().astype(float)
    slope = 16 * np.arange(4097)
    found = (table - 1 - slope) / 2**28
    exact = student.cdf(np.arange(-2048, 2049) / 128, 6)
    assert np.abs(found - (exact - exact[0])).max() < 2e-8


def test_the_law_has_no_entry_that_rounding_could_move():
    entries = [student.cdf(step / 128, 6) * 2**28 for step in range(-2048, 2049)]
    assert min(abs(entry % 1 - 0.5) for entry in entries) > 1e-6


def test_square_roots_are_rounded_down():
    numbers = [0, 1, 2, 3, 4, 8, 9, 99, 10**6, 2**40 - 1, 2**40, 2**62]

    @laws.compiled
    def roots(numbers, found):
        for i in range(numbers.size):
            found[i] = laws.root(numbers[i])

    found = np.zeros(len(numbers), np.int64)
    roots(np.array(numbers, np.int64), found)
    assert found.tolist() == [math.isqrt(number) for number in numbers]


def test_neighbours_are_before_the_weight():
    for shape, taps in [((8, 6), 1), ((8, 6, 3), 3), ((8, 6, 3, 3), 9), ((8, 6, 1, 2), 2)]:
        places = neighbours_of(shape, taps).tolist()
        assert len(places) == laws.FEATURES
        assert all(up > 0 or left >= 0 for up, left in places)
        real = [tuple(place) for place in places if place != [0, 0]]
        assert len(real) == len(set(real))


def test_bytes_never_change():
    """A file written by one version and machine is read by every other one."""
    random = np.random.default_rng(7)
    floats = random.integers(0x3D000000, 0x3F800000, (80, 40), np.uint32)
    floats |= random.integers(0, 2, (80, 40), np.uint32) << np.uint32(31)
    symbols = random.binomial(14, 0.5, (80, 40)).astype(np.uint8)
    found = {
        "float32": hashlib.sha256(CODE.encode([floats, floats], FLOATS)).hexdigest(),
        "symbols": hashlib.sha256(CODE.encode([symbols, symbols], Alphabet(15))).hexdigest(),
    }
    assert {name: digest[:16] for name, digest in found.items()} == GOLDEN


GOLDEN = {"float32": "07bffd9d2e08912e", "symbols": "ce88df2ade23872a"}
