"""The trellis code: exact both ways, near what theory allows, and only where there is a trellis."""

import hashlib
import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo import InputError
from kolmo.codes.base import get_code
from kolmo.codes.choosing import shortest_code
from kolmo.codes.kernels_states import find_starts
from kolmo.codes.trellis import LEVELS, MACHINES, is_by_design, machine
from kolmo.errors import NotApplicableError
from kolmo.lossy.kernels_trellis import round_column
from kolmo.lossy.rounding import round_matrix
from kolmo.symbols import Alphabet
from tests.trellises import as_part, obeying

CODE = get_code("trellis")


def round_trip(parts, alphabet):
    data = CODE.encode(parts, alphabet)
    back = CODE.decode(data, [part.shape for part in parts], alphabet)
    for part, found in zip(parts, back, strict=True):
        assert (found.shape, found.dtype) == (part.shape, alphabet.container)
        assert np.array_equal(found, part)
    return data


def drawn(*shape, spread=2.0, seed=0):
    return np.rint(np.random.default_rng(seed).normal(0, spread, shape)).astype(np.int64)


# --- trellises ------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", MACHINES)
def test_paths_that_meet_come_by_the_parities_of_one_quantizer(memory):
    trellis = machine(memory)
    assert (trellis.following[:, 0] != trellis.following[:, 1]).all()
    assert trellis.quantizers.sum() == 1 << memory - 1
    for state in range(1 << memory):
        before, parities = np.nonzero(trellis.following == state)
        assert sorted(parities) == [0, 1]
        assert len(set(trellis.quantizers[before])) == 1


@pytest.mark.parametrize(("memory", "distance"), [(2, 9), (3, 10), (4, 11), (6, 14)])
def test_the_free_distance_is_that_of_ungerboecks_table(memory, distance):
    """Of two sequences that part and meet again; levels of other quantizers differ by 1 at least,
    those of other parities by 2. The codes are linear, so that one of both may be all zeros."""
    trellis = machine(memory)

    def after(state, parity):
        odd = trellis.quantizers[state]
        return 1 if odd else 4 * parity, int(trellis.following[state, parity])

    ways, settled = [after(0, 1)], set()
    while ways[0][1] != 0:
        cost, state = heapq.heappop(ways)
        if state not in settled:
            settled.add(state)
            for parity in range(2):
                more, then = after(state, parity)
                heapq.heappush(ways, (cost + more, then))
    assert ways[0][0] == distance


# --- the search -----------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(1, 8), st.integers(0, 10_000), st.floats(0, 0.5))
def test_the_search_finds_the_cheapest_of_all_sequences(count, seed, price):
    random, trellis, half = np.random.default_rng(seed), machine(2), 6
    column, classes = random.normal(0, 3, count), random.integers(0, 2, count)
    sizes = np.abs(np.arange(-half, half + 1))
    bits = random.uniform(0.1, 1.5, (2, 2, 1)) * sizes + random.uniform(0, 2, (2, 2, 1))

    def cost(place, odd, index):
        level = 2 * index - odd * np.sign(index)
        return (column[place] - level) ** 2 + price * bits[classes[place], odd, index + half]

    def of_parities(parities):
        total, state = 0.0, 0
        for place, parity in enumerate(parities):
            odd = trellis.quantizers[state]
            total += min(
                cost(place, odd, index) for index in range(-half, half + 1) if index & 1 == parity
            )
            state = trellis.following[state, parity]
        return total

    levels = np.empty(count, np.int64)
    round_column(column, classes, bits, price, trellis, levels)
    indices, state, found = [], 0, 0.0
    for place, level in enumerate(levels):
        odd = trellis.quantizers[state]
        indices.append((abs(level) + odd) // 2 * np.sign(level))
        found += cost(place, odd, indices[-1])
        state = trellis.following[state, indices[-1] & 1]
    assert np.array_equal(obeying(np.array(indices)[:, None], 2)[:, 0], levels)
    assert found == pytest.approx(min(map(of_parities, itertools.product((0, 1), repeat=count))))


def test_values_beyond_all_levels_have_the_outermost():
    """However far"""
    column = np.array([1e200, -1e200, 0.1, np.inf, -3e9])
    bits, levels = np.ones((1, 2, 15)), np.empty(5, np.int64)
    round_column(column, np.zeros(5, np.int64), bits, 0.1, machine(6), levels)
    assert (levels[[0, 1, 3, 4]] * [1, -1, 1, -1] >= 11).all()


# --- what it costs --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gaussian():
    return np.random.default_rng(0).normal(size=(1024, 512))


@pytest.mark.parametrize(
    ("step", "rate", "over"),
    [(0.15, 3.86, 0.08), (0.3, 2.9, 0.08), (0.6, 1.96, 0.1), (1.0, 1.23, 0.1), (1.48, 0.66, 0.12)],
)
def test_a_gaussian_source_is_met_within_a_tenth_of_a_bit(step, rate, over, gaussian):
    """Of R(D) = ½ log₂(1/D), by bytes that decode; the best scalar quantizer is .25 above it."""
    levels = round_matrix(gaussian / step)
    part, alphabet = as_part(levels, int(np.abs(levels).max()))
    bits = 8 * len(CODE.encode([part], alphabet)) / gaussian.size
    least = -np.log2(np.square(gaussian - step * levels).mean()) / 2
    assert abs(bits - rate) < 0.05
    assert 0 < bits - least < over


def test_no_other_code_sees_a_trellis(gaussian):
    parts = [as_part(round_matrix(gaussian[:300, :128] / 0.5), 15)[0]]
    short = round_trip(parts, Alphabet(31))
    others = [len(get_code(name).encode(parts, Alphabet(31))) for name in ("predictive", "context")]
    assert 8 * (min(others) - len(short)) / parts[0].size > 0.4
    for preset in ("best", "default", "fast"):
        assert shortest_code(parts, Alphabet(31), preset) == (16, short)


# --- exact both ways ------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.sampled_from([*MACHINES]),
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 40)), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.4, 2.0, 30.0, 5000.0]),
    st.integers(0, 9999),
)
def test_levels_of_any_trellis_come_back(memory, shapes, spread, seed):
    random = np.random.default_rng(seed)
    tables = []
    for shape in shapes:
        starts = random.integers(0, 1 << memory, shape[1]) * random.integers(0, 2)
        tables.append(obeying(drawn(*shape, spread=spread, seed=seed), memory, starts))
    half = max(1, *(int(np.abs(table).max()) for table in tables)) + int(random.integers(0, 3))
    round_trip([as_part(table, half)[0] for table in tables], Alphabet(2 * half + 1))


def test_the_largest_levels_come_back():
    half = LEVELS // 2 - 1
    most = half // 2
    levels = obeying(drawn(60, 9, spread=1e5).clip(-most, most))
    for table in (levels, obeying(np.full((40, 3), most))):
        round_trip([as_part(table, half)[0]], Alphabet(2 * half + 1))
    with pytest.raises(InputError, match="takes no such symbols"):
        CODE.decode(b"", [(3, 4)], Alphabet(2 * half + 3))


def test_tensors_of_any_shape_come_back():
    table = obeying(drawn(40, 24))
    shapes = [(40, 24), (0, 3), (40, 2, 3, 4), (40, 24, 1), (40, 1, 1, 24)]
    parts = [as_part(np.resize(table, shape), 15)[0] for shape in shapes]
    parts += [np.full((), 15, np.uint8), as_part(table[0], 15)[0]]
    round_trip(parts, Alphabet(31))
    assert CODE.encode([], Alphabet(31)) == CODE.encode([parts[1]], Alphabet(31)) == b""


def test_columns_that_begin_in_any_state_are_recovered():
    """As where a tensor is cut in two"""
    starts = np.random.default_rng(1).integers(0, 64, 30)
    whole = obeying(drawn(400, 30), 6, starts)
    found = np.zeros(30, np.int64)
    assert find_starts(whole.reshape(-1), 30, machine(6), found)
    assert np.array_equal(found, starts)
    assert not find_starts(whole.reshape(-1), 30, machine(4), found)
    first, second = (as_part(half, 31)[0] for half in (whole[:200], whole[200:]))
    round_trip([first, second], Alphabet(63))
    assert is_by_design([second], Alphabet(63))


def test_other_levels_obey_no_trellis():
    with pytest.raises(NotApplicableError, match="obey no trellis"):
        CODE.encode([as_part(drawn(100, 4), 15)[0]], Alphabet(31))
    assert not CODE.takes([(3, 4)], Alphabet(16))
    assert not CODE.takes([(3, 4)], Alphabet(1 << 16, "float16"))
    assert not CODE.takes([(3, 1 << 20)], Alphabet(15))


@pytest.mark.parametrize(
    "levels",
    [
        drawn(4, 5000),  # columns so short that some state leads to any levels
        drawn(5000),
        (np.random.default_rng(0).random((100, 2000)) < 0.002).astype(np.int64),
        4 * drawn(300, 40),
        np.zeros((300, 40), np.int64),
    ],
    ids=["short", "vector", "sparse", "multiples", "zeros"],
)
def test_what_obeys_a_trellis_by_accident_is_left_to_other_codes(levels):
    part, alphabet = as_part(levels, 63)
    round_trip([part], alphabet)
    assert not is_by_design([part], alphabet)
    assert shortest_code([part], alphabet, "fast")[0] != CODE.number


def test_a_part_of_zeros_hides_no_trellis():
    parts = [as_part(each, 15)[0] for each in (obeying(drawn(90, 20)), np.zeros((50, 40), int))]
    assert is_by_design(parts, Alphabet(31))


def test_heads_are_short():
    """The least memory with which all columns begin in state 0: of sparse ones, often, 2 bits"""
    levels = obeying(drawn(64, 50, spread=0.2))
    assert CODE.encode([as_part(levels, 7)[0]], Alphabet(15))[0] in (4, 6, 8, 12)
    assert CODE.encode([as_part(obeying(drawn(64, 50)), 31)[0]], Alphabet(63))[0] == 12


# --- damage ---------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
    st.integers(0, 300),
    st.booleans(),
)
def test_damaged_codes_are_errors_or_symbols(changes, kept, begun):
    starts = np.arange(9) % 64 if begun else None
    part, alphabet = as_part(obeying(drawn(50, 9, spread=8), 6, starts), 63)
    damaged = bytearray(CODE.encode([part], alphabet)[:kept])
    for place, byte in changes:
        if place < len(damaged):
            damaged[place] = byte
    try:
        (found,) = CODE.decode(bytes(damaged), [part.shape], alphabet)
    except InputError:
        return
    assert found.shape == part.shape
    assert int(found.max()) < alphabet.size


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"\x0a\x03", "head is damaged"),
        (b"\x0c\x14", "head is damaged"),
        (b"\x05\x03\x00\x04\x00", "a state that there is not"),
        (b"\x0d\x03\x00", "ends before"),
        (b"", "ends before"),
    ],
)
def test_damaged_heads(head, message):
    with pytest.raises(InputError, match=message):
        CODE.decode(head, [(40, 3)], Alphabet(15))


def test_bytes_never_change():
    """A file written by one version and machine is read by every other one."""
    tables = [obeying(drawn(70, 30)), obeying(drawn(50, 20, spread=40), 3, np.arange(20) % 8)]
    parts = [as_part(table, 511)[0] for table in tables]
    found = hashlib.sha256(CODE.encode(parts, Alphabet(1023))).hexdigest()
    assert found[:16] == GOLDEN


GOLDEN = "11a87bcac7506a5c"
