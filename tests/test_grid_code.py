"""The grid code: exact both ways, as short as what weights were made of, safe on damage."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo import InputError, NotApplicableError
from kolmo.codes.base import get_code
from kolmo.codes.choosing import shortest_code
from kolmo.codes.grid_copies import Copy
from kolmo.codes.grid_search import find_grid
from kolmo.codes.grid_tables import NF4
from kolmo.codes.lengths import entropy_bits
from kolmo.codes.numbers import number_bytes
from kolmo.symbols import Alphabet
from tests.formats.kmo import decode_code

GRID, CONTEXT = get_code("grid"), get_code("context")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
BOOK = np.float32([-1, -0.7, -0.52, -0.4, -0.3, -0.18, -0.09, 0, 0.08, 0.25, 0.44, 0.72, 1])


def patterns(weights):
    return np.ascontiguousarray(weights).view(f"u{weights.dtype.itemsize}")


def bits_a_weight(*tensors, preset="best"):
    """Encodes tensors, decodes them, and says what they cost."""
    alphabet, parts = Alphabet.of_dtype(tensors[0].dtype), list(map(patterns, tensors))
    data = GRID.encode(parts, alphabet, preset)
    back = GRID.decode(data, [part.shape for part in parts], alphabet)
    assert all(map(np.array_equal, back, parts))
    assert all(array.dtype == alphabet.container for array in back)
    return 8 * len(data) / sum(part.size for part in parts)


def learned(shape=(96, 128), seed=0):
    random = np.random.default_rng(seed)
    return random.standard_t(5, shape) * random.lognormal(
        0, 0.5, (shape[0], *[1] * (len(shape) - 1))
    )


def levels_of(weights, steps, bits):
    most = (1 << (bits - 1)) - 1
    return np.clip(np.rint(weights / steps), -most - 1, most) + 0.0


def known_bits(levels, step_bits=0):
    """What the context code takes for integers that are known, and their steps."""
    least = int(levels.min())
    alphabet = Alphabet(1 << int(levels.max() - least).bit_length())
    data = CONTEXT.encode([(levels - least).astype(alphabet.container)], alphabet)
    return (8 * len(data) + step_bits) / levels.size


def quantized(weights, axis, bits, steps=np.float32):
    most = (1 << (bits - 1)) - 1
    step = (np.abs(weights).max(axis, keepdims=True) / most).astype(steps).astype(np.float32)
    levels = levels_of(weights, step, bits)
    return (levels * step).astype(np.float32), levels, step.size * 8 * np.dtype(steps).itemsize


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("axis", "group"), [(None, 0), (1, 0), (0, 0), (2, 64)])
@pytest.mark.parametrize("steps", [np.float16, np.float32])
def test_integers_times_steps_cost_what_they_are(bits, axis, group, steps):
    weights = learned().reshape(96, -1, group) if group else learned()
    restored, levels, step_bits = quantized(weights, axis, bits, steps)
    found = bits_a_weight(restored.reshape(96, 128))
    assert found < 1.01 * known_bits(levels.reshape(96, 128), step_bits) + 0.02


@pytest.mark.parametrize("inner", [np.float16, BFLOAT16])
@pytest.mark.parametrize("outer", [np.float16, BFLOAT16, np.float32, np.float64])
def test_products_that_were_rounded_to_fewer_bits(inner, outer):
    restored, levels, step_bits = quantized(learned(), 1, 8)
    if np.dtype(outer).itemsize > 2 or np.dtype(outer) == inner:
        weights = restored.astype(inner).astype(outer)
        assert bits_a_weight(weights) < 1.02 * known_bits(levels, step_bits)


def test_zeros_of_both_signs():
    weights = learned()
    step = np.float32(np.abs(weights).max() / 7)
    levels = np.clip(np.rint(weights / step), -7, 7)  # small negative weights become -0
    weights = (levels * step).astype(np.float32)
    assert np.signbit(weights[weights == 0]).any()
    assert bits_a_weight(weights) < known_bits(levels + 0.0) + 1.01 * (levels == 0).mean() + 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("digits", [2, 4])
def test_decimals(dtype, digits):
    weights = (np.round(learned() / 10, digits) + 0.0).astype(dtype)
    levels = np.rint(weights.astype(np.float64) * 10**digits)
    assert bits_a_weight(weights) < 1.01 * known_bits(levels) + 0.05


def test_fractions_of_a_largest_level():
    weights = learned().astype(np.float32)
    per_unit = np.float32(127) / np.abs(weights).max(1, keepdims=True)
    levels = np.rint(weights * per_unit) + np.float32(0)
    assert bits_a_weight(levels / per_unit) < 1.01 * known_bits(levels, 96 * 32) + 0.02


@pytest.mark.parametrize("way", ["then add", "fused", "add first"])
def test_steps_and_offsets_of_groups(way):
    groups = learned().reshape(-1, 64)
    least, most = groups.min(1, keepdims=True), groups.max(1, keepdims=True)
    step, least = ((most - least) / 15).astype(np.float32), least.astype(np.float32)
    levels = np.clip(np.rint((groups - least) / step), 0, 15).astype(np.float32)
    if way == "then add":
        weights = levels * step + least
    elif way == "fused":
        weights = (levels.astype(np.float64) * step + least).astype(np.float32)
    else:
        weights = (levels - (-least / step)) * step
    assert bits_a_weight(weights.reshape(96, 128)) < 1.01 * known_bits(levels, levels.size)


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16])
@pytest.mark.parametrize("size", [64, 128])
def test_codebooks_that_groups_scale(dtype, size):
    groups = learned().reshape(-1, size)
    scales = np.abs(groups).max(1, keepdims=True).astype(np.float32)
    index = np.searchsorted((BOOK[1:] + BOOK[:-1]) / 2, (groups / scales).astype(np.float32))
    weights = (BOOK[index] * scales).astype(dtype).reshape(96, 128)
    if dtype is np.float32:
        assert bits_a_weight(weights) < 1.01 * known_bits(index, scales.size * 32) + 0.1
    else:
        assert bits_a_weight(weights) < 10.5  # at worst as it is


@pytest.mark.parametrize("digits", [6, 7, 8, 17])
def test_known_codebooks_with_fewer_digits(digits):
    """They differ from the known one by less than products are rounded, or by more."""
    book = np.round(NF4, digits)
    groups = learned().reshape(-1, 64).astype(np.float32)
    scales = np.abs(groups).max(1, keepdims=True)
    index = np.searchsorted((book[1:] + book[:-1]) / 2, groups / scales)
    found = bits_a_weight((book[index] * scales).astype(np.float32).reshape(96, 128))
    assert found < 1.01 * known_bits(index, scales.size * 32) + 0.2


def test_few_values():
    values = np.sort(np.random.default_rng(0).normal(size=40)).astype(np.float32)
    index = np.random.default_rng(1).binomial(39, 0.5, (64, 64))
    assert bits_a_weight(values[index]) < known_bits(index, 40 * 32) + 0.05


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_eight_bit_floats_times_steps(dtype):
    weights = learned()
    step = (np.abs(weights).max(1, keepdims=True) / 400).astype(np.float32)
    eights = (weights / step).astype(np.float32).astype(dtype)
    own = CONTEXT.encode([patterns(eights)], Alphabet.of_dtype(eights.dtype))
    found = bits_a_weight(eights.astype(np.float32) * step)
    assert found < 1.02 * (8 * len(own) + step.size * 32) / weights.size


@pytest.mark.parametrize("zeros", [1, 5, 10, 18])
def test_mantissas_that_end_in_zeros(zeros):
    weights = patterns(learned().astype(np.float32)) >> zeros << zeros
    alphabet = Alphabet(1 << 32, "float32")
    whole = 8 * len(CONTEXT.encode([patterns(learned().astype(np.float32))], alphabet))
    assert bits_a_weight(weights.view(np.float32)) < whole / weights.size - zeros + 0.05


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_that_end_in_zeros_of_other_numbers(axis):
    random = np.random.default_rng(0)
    zeros = random.choice(np.uint32([0, 9, 16]), 96 if axis == 0 else 128)
    shifts = zeros[:, None] if axis == 0 else zeros[None]
    weights = patterns(random.normal(size=(96, 128)).astype(np.float32)) >> shifts << shifts
    assert bits_a_weight(weights.view(np.float32)) < 26.9 - zeros.mean()


def test_outliers_are_written_as_they_are():
    restored, levels, step_bits = quantized(learned(), 1, 4)
    random = np.random.default_rng(0)
    outliers = random.random(restored.shape) < 0.003
    restored[outliers] = random.normal(size=int(outliers.sum()))
    restored[3, 4], restored[5, 6] = np.inf, np.nan
    assert bits_a_weight(restored) < known_bits(levels, step_bits) + 0.25


def test_tensors_of_a_unit_have_ways_of_their_own():
    restored, *_ = quantized(learned(), 1, 4)
    noise = learned(seed=1).astype(np.float32)
    whole = patterns(noise)
    tensors = [restored, noise, np.zeros((0, 3), np.float32), (whole >> 9 << 9).view(np.float32)]
    tensors += [np.float32(np.pi).reshape(()), quantized(learned((64, 9, 3, 3), 2), 0, 8)[0]]
    parts = 3.3 * restored.size + 27 * noise.size + 18 * noise.size + 8 * 64 * 81
    assert bits_a_weight(*tensors) < parts / sum(tensor.size for tensor in tensors)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, BFLOAT16])
@pytest.mark.parametrize("factor", [1, -1, 0.25, -8])
@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (1, 0, 2, 3), (3, 2, 0, 1)])
def test_copies_cost_nothing(dtype, factor, axes):
    weights = learned((16, 12, 3, 5))
    weights = np.where(abs(weights) < 0.001, 1, weights).astype(dtype)  # none is subnormal
    weights[0, 0, 0, 0], weights[0, 0, 0, 1] = np.inf, -0.0
    copy = np.ascontiguousarray(np.transpose(weights * np.array(factor, dtype), axes)).reshape(
        16, -1
    )
    alphabet = Alphabet.of_dtype(weights.dtype)
    whole = 8 * len(get_code("byteplanes").encode([patterns(weights)], alphabet))
    assert bits_a_weight(weights, copy, preset="fast") * 2 * weights.size < whole + 8 * 24


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25])
@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16])
def test_zeros_at_random_cost_their_entropy(dtype, share):
    random = np.random.default_rng(0)
    kept = random.random((128, 256)) < share
    weights = np.where(kept, random.normal(size=kept.shape), 0).astype(dtype)
    own = CONTEXT.encode([patterns(weights[kept])], Alphabet.of_dtype(weights.dtype))
    places = entropy_bits(np.bincount(kept.reshape(-1)))
    assert bits_a_weight(weights) * kept.size < 1.002 * places + 8 * len(own) + 200


@given(
    st.integers(0, 1 << 32),
    st.sampled_from(["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]),
    st.permutations(range(4)),
    st.booleans(),
    st.integers(-300, 300),
)
@settings(max_examples=30, deadline=None)
def test_copies_of_any_bits_come_back(seed, name, axes, turned, power):
    random, alphabet = np.random.default_rng(seed), Alphabet.of_dtype(np.dtype(name))
    words = random.integers(0, alphabet.size - 1, (2, 3, 5, 4), np.uint64, endpoint=True)
    words = words.astype(alphabet.container)
    scan = list(itertools.permutations(range(4))).index(tuple(axes))
    try:
        copy = Copy(0, scan, turned, power).apply(words, alphabet).reshape(10, 12)
    except InputError:
        return
    data = GRID.encode([words, copy], alphabet)
    assert all(
        map(np.array_equal, GRID.decode(data, [words.shape, (10, 12)], alphabet), [words, copy])
    )
    symbols = [*words.reshape(-1).tolist(), *copy.reshape(-1).tolist()]
    shapes = [words.shape, copy.shape]
    assert decode_code(13, data, shapes, alphabet.size, alphabet.format) == symbols


@pytest.mark.parametrize(
    "head", [[1, 0, 0], [0, 4, 0], [0, 0, 512], [0, 0, 511], [0, 0, 255 + 128]]
)
def test_damaged_copies_are_refused(head):
    """Of a source that is none, in a scan that is none, by powers that are none or too large."""
    weights, floats = learned((8, 8)).astype(np.float32), Alphabet(1 << 32, "float32")
    data = GRID.encode([patterns(weights), patterns(-weights)], floats)
    assert data[:5] == bytes([0, 6, 0, 1, 0])
    damaged = bytes([0, 6]) + b"".join(map(number_bytes, head)) + data[5:]
    with pytest.raises(InputError):
        GRID.decode(damaged, [(8, 8), (8, 8)], floats)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, BFLOAT16])
def test_noise_is_on_no_grid(dtype):
    noise = learned((64, 300)).astype(dtype)
    with pytest.raises(NotApplicableError):
        GRID.encode([patterns(noise), patterns(noise[0])], Alphabet.of_dtype(np.dtype(dtype)))


def test_integers_are_on_no_grid():
    with pytest.raises(NotApplicableError):
        GRID.encode([np.zeros(100, np.uint8)], Alphabet(256))
    with pytest.raises(InputError):
        GRID.decode(b"\x00", [(100,)], Alphabet(256))


@pytest.mark.parametrize("preset", ["best", "fast"])
def test_presets_take_it_where_it_is_shortest(preset):
    restored = patterns(quantized(learned(), 1, 4)[0])
    assert shortest_code([restored], Alphabet(1 << 32, "float32"), preset)[0] == GRID.number
    noise = patterns(learned().astype(np.float32))
    assert shortest_code([noise], Alphabet(1 << 32, "float32"), preset)[0] != GRID.number


@given(st.integers(0, 1 << 32), st.floats(1e-30, 1e30), st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_a_step_within_the_bounds_that_are_found(seed, step, most):
    random = np.random.default_rng(seed)
    levels = random.integers(-most, most + 1, (8, 40))
    levels[:, 0] = 1
    grid = find_grid((levels * np.float32(step)).astype(np.float32))
    assert grid is not None
    assert np.all(grid.low <= np.float32(step))
    assert np.all(grid.high >= np.float32(step))


@given(
    st.integers(0, 1 << 32),
    st.sampled_from(["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]),
    st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3),
    st.integers(0, 8),
)
@settings(max_examples=40, deadline=None)
def test_any_bits_come_back(seed, name, shapes, most):
    """Few bits, at random places of few words, are the likeliest to be on a grid."""
    random, alphabet = np.random.default_rng(seed), Alphabet.of_dtype(np.dtype(name))
    words = random.integers(0, alphabet.size - 1, most + 1, np.uint64, endpoint=True)
    words &= random.integers(0, alphabet.size - 1, most + 1, np.uint64, endpoint=True)
    shapes = [tuple(9 * side for side in shape) for shape in shapes]
    parts = [random.choice(words.astype(alphabet.container), shape) for shape in shapes]
    parts = [np.asarray(part, alphabet.container) for part in parts]
    try:
        data = GRID.encode(parts, alphabet, "fast")
    except NotApplicableError:
        return
    assert all(map(np.array_equal, GRID.decode(data, shapes, alphabet), parts))


def examples():
    """Small tensors, of which one or more each way is written."""
    random = np.random.default_rng(0)
    restored = quantized(learned((32, 64)), 1, 4)[0]
    restored[0, 7] = 0.12345678
    groups = learned((32, 64))
    scales = np.abs(groups).max(1, keepdims=True).astype(np.float32)
    index = np.searchsorted((BOOK[1:] + BOOK[:-1]) / 2, groups / scales)
    signed = np.rint(groups * 3).astype(np.float32) / np.float32(30)
    shifts = random.choice(np.uint32([3, 9]), (32, 1))
    noise = patterns(random.normal(size=(32, 64)).astype(np.float32))
    ends = (noise >> shifts << shifts).view(np.float32)
    across = np.ascontiguousarray(ends.T)
    least = groups.min(1, keepdims=True).astype(np.float32)
    step = ((groups.max(1, keepdims=True) - least) / 15).astype(np.float32)
    affine = np.rint((groups - least) / step).astype(np.float32) * step + least
    few = random.normal(size=9).astype(np.float32)[random.integers(0, 9, (32, 64))]
    eights = groups.astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * np.float32(0.0123)
    zeros = np.where(random.random((32, 64)) < 0.2, groups, 0)
    return [
        zeros,
        restored,
        BOOK[index] * scales,
        signed,
        ends,
        across,
        affine,
        few,
        eights,
        noise.view("f4"),
    ]


def test_docs_are_enough_to_decode():
    parts = [patterns(weights.astype(np.float32)) for weights in examples()]
    alphabet, shapes = Alphabet(1 << 32, "float32"), [part.shape for part in parts]
    data = GRID.encode(parts, alphabet, "fast")
    symbols = np.concatenate([part.reshape(-1) for part in parts]).tolist()
    assert decode_code(13, data, shapes, 1 << 32, "float32") == symbols
    few = [part[:16] for part in parts[:3]]
    data = GRID.encode(few, alphabet)
    symbols = np.concatenate([part.reshape(-1) for part in few]).tolist()
    assert decode_code(13, data, [part.shape for part in few], 1 << 32, "float32") == symbols


def test_examples_are_written_in_every_way():
    parts = [patterns(weights.astype(np.float32)) for weights in examples()]
    heads = [GRID.encode([part], Alphabet(1 << 32, "float32"))[0] for part in parts[:-1]]
    assert set(heads) == {2, 3, 4, 5, 7}


@pytest.mark.parametrize("number", range(9))
def test_damage_is_an_error_or_symbols(number):
    part = patterns(examples()[number].astype(np.float32))
    alphabet, random = Alphabet(1 << 32, "float32"), np.random.default_rng(number)
    data = GRID.encode([part], alphabet)
    for tried in range(150):
        damaged = bytearray(data[: random.integers(1, len(data) + 1)] if tried % 3 == 0 else data)
        place = random.integers(0, min(len(damaged), 40) if tried % 2 else len(damaged))
        damaged[place] = random.integers(0, 256)
        try:
            (found,) = GRID.decode(bytes(damaged), [part.shape], alphabet)
        except InputError:
            continue
        assert found.shape == part.shape
        assert found.dtype == part.dtype
