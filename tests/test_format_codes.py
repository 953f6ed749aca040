"""docs/formats/ is enough for each code: the decoders written from it give the same symbols."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo.codes.base import get_code
from kolmo.errors import InputError
from kolmo.symbols import Alphabet
from tests.formats import kmo
from tests.formats.bits import Damaged, Reader
from tests.formats.cases import FLOATS, patterns, random
from tests.trellises import as_part, obeying


@pytest.mark.parametrize("code", ["raw", "byteplanes", "counts", "xz"])
def test_codes_at_small_alphabets(code):
    """Where symbols are packed, how many to a byte depends on the alphabet"""
    shapes = [(31, 40), (1,), (0, 3), (7, 11), (2500,)]
    for alphabet in (*range(2, 19), 32, 33, 256, 257):
        least = random().geometric(0.6, (3, 4000)).min(axis=0) - 1
        symbols = np.minimum(least, alphabet - 1).astype(np.min_scalar_type(alphabet - 1))
        symbols[:3] = alphabet - 1
        ends = np.cumsum([0, *(np.prod(shape, dtype=int) for shape in shapes)])
        parts = [
            symbols[first:last].reshape(shape)
            for first, last, shape in zip(ends[:-1], ends[1:], shapes, strict=True)
        ]
        data, number = get_code(code).encode(parts, Alphabet(alphabet)), get_code(code).number
        found = kmo.decode_code(number, data, shapes, alphabet, "")
        assert found == symbols[: ends[-1]].tolist()


def test_byte_planes_in_segments(tmp_path):
    """Of more than 2^22 symbols; too many for a unit that pack makes, none for one that it reads"""
    few = np.arange(97, dtype=np.uint16)[None].repeat(50_000, 0).reshape(-1)
    shapes = [few.shape]
    data = get_code("deflate").encode_in(few, Alphabet(1 << 16), "shuffle")
    assert few.size > 1 << 22
    assert kmo.decode_code(7, data, shapes, 1 << 16, "") == few.tolist()


# --- the records code -----------------------------------------------------------------------


def records_cases():
    random_ = random()
    ramp, any_bits = np.arange(100) * 1000, random_.integers(0, 1 << 63, (4, 5)) * 2 + 1
    yield 1 << 64, [ramp.astype(np.uint64), any_bits.astype(np.uint64)]
    yield 2, [random_.integers(0, 2, (20, 30)), np.zeros((0, 3), int), np.ones((), int)]
    tiled = np.tile(random_.integers(0, 20, 50), 6)
    yield 255, [random_.binomial(9, 0.5, (4, 5, 3, 3)), tiled, np.full((3, 1), 254)]
    yield 1 << 13, [np.add.outer(np.arange(20) ** 2, np.arange(15)), np.sort(tiled)]
    yield 7, [np.full((3, 4), 6)]


@pytest.mark.parametrize(
    ("alphabet", "parts"),
    list(records_cases()),
    ids=["64 bits", "bits", "bytes", "differences", "constant"],
)
def test_records(alphabet, parts):
    parts = [part.astype(Alphabet(alphabet).container) for part in parts]
    data = get_code("records").encode(parts, Alphabet(alphabet))
    symbols = [symbol for part in parts for symbol in part.reshape(-1).tolist()]
    assert kmo.decode_code(14, data, [part.shape for part in parts], alphabet, "") == symbols


# --- the context code -----------------------------------------------------------------------


def same_context(parts, alphabet, fmt):
    shapes = [part.shape for part in parts]
    data = get_code("context").encode(parts, Alphabet(alphabet, fmt))
    symbols = [symbol for part in parts for symbol in part.reshape(-1).tolist()]
    assert kmo.decode_code(9, data, shapes, alphabet, fmt) == symbols


@pytest.mark.parametrize("fmt", list(FLOATS))
def test_context_on_every_format(fmt):
    dtype, width = FLOATS[fmt], np.dtype(FLOATS[fmt]).itemsize
    random_ = random()
    wide = random_.normal(size=(12, 20)) * 2.0 ** random_.integers(-40, 3, (12, 20))
    any_bits = random_.integers(0, 256, (5, 40 * width), np.uint8).view(f"u{width}")
    with np.errstate(over="ignore"):
        parts = [patterns(array.astype(dtype)) for array in (
            random_.normal(0, 0.05, (10, 8, 3, 3)),
            random_.normal(0, 0.05, 17),
            np.float64(0.5).reshape(()),
            wide,
            np.zeros((0, 3)),
            random_.normal(size=(8, 30)) * (random_.random((8, 30)) < 0.2),
        )]  # fmt: skip
    same_context([*parts, any_bits], 1 << 8 * width, fmt)


@pytest.mark.parametrize(("outer", "inner"), [
    (np.float32, np.float16), (np.float32, ml_dtypes.bfloat16),
    (np.float64, np.float32), (np.float64, np.float16),
])  # fmt: skip
def test_context_on_floats_that_were_narrower(outer, inner):
    table = random().normal(size=(30, 20)).astype(inner).astype(outer)
    table[10:] = random().normal(size=(20, 20))
    same_context([patterns(table)], 1 << 8 * table.itemsize, np.dtype(outer).name)


def test_context_on_multiples_of_a_power_of_two():
    table = (random().integers(-(2**20), 2**20, (30, 20)) / 2**24).astype(np.float32)
    same_context([patterns(table)], 1 << 32, "float32")


@pytest.mark.parametrize("fmt", ["float32", "float8_e4m3fn", ""])
def test_context_on_repeated_and_mirrored_rows(fmt):
    random_ = random()
    rows = random_.normal(size=(6, 40)).astype(FLOATS[fmt or "float32"])
    table = np.concatenate([rows, rows[::-1], rows[:, ::-1], -rows])
    table[9, 5] = 1
    alphabet = 1 << 8 * table.itemsize
    same_context([patterns(table), patterns(rows)], alphabet, fmt)


def test_context_on_what_is_mirrored_as_a_whole():
    """Back to the first weight: without a break, and with one just before it"""
    rows = random().normal(size=(5, 30)).astype(np.float16)
    whole = np.concatenate([rows, rows[::-1, ::-1]])
    broken = whole.copy()
    broken[-1, -5] = 0
    same_context([patterns(whole), patterns(broken)], 1 << 16, "float16")


def test_context_on_repeats_whose_last_bits_differ():
    rows = patterns(random().normal(size=(10, 40)).astype(np.float32))
    changed = rows ^ (random().random(rows.shape) < 0.1)
    same_context([np.concatenate([rows, changed]).astype(np.uint32)], 1 << 32, "float32")


def test_context_on_integers_that_recur_in_a_column():
    """Of 17 to 20 bits: tails of 10 to 13 bits, of which the longer ones are remembered"""
    few = random().integers(1 << 16, 1 << 20, (4, 12), np.uint32)
    table = few[random().integers(0, 4, (50, 12)), np.arange(12)]
    same_context([table], 1 << 20, "")


def test_context_on_tails_that_recur_in_a_column():
    base = random().normal(size=(1, 12)).astype(np.float32)
    signs = random().choice([-1, 1], (60, 12)).astype(np.float32)
    shrunk = base * signs * random().choice([1, 1, 1.5], (60, 12)).astype(np.float32)
    same_context([patterns(shrunk)], 1 << 32, "float32")


@pytest.mark.parametrize("alphabet", [1, 2, 3, 15, 255, 256, 65535, 1 << 16, 1 << 32])
def test_context_on_integers(alphabet):
    random_ = random()
    shapes = [(20, 15), (33,), (4, 3, 2, 2), ()]
    dtype = np.min_scalar_type(alphabet - 1)
    parts = [random_.integers(0, alphabet, shape, np.uint64).astype(dtype) for shape in shapes]
    middle = random_.binomial(min(alphabet - 1, 60), 0.5, (25, 12)).astype(dtype)
    same_context([*map(np.asarray, parts), middle], alphabet, "")


@pytest.mark.slow
def test_context_beyond_the_recent_tails_that_it_tries():
    """8,192 tails in vain, and others before them that hit"""
    table = random().normal(size=(600, 20)).astype(np.float32)
    table[20:60:2] = table[19:59:2]
    same_context([patterns(table)], 1 << 32, "float32")


@pytest.mark.slow
def test_context_beyond_the_searches_that_it_makes():
    """Without a match for long, few places are searched; with one, more are, up to a limit"""
    random_ = random()

    def noise(size):
        octave = random_.integers(0x3C00, 0x4000, size, np.uint16)
        return octave | random_.integers(0, 2, size, np.uint16) << np.uint16(15)

    def copies(weights):
        for length in random_.integers(5, 40, 60):
            start = random_.integers(0, weights.size - 40)
            weights = np.concatenate([weights, weights[start : start + length], noise(300)])
        return weights

    twice = np.tile(noise(4500), 2)
    few = copies(noise(32_768 + 40))
    many = copies(np.concatenate([twice, noise(65_536 + 40)]))
    same_context([few, many], 1 << 16, "float16")


@pytest.mark.slow
def test_context_where_hashes_of_matches_collide():
    """A match is lost where another place has its slot; 25,000 places, looked up time and again"""
    table = random().normal(size=(25_000, 1)).astype(np.float16)
    again = table.copy()
    again[::7] = 0
    parts = [patterns(np.concatenate([table, again, again[::-1]]))]
    same_context(parts, 1 << 16, "float16")


@pytest.mark.slow
def test_context_on_a_row_of_more_columns_than_are_told_apart():
    row = np.zeros((1, (1 << 20) + 50), np.float16)
    row[:, ::5000] = random().normal(size=row[:, ::5000].shape)
    row[:, -50:] = random().normal(size=50)
    same_context([patterns(row)], 1 << 16, "float16")


# --- the predictive code --------------------------------------------------------------------


def same_predictive(parts, alphabet, fmt):
    """The decoder finds the same symbols; returns the code."""
    shapes = [part.shape for part in parts]
    data = get_code("predictive").encode(parts, Alphabet(alphabet, fmt))
    symbols = [symbol for part in parts for symbol in part.reshape(-1).tolist()]
    assert kmo.decode_code(15, data, shapes, alphabet, fmt) == symbols
    return data


@pytest.mark.parametrize("fmt", list(FLOATS))
def test_predictive_on_every_format(fmt):
    """Weights that decayed, kernels, any bits, zeros, what is empty"""
    dtype, width = FLOATS[fmt], np.dtype(FLOATS[fmt]).itemsize
    random_ = random()
    wide = random_.normal(size=(8, 12)) * 2.0 ** random_.integers(-40, 3, (8, 12))
    any_bits = random_.integers(0, 256, (2, 30 * width), np.uint8).view(f"u{width}")
    with np.errstate(over="ignore"):
        parts = [patterns(array.astype(dtype)) for array in (
            wide,
            random_.normal(0, 0.05, (2, 3, 3, 3)),
            np.float64(0.5).reshape(()),
            np.zeros((0, 3)),
            random_.normal(size=(4, 15)) * (random_.random((4, 15)) < 0.2),
        )]  # fmt: skip
    same_predictive([*parts, any_bits], 1 << 8 * width, fmt)


@pytest.mark.parametrize("alphabet", [1, 2, 15, 255, 65535, 1 << 32])
def test_predictive_on_integers(alphabet):
    random_, dtype = random(), np.min_scalar_type(alphabet - 1)
    shapes = [(9, 11), (13,), (4, 3, 2, 2), ()]
    parts = [random_.integers(0, alphabet, shape, np.uint64).astype(dtype) for shape in shapes]
    middle = random_.binomial(min(alphabet - 1, 60), 0.5, (10, 12)).astype(dtype)
    same_predictive([*map(np.asarray, parts), middle], alphabet, "")


def test_predictive_on_kernels_in_another_scan_whose_columns_are_correlated():
    """51 rows, of which the last three have factors"""
    smooth = np.cumsum(random().normal(size=(51, 5, 3, 3)), axis=2)
    data = same_predictive([patterns(smooth.astype(np.float32))], 1 << 32, "float32")
    numbers = Reader(data)
    assert [numbers.varint() for _ in range(3)][2] // 2 > 0


def test_predictive_where_factors_are_made_twice():
    """At 48 and 112 rows; and in a table of which only some columns ever vary"""
    random_ = random()
    rows = random_.normal(size=(118, 3)) @ random_.normal(size=(3, 8))
    rows += 0.1 * random_.normal(size=rows.shape)
    symbols = np.rint(10 * rows + 128).clip(0, 255).astype(np.uint8)
    same_predictive([symbols], 256, "")
    still = rows[:70, :6].astype(np.float16)
    still[:, 2:4] = 0.25
    same_predictive([patterns(still)], 1 << 16, "float16")


def test_predictive_on_bands_of_columns():
    """Two rows: twenty columns a band"""
    waves = np.sin(np.arange(130) * 0.1).reshape(2, 65) + 0.01 * random().normal(size=(2, 65))
    same_predictive([patterns(waves.astype(np.float32))], 1 << 32, "float32")


@pytest.mark.parametrize("sign", [1, -1])
def test_predictive_on_symmetric_tables(sign):
    table = random().normal(size=(17, 17)).astype(np.float32)
    data = same_predictive([patterns(table + sign * table.T)], 1 << 32, "float32")
    numbers = Reader(data)
    assert [numbers.varint() for _ in range(3)][2] % 2 == 1


def test_predictive_where_a_mirror_is_broken_before_the_diagonal():
    """The match must not go on beyond it, where columns are not yet known"""
    table = random().normal(size=(20, 20)).astype(np.float32)
    table += table.T
    table[np.arange(3, 20), np.arange(17)] = 1
    same_predictive([patterns(table)], 1 << 32, "float32")


def test_predictive_where_small_sums_are_no_correlations():
    """Equal columns that decayed, and neighbours beside an outlier, whose sums are rounded"""
    decayed = random().normal(size=(52, 8))
    decayed[:, 2:] = decayed[:, 2:3] * 1e-4
    tiny = -np.abs(random().normal(size=(12, 10)) * 1e-7)
    tiny[0, 0] = 1
    for table in (decayed, tiny):
        same_predictive([patterns(table.astype(np.float32))], 1 << 32, "float32")


def test_predictive_on_rows_that_are_repeated_and_shifted():
    """Matches of whole weights, broken ones that go on, and signs that are all flipped"""
    random_ = random()
    rows = random_.normal(size=(6, 40)).astype(np.float32)
    copied = np.concatenate([rows, rows, -rows])
    copied[8, 5] = copied[15, 30] = 1
    line = random_.normal(size=70).astype(np.float32)
    toeplitz = np.array([line[k : k + 30] for k in range(20)])
    same_predictive([patterns(copied), patterns(toeplitz)], 1 << 32, "float32")


def test_predictive_on_weights_that_decayed_to_nothing():
    """Escapes, and an outlier beside which neighbours have no value"""
    table = random().normal(size=(14, 20))
    tiny = np.where(np.arange(20) % 3 > 0, table * 1e-20, table).astype(np.float32)
    doubles = np.concatenate([tiny[:6] * 1e-30, [[1e9] * 20]]).astype(np.float64)
    same_predictive([patterns(tiny)], 1 << 32, "float32")
    same_predictive([patterns(doubles)], 1 << 64, "float64")


def test_predictive_on_floats_that_end_in_zeros():
    """Of two narrower formats, in rows; and multiples of a power of two"""
    table = random().normal(size=(18, 20))
    table[:6] = table[:6].astype(np.float16)
    table[6:12] = table[6:12].astype(np.float32)
    same_predictive([patterns(table)], 1 << 64, "float64")
    grid = (random().integers(-(2**20), 2**20, (9, 20)) / 2**24).astype(np.float32)
    same_predictive([patterns(grid)], 1 << 32, "float32")


@pytest.mark.slow
def test_predictive_where_bands_have_factors():
    rows = np.cumsum(random().normal(size=(50, 216)), axis=1).astype(np.float32)
    same_predictive([patterns(rows)], 1 << 32, "float32")


# --- the trellis code -----------------------------------------------------------------------


def same_trellis(tables, half):
    """The decoder finds the same symbols of tables of levels."""
    parts = [as_part(table, half)[0] for table in tables]
    data = get_code("trellis").encode(parts, Alphabet(2 * half + 1))
    symbols = [symbol for part in parts for symbol in part.reshape(-1).tolist()]
    shapes = [part.shape for part in parts]
    assert kmo.decode_code(16, data, shapes, 2 * half + 1, "") == symbols


def indices(*shape, spread):
    return np.rint(random().normal(0, spread, shape)).astype(np.int64)


@pytest.mark.parametrize(("memory", "spread"), [(2, 0.1), (3, 3), (4, 1), (6, 0.4), (6, 40)])
def test_trellis_of_every_memory(memory, spread):
    """From state 0, and from any; indices that are counted up to, and longer ones"""
    starts = random().integers(0, 1 << memory, 11)
    tables = [
        obeying(indices(20, 8, spread=spread), memory),
        obeying(indices(30, 11, spread=spread), memory, starts),
    ]
    same_trellis(tables, 511)


def test_trellis_of_correlated_columns():
    """With factors at 32 rows, for the rows after"""
    rows = random().normal(size=(75, 3)) @ random().normal(size=(3, 9))
    drawn = np.rint(3 * rows + random().normal(size=rows.shape)).astype(np.int64)
    same_trellis([obeying(drawn)], 63)


def test_trellis_of_bands_of_columns():
    same_trellis([obeying(indices(2, 65, spread=2))], 31)


def test_trellis_of_parts_of_every_shape():
    table = obeying(indices(36, 12, spread=2))
    shapes = [(36, 12), (36, 2, 3, 2), (0, 3), (36, 12, 1)]
    tables = [np.resize(table, shape) for shape in shapes]
    same_trellis([*tables, np.zeros((40, 5), int), table[0], np.array(2)], 31)


def test_trellis_of_the_longest_indices():
    """Of 18 bits; and outliers among zeros"""
    most = (1 << 18) - 1
    far = np.where(random().random((50, 6)) < 0.1, indices(50, 6, spread=1e5), 0)
    same_trellis([obeying(far.clip(-most, most)), obeying(np.full((9, 4), most))], (1 << 19) - 1)


@pytest.mark.parametrize("data", [b"\x0a\x03", b"\x0c\x14", b"\x05\x03\x04", b"\x0d\x03", b""])
def test_trellis_heads_that_are_refused(data):
    with pytest.raises(Damaged):
        kmo.decode_code(16, data, [(40, 1)], 15, "")
    with pytest.raises(InputError):
        get_code("trellis").decode(data, [(40, 1)], Alphabet(15))


@settings(max_examples=20)
@given(st.integers(0, 80), st.integers(1, 255), st.integers(0, 80))
def test_damage_of_a_trellis_is_read_alike(place, flipped, kept):
    """Other symbols, or refused by both: a level out of the alphabet, an end too early"""
    part, alphabet = as_part(obeying(indices(30, 4, spread=3)), 63)
    data = bytearray(get_code("trellis").encode([part], alphabet)[: 30 + kept])
    data[place % len(data)] ^= flipped
    try:
        (found,) = get_code("trellis").decode(bytes(data), [part.shape], alphabet)
    except InputError:
        with pytest.raises(Damaged):
            kmo.decode_code(16, bytes(data), [part.shape], alphabet.size, "")
    else:
        expected = found.reshape(-1).tolist()
        assert kmo.decode_code(16, bytes(data), [part.shape], alphabet.size, "") == expected


# --- the mixing and counts codes ------------------------------------------------------------


def same_mixing(parts, alphabet):
    shapes = [part.shape for part in parts]
    data = get_code("mixing").encode(parts, Alphabet(alphabet))
    symbols = [symbol for part in parts for symbol in part.reshape(-1).tolist()]
    assert kmo.decode_code(8, data, shapes, alphabet, "") == symbols


@pytest.mark.parametrize("alphabet", [1, 2, 3, 17, 300, 5000])
def test_mixing_of_tables_that_feed_each_other(alphabet):
    random_ = random()
    shapes = [(20, 12), (8, 20), (1, 9), (3, 4), (5, 12), (40,), (0, 3), (7, 5), (2, 7), (9, 4), ()]
    parts = [
        np.asarray(random_.geometric(0.5, shape) - 1).clip(0, alphabet - 1).astype(np.uint16)
        for shape in shapes
    ]
    parts[0][3] = random_.integers(0, alphabet, 12)
    parts[1][:, :5] = 0
    parts.append(random_.integers(0, alphabet, (12, 25), np.uint16))
    same_mixing(parts, alphabet)


def test_mixing_where_all_symbols_are_alike():
    """Probabilities, and what is mixed of them, reach their limits"""
    rare = (random().random((60, 60)) < 0.001).astype(np.uint8)
    same_mixing([rare, 2 - rare, np.full((3, 900), 70, np.uint8), rare[:2]], 100)


def test_mixing_of_a_table_that_long_rows_feed():
    random_ = random()
    rows = random_.random((3, 18_000)) < np.array([[0.3], [0.6], [0.97]])
    fed = random_.random((600, 3)) < np.array([0.1, 0.5, 0.9])
    same_mixing([rows.astype(np.uint8), fed.astype(np.uint8)], 2)


@pytest.mark.parametrize("shape", [(3,), (50, 30)])
@pytest.mark.parametrize("alphabet", [2, 5, 16, 255, 65536])
def test_counts_with_every_prior(alphabet, shape):
    parts = [random().integers(0, alphabet, shape, np.uint16, endpoint=False) for _ in range(2)]
    data = get_code("counts").encode(parts, Alphabet(alphabet))
    symbols = [symbol for part in parts for symbol in part.reshape(-1).tolist()]
    assert kmo.decode_code(11, data, [shape, shape], alphabet, "") == symbols
