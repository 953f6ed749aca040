"""docs/formats/ is enough: decoders written from it alone read what kolmo and momos write.

What is compared are bit patterns, of whole files and, where a case needs it, of single codes.
"""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.codes.base import RESERVED, code_numbers, get_code
from kolmo.codes.choosing import PRESETS
from kolmo.symbols import Alphabet
from tests.checkpoints import contents, tensors
from tests.formats import context, kmo, laws, mixing, rounding
from tests.formats.bits import Damaged, Reader
from tests.formats.cases import FLOATS, PAGES, as_contents, example, facts, random, summed
from tests.golden.measured import FOLDER

ORDINARY = ("raw", "zstd", "xz", "brotli", "bz2", "deflate", "context", "byteplanes", "records")


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


def test_the_tables_are_those_whose_digests_the_pages_give():
    pages = {path.name: path.read_text() for path in PAGES.glob("*.md")}
    for page, tables in (
        ("codes.md", mixing.tables()),
        ("context.md", context.tables()),
        ("predictive.md", [laws.chances()]),
    ):
        for table in tables:
            digest = hashlib.sha256(np.array(table, "<i4").tobytes()).hexdigest()
            assert f"| {len(table):,} | `{digest}` |" in pages[page]
    assert hashlib.sha256(kmo.dictionary()).hexdigest() in pages["kmo.md"]


def test_every_code_has_its_number_on_the_page():
    page = (PAGES / "codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \[(\w+)\]", page, re.M)
    assert {name: int(number) for number, name in rows} == code_numbers() | RESERVED


# --- .kmo files -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["best", "default", "fast"])
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
    *("symmetric:4,axis=row", "symmetric:8,axis=column", "symmetric:3,group=7"),
    *("nmse:0.001", "nmse:0.2,axis=row", "nmse:0.01,axis=column", "nmse:0.01,axis=tensor"),
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


def test_weights_beyond_the_grid(tmp_path):
    source = {"w": random().normal(size=(40, 100)).astype(np.float32)}
    source["w"][1, 27] = 60.3
    agreed(tmp_path / "x.kmo", source, quantizer="nmse:0.001,axis=tensor")
    (tensor,) = kmo.read_file((tmp_path / "x.kmo").read_bytes()).tensors
    assert tensor.values[5:] == [127.0, source["w"][1, 27]]


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


@pytest.mark.parametrize(("dtype", "step"), [("float64", 1), ("float32", 0.05), ("bfloat16", 0.3)])
def test_lossy_files(tmp_path, dtype, step):
    """Matrices with and without a trellis, kernels, vectors, zeros, what is kept, and a copy"""
    source = {
        "w": random().normal(size=(40, 12)).astype(FLOATS[dtype]),
        "short": random().normal(size=(9, 20)).astype(FLOATS[dtype]),
        "kernels": random().normal(size=(33, 2, 3, 1)).astype(FLOATS[dtype]),
        "bias": (random().normal(size=11) * 100).astype(FLOATS[dtype]),
        "zeros": np.zeros((34, 3), FLOATS[dtype]),
        "kept": random().normal(size=(5, 4)).astype(FLOATS[dtype]),
        "steps": np.array(7),
    }
    source["copy"] = source["w"].copy()
    important = {"w": random().uniform(0.1, 9, (40, 12))}
    options = {"importance": important, "exclude": ["kept"]}
    curve = kolmo.curve(source, steps=[step], folder=tmp_path, **options)
    (path,) = [Path(point.path) for point in curve.points]
    back = contents(kolmo.unpack(path, tmp_path / "back.safetensors"))
    assert as_contents(kmo.read_weights(path.read_bytes())) == back
    assert 16 in {unit.code for unit in kmo.read_file(path.read_bytes()).units}


def test_a_constant_copies_and_what_is_empty(tmp_path):
    table = random().normal(size=(6, 4)).astype(np.float32)
    source = {"a": table, "b": table.reshape(4, 6).copy(), "c": np.zeros((0, 2)), "d": table.copy()}
    agreed(tmp_path / "copies.kmo", source)
    file = kmo.read_file((tmp_path / "copies.kmo").read_bytes())
    assert [tensor.copy for tensor in file.tensors] == [0, 1, 0, 1]
    assert agreed(tmp_path / "c.kmo", {"w": np.full((9, 9), 2.5)}) == ["constant"]
    beside = {"e": np.zeros(0, np.float32), "w": np.full((9, 9), 2.5)}
    assert agreed(tmp_path / "e.kmo", beside) == ["constant"]


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


def mosaic_source(dtype=np.float32, count=2):
    random_ = random()
    motifs = random_.normal(size=(12, 4)).astype(dtype)
    return {
        f"w{n}": motifs[random_.integers(0, 12, 20 * (15 + n))].reshape(20, -1)
        for n in range(count)
    }


def test_a_mosaic_of_one_dictionary(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "best", ("constant", "context", "raw"))  # others are shorter
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
    def is_slow(path):
        return path.stem in (
            *("random-best", "trained-best", "trained-codebook-16-best"),
            *("trained-symmetric-8-best", "repeat-best", "rolling-best"),
        )

    return [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * is_slow(path))
        for path in sorted(FOLDER.glob(pattern))
    ]


@pytest.mark.parametrize("path", kept("kmo-*/*.kmo"))
def test_containers_that_are_kept(path):
    assert summed(kmo.read_weights(path.read_bytes())) == facts(path)


# --- damage ---------------------------------------------------------------------------------


def test_damage_is_refused(tmp_path):
    kolmo.pack(compressible(np.float32), tmp_path / "x.kmo", threads=1)
    data = (tmp_path / "x.kmo").read_bytes()
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(Damaged):
            kmo.read_file(bytes(damaged))
