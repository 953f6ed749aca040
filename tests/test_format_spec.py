"""docs/formats/ is enough: decoders written from it alone read what kolmo and momos write.

What is compared are bit patterns, of whole files and, where a case needs it, of single codes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.codes.base import RESERVED, code_numbers, get_code
from kolmo.codes.choosing import PRESETS
from kolmo.symbols import Alphabet
from momos.mosaic.blocks import Partition
from momos.mosaic.files import read_header
from momos.mosaic.mosaic import Mosaic
from tests.checkpoints import contents, tensors
from tests.formats import context, kmo, mixing, mosaic, rounding
from tests.formats.bits import Damaged, Reader
from tests.golden.measured import FOLDER

PAGES = Path("docs/formats")
ORDINARY = ("raw", "zstd", "xz", "brotli", "bz2", "deflate", "context", "byteplanes")
FLOATS = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}


def random():
    return np.random.default_rng(0)


def as_contents(weights):
    """What the specification's decoder found, as `tests.checkpoints.contents` has it."""
    return {name: (dtype, bits.shape, bits.tobytes()) for name, (dtype, bits) in weights.items()}


def agreed(path, source, preset="best", quantizer="native"):
    """Pack; both decoders find the same weights. The names of the units' codes."""
    certificate = kolmo.pack(source, path, preset=preset, quantizer=quantizer, threads=1)
    back = contents(kolmo.unpack(path, path.with_suffix(".safetensors"), threads=1))
    assert as_contents(kmo.read_weights(path.read_bytes())) == back
    return [unit.code for unit in certificate.units]


@pytest.fixture
def preset(monkeypatch):
    """Makes a preset of one code; it packs, unless fixed width is shorter."""

    def make(name):
        monkeypatch.setitem(PRESETS, f"only {name}", tuple(dict.fromkeys((name, "raw"))))
        return f"only {name}"

    return make


def compressible(dtype):
    """Random bits, the lower half of each zero, or few values: all codes gain, but no mosaic is."""
    width = np.dtype(dtype).itemsize
    bits = random().integers(0, 1 << 8 * width, (24, 30), np.uint64)
    zeroed = bits >> np.uint64(4 * width) << np.uint64(4 * width)
    patterns = (zeroed if width > 1 else laplace() + 60).astype(f"u{width}")
    return {"w": patterns.view(dtype), "b": patterns[0].view(dtype)}


def laplace():
    return np.rint(random().laplace(0, 2, (40, 50)))


def noise(dtype):
    bits = random().integers(0, 256, (24, 30 * np.dtype(dtype).itemsize), np.uint8)
    return {"w": bits.view(dtype)}


# --- the pages ------------------------------------------------------------------------------


def test_the_decoders_import_nothing_of_ours():
    for path in Path("tests/formats").glob("*.py"):
        imported = {
            alias.name if isinstance(node, ast.Import) else node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not {name for name in imported if name.split(".")[0] in ("kolmo", "momos")}, path
        ours = {name for name in imported if name.startswith("tests")}
        assert all(name.startswith("tests.formats") for name in ours), path


def example(page):
    """The bytes of the first block of hex on a page."""
    return bytes.fromhex(re.search(r"```hex\n(.*?)```", (PAGES / page).read_text(), re.S)[1])


def test_the_example_of_a_kmo_file_holds_what_the_page_says(tmp_path):
    data, path = example("kmo.md"), tmp_path / "example.kmo"
    path.write_bytes(data)
    found = kmo.read_weights(data)
    assert as_contents(found) == contents(kolmo.unpack(path, tmp_path))
    weights = (np.array([[14, 3], [9, 7]]) - 7) * (1 / 7)
    for name in ("w", "tied"):
        assert found[name][0] == "float32"
        assert np.array_equal(found[name][1].view(np.float32), weights.astype(np.float32))
    assert len(data) == 66
    assert kmo.read_file(data).tensors[1].copy == 1


def test_the_example_of_a_mosaic_file_holds_what_the_page_says(tmp_path):
    data, path = example("mosaic.md"), tmp_path / "example.mosaic"
    path.write_bytes(data)
    found = mosaic.read_weights(data)
    assert found["w"][1].view(np.float32).tolist() == [[1, 2, 0, 0], [1, 2, 1, 2]]
    assert found["step"][1].view(np.int64).tolist() == 7
    same_mosaic(Mosaic.load(path), data)
    assert len(data) == 148


def test_the_tables_are_those_whose_digests_the_pages_give():
    pages = {name: (PAGES / name).read_text() for name in ("codes.md", "context.md", "kmo.md")}
    for page, tables in (("codes.md", mixing.tables()), ("context.md", context.tables())):
        for table in tables:
            digest = hashlib.sha256(np.array(table, "<i4").tobytes()).hexdigest()
            assert f"| {len(table):,} | `{digest}` |" in pages[page]
    assert hashlib.sha256(kmo.dictionary()).hexdigest() in pages["kmo.md"]


def test_every_code_has_its_number_on_the_page():
    page = (PAGES / "codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \[(\w+)\]", page, re.M)
    assert {name: int(number) for number, name in rows} == code_numbers() | RESERVED


# --- .kmo files -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["best", "fast"])
def test_every_dtype_and_special_value(tmp_path, name):
    agreed(tmp_path / "x.kmo", tensors(), name)


@pytest.mark.parametrize("code", ORDINARY)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e5m2"])
def test_each_code_on_floats(tmp_path, preset, code, dtype):
    source = noise(FLOATS[dtype]) if code == "raw" else compressible(FLOATS[dtype])
    assert set(agreed(tmp_path / "x.kmo", source, preset(code))) == {code}


@pytest.mark.parametrize("code", [*ORDINARY, "mixing", "counts"])
@pytest.mark.parametrize("quantizer", ["symmetric:4", "symmetric:8", "codebook:9"])
def test_each_code_on_integers(tmp_path, preset, code, quantizer):
    source = {"w": laplace().astype(np.float32), "b": laplace()[0].astype(np.float32)}
    assert set(agreed(tmp_path / "x.kmo", source, preset(code), quantizer)) == {code}


QUANTIZERS = (
    *("sign", "symmetric:2", "symmetric:4", "symmetric:8", "codebook:1", "codebook:16"),
    *("affine:1", "affine:3", "affine:8", "affine:8,clip=99"),
)


@pytest.mark.parametrize(
    ("quantizer", "dtype"),
    [(quantizer, "float32") for quantizer in (*QUANTIZERS, "symmetric:16", "affine:16")]
    + [("affine:8", dtype) for dtype in FLOATS if dtype != "float32"],
)
def test_quantizers_and_rounding(tmp_path, quantizer, dtype):
    source = {
        "w": random().normal(size=(9, 20)).astype(FLOATS[dtype]),
        "large": (random().normal(size=11) * 100).astype(FLOATS[dtype]),
        "none": np.zeros((0, 3), FLOATS[dtype]),
        "zero": np.zeros(5, FLOATS[dtype]),
        "integers": np.arange(-20, 20, dtype=np.int16),
    }
    agreed(tmp_path / "x.kmo", source, quantizer=quantizer)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_rounding_to_formats_of_few_bits(dtype):
    """ml_dtypes as the oracle, by way of float32; ties, subnormals and what is too large too"""
    narrow = FLOATS[dtype]
    every = np.arange(1 << 8 * np.dtype(narrow).itemsize, dtype=f"u{np.dtype(narrow).itemsize}")
    values = np.array([float(value) for value in every.view(narrow)])
    values = np.unique(values[np.isfinite(values)])[:: 61 if dtype == "bfloat16" else 1]
    middles = (values[1:] + values[:-1]) / 2
    near = np.concatenate([middles * (1 + step) for step in (0, 2.0**-40, 2.0**-20, -(2.0**-20))])
    tested = np.concatenate([values, near, 2 * values, random().normal(size=500)])
    with np.errstate(over="ignore"):
        expected = tested.astype(np.float32).astype(narrow).view(every.dtype)
        assert np.array_equal(tested.astype(narrow).view(every.dtype), expected)
    assert np.array_equal(rounding.to_bits(tested, dtype), expected)


def test_a_constant_copies_and_what_is_empty(tmp_path):
    table = random().normal(size=(6, 4)).astype(np.float32)
    source = {"a": table, "b": table.reshape(4, 6).copy(), "c": np.zeros((0, 2)), "d": table.copy()}
    agreed(tmp_path / "copies.kmo", source)
    file = kmo.read_file((tmp_path / "copies.kmo").read_bytes())
    assert [tensor.copy for tensor in file.tensors] == [0, 1, 0, 1]
    assert agreed(tmp_path / "c.kmo", {"w": np.full((9, 9), 2.5)}) == ["constant"]
    assert agreed(tmp_path / "e.kmo", {"w": np.zeros(0, np.float32)}) == []


def test_repeats_of_another_tensor(tmp_path, preset):
    first = random().integers(0, 256, (600, 512), np.uint8)
    second = first.copy()
    second[:20] += 1
    codes = agreed(tmp_path / "x.kmo", {"a": first, "b": second}, preset("raw"))
    assert sorted(codes) == ["raw", "raw", "repeat"]


@pytest.mark.parametrize(("quantizer", "width"), [("native", 1), ("symmetric:3", 2)])
def test_byteplanes_of_several_blocks_and_small_parts(tmp_path, quantizer, width):
    """By rANS, which the data makes the shortest; 327,680 bytes are two blocks and a half"""
    random_ = random()
    source = {
        f"w{n}": random_.binomial(1, 0.2, width * size).astype(np.int8)
        for n, size in enumerate([70_000, 300, 20, 2047, 130_000, 327_680, 5, 2048])
    }
    assert set(agreed(tmp_path / "x.kmo", source, "fast", quantizer)) == {"byteplanes"}
    units = kmo.read_file((tmp_path / "x.kmo").read_bytes()).units
    assert [Reader(unit.data).varint() % 4 for unit in units] == [2] * len(units)


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


def mosaic_source(dtype=np.float32, count=2):
    random_ = random()
    motifs = random_.normal(size=(12, 4)).astype(dtype)
    return {
        f"w{n}": motifs[random_.integers(0, 12, 20 * (15 + n))].reshape(20, -1)
        for n in range(count)
    }


def test_a_mosaic_of_one_dictionary(tmp_path):
    source = mosaic_source() | {"odd": mosaic_source()["w0"].reshape(-1)[:1101]}
    assert agreed(tmp_path / "x.kmo", source) == ["mosaic"]
    assert mode_of(tmp_path / "x.kmo") == 0


def test_a_mosaic_of_a_dictionary_a_tensor(tmp_path):
    random_ = random()
    motifs = random_.normal(size=(4, 20, 3)).astype(np.float32)
    source = {
        f"layer {n}": table[random_.integers(0, 20, (60, 10))].reshape(60, 30)
        for n, table in enumerate(motifs)
    }
    assert agreed(tmp_path / "x.kmo", source) == ["mosaic"]
    assert mode_of(tmp_path / "x.kmo") == 1


def test_a_mosaic_with_scales(tmp_path):
    halves = mosaic_source(np.float16)
    source = {"w0": halves["w0"] * np.float32(0.0123), "w1": halves["w1"] * np.float32(4.56)}
    assert agreed(tmp_path / "x.kmo", source) == ["mosaic"]
    assert mode_of(tmp_path / "x.kmo") == 2


def test_a_mosaic_of_integers_and_of_few_symbols(tmp_path):
    codes = agreed(tmp_path / "x.kmo", {"w": mosaic_source()["w0"].view(np.int32)})
    assert codes == ["mosaic"]
    for size in (1, 2):
        motifs = random().integers(0, 1 << 64, (9, size), np.uint64)
        part = motifs[random().integers(0, 9, (40, 21))].reshape(40, -1)
        for fmt in ("", "float64"):
            data = get_code("mosaic").encode([part], Alphabet(1 << 64, fmt))
            assert data[1] == size
            assert kmo.decode_code(2, data, [part.shape], 1 << 64, fmt) == part.reshape(-1).tolist()


def mode_of(path):
    return kmo.read_file(path.read_bytes()).units[0].data[0]


# --- files that are kept --------------------------------------------------------------------


def kept(pattern):
    slow = ("random-best", "trained-best", "trained-codebook-16-best", "trained-symmetric-8-best")
    return [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in slow))
        for path in sorted(FOLDER.glob(pattern))
    ]


def facts(path):
    """What was written down of a file when it was made."""
    return json.loads(path.parent.with_suffix(".json").read_text())[path.stem]["tensors"]


def summed(weights):
    return {
        name: [dtype, list(bits.shape), hashlib.sha256(bits.tobytes()).hexdigest()]
        for name, (dtype, bits) in weights.items()
    }


@pytest.mark.parametrize("path", kept("kmo-1/*.kmo"))
def test_containers_that_are_kept(path):
    assert summed(kmo.read_weights(path.read_bytes())) == facts(path)


@pytest.mark.parametrize("path", kept("mosaic-2/*.mosaic"))
def test_mosaic_files_that_are_kept(path):
    assert summed(mosaic.read_weights(path.read_bytes())) == facts(path)


# --- the context code -----------------------------------------------------------------------


def same_context(parts, alphabet, fmt):
    shapes = [part.shape for part in parts]
    data = get_code("context").encode(parts, Alphabet(alphabet, fmt))
    symbols = [symbol for part in parts for symbol in part.reshape(-1).tolist()]
    assert kmo.decode_code(9, data, shapes, alphabet, fmt) == symbols


def patterns(array):
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


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


# --- damage ---------------------------------------------------------------------------------


def test_damage_is_refused(tmp_path):
    kolmo.pack(compressible(np.float32), tmp_path / "x.kmo", threads=1)
    data = (tmp_path / "x.kmo").read_bytes()
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(Damaged):
            kmo.read_file(bytes(damaged))


# --- .mosaic files --------------------------------------------------------------------------


def same_mosaic(made, data):
    expected = {
        name: (array.dtype.name, array.shape, array.tobytes())
        for name, array in made.arrays().items()
    }
    assert as_contents(mosaic.read_weights(data)) == expected


def agreed_mosaic(path, made):
    made.save(path, {"made": "by a test"})
    same_mosaic(Mosaic.load(path), path.read_bytes())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("motif_dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("scales", ["none", "one", "rows"])
def test_mosaics_at_every_precision(tmp_path, dtype, motif_dtype, scales):
    random_ = random()
    shapes = {"conv": (6, 2, 3, 3), "scalar": (), "head": (5, 7), "bias": (9,), "empty": (0, 4)}
    partition = Partition(shapes, 3)
    motifs = random_.normal(size=(11, 3)).astype(FLOATS[motif_dtype])
    indices = random_.integers(0, 11, partition.count).astype(np.uint8)
    rows = {name: shape[0] if shape else 1 for name, shape in shapes.items() if name != "empty"}
    numbers = {"none": {}, "one": dict.fromkeys(shapes, 1), "rows": rows}[scales]
    factors = {name: random_.normal(size=n).astype(np.float32) for name, n in numbers.items()}
    dense = {"steps": np.array(7), "flags": np.array([True, False])}
    names = ("steps", *shapes, "flags")
    made = Mosaic(partition, motifs, indices, dense, names, factors, np.dtype(FLOATS[dtype]))
    agreed_mosaic(tmp_path / "x.mosaic", made)


@pytest.mark.parametrize(("motifs", "code"), [(1, "packed"), (256, "packed"), (4, "mixed")])
def test_mosaics_with_both_codes_of_indices(tmp_path, motifs, code):
    random_ = random()
    partition = Partition({"a": (30, 20), "b": (13, 30)}, 2)
    skewed = np.minimum(random_.geometric(0.7, partition.count) - 1, motifs - 1)
    indices = random_.integers(0, motifs, partition.count) if motifs > 4 else skewed
    made = Mosaic(
        partition,
        random_.normal(size=(motifs, 2)).astype(np.float32),
        indices.astype(np.uint8),
        {},
        ("a", "b"),
    )
    agreed_mosaic(tmp_path / "x.mosaic", made)
    assert read_header(tmp_path / "x.mosaic")["indices"] == code


def test_the_mosaic_that_the_repository_has():
    path = Path("data/momos.mosaic")
    same_mosaic(Mosaic.load(path), path.read_bytes())
