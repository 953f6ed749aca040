"""Certificates: what is packed comes back bit for bit, from a file of exactly the stated length."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.checkpoints.opening import open_source
from kolmo.codes.base import get_code
from kolmo.codes.choosing import PRESETS
from kolmo.codes.mosaic import MosaicCode
from kolmo.container.format import read_contents
from kolmo.errors import InputError, KolmoError, NotExpressibleError
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet
from tests.checkpoints import contents, tensors
from tests.test_cli import refused, run

FLOATS = Alphabet(2**32, "float32")

RANDOM = np.random.default_rng(0)
DEMOS = ("random", "trained", "momos")
DTYPES = [
    *("bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
]


def packed(source, path, **options):
    """The certificate, and the container's tensors as raw bytes; all arrays are packed."""
    certificate = kolmo.pack(open_source(source), path, threads=1, **options)
    return certificate, contents(kolmo.unpack(path, path.with_suffix(".safetensors"), threads=1))


def test_a_directory_to_unpack_to_is_made(tmp_path):
    path = kolmo.pack(open_source({"w": RANDOM.normal(size=9)}), tmp_path / "x.kmo").path
    made = kolmo.unpack(path, tmp_path / "some" / "where")
    assert made == tmp_path / "some" / "where" / "x.safetensors"
    assert made.exists()


@st.composite
def arrays(draw):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 7), max_size=4)))
    size = math.prod(shape) * dtype.itemsize
    random = np.random.default_rng(draw(st.integers(0, 99)))
    content = draw(st.sampled_from(["bits", "zeros", "few", "smooth"]))
    data = random.integers(0, 256, size, np.uint8)
    if content == "zeros":
        data[:] = 0
    elif content == "few":
        data = data % 3 + 126
    elif content == "smooth":
        data = np.arange(size).astype(np.uint8)
    if dtype.name == "bool":
        data %= 2
    array = data.view(dtype).reshape(shape)
    if draw(st.booleans()):
        array = array.T
    if draw(st.booleans()) and array.dtype.kind != "V" and array.dtype.itemsize > 1:
        array = array.astype(array.dtype.newbyteorder(">"))
    return array


@given(st.lists(arrays(), min_size=1, max_size=4), st.sampled_from(list(PRESETS)))
@settings(max_examples=25)
def test_whatever_is_packed_comes_back(tmp_path_factory, found, preset):
    assume(any(array.size for array in found))
    source = {f"tensor {number}": array for number, array in enumerate(found)}
    path = tmp_path_factory.mktemp("pack") / "x.kmo"
    certificate, back = packed(source, path, preset=preset)
    assert back == contents(source)
    assert certificate.bits == 8 * path.stat().st_size
    besides = sum(certificate.roles.values())
    assert certificate.numel + besides == sum(array.size for array in found)
    assert certificate.raw_bits == sum(8 * array.nbytes for array in found)


def test_every_dtype_and_special_value(tmp_path):
    certificate, back = packed(tensors(), tmp_path / "x.kmo")
    assert back == contents(tensors())
    assert kolmo.verify(certificate.path, open_source(tensors())) == certificate
    row = next(row for row in certificate.tensors if row.name == "special")
    assert row.sha256 == hashlib.sha256(contents(tensors())["special"][2]).hexdigest()
    each = b"".join(bytes.fromhex(row.sha256) for row in certificate.tensors)
    assert certificate.sha256 == hashlib.sha256(each).hexdigest()


@pytest.mark.parametrize("name", DEMOS)
def test_demo_checkpoints(tmp_path, name):
    source = f"data/{name}.safetensors"
    certificate, back = packed(source, tmp_path / "x.kmo")
    assert back == contents(source)
    assert certificate.bits < {"random": 434_000, "trained": 463_000, "momos": 84_500}[name]
    assert kolmo.verify(certificate.path, source) == certificate


def test_a_projected_model_is_under_its_description_length(tmp_path):
    momos = pytest.importorskip("momos")
    nominal = momos.Mosaic.load("data/momos.mosaic").description_length()
    certificate = kolmo.pack("data/momos.safetensors", tmp_path / "x.kmo")
    assert [unit.code for unit in certificate.units] == ["mosaic"]
    assert certificate.bits < 0.9 * nominal


def test_dictionaries_of_tensors_that_share_no_motif(tmp_path):
    motifs = RANDOM.normal(size=(4, 20, 3)).astype(np.float32)
    source = {
        f"layer {n}": table[RANDOM.integers(0, 20, (60, 10))].reshape(60, 30)
        for n, table in enumerate(motifs)
    }
    certificate, back = packed(source, tmp_path / "x.kmo")
    assert back == contents(source)
    assert [unit.code for unit in certificate.units] == ["mosaic"]
    assert certificate.units[0].bits < 4 * (20 * 3 * 32 + 600 * 5)
    parts = [array.view(np.uint32) for array in source.values()]
    assert MosaicCode().encode(parts, FLOATS)[0] == 1  # one dictionary a tensor


@pytest.mark.parametrize(("size", "motifs"), [(1, 5), (4, 64)])
def test_learned_mosaics_are_told_apart_into_motifs_and_scales(size, motifs):
    random = np.random.default_rng(size)
    table = random.normal(size=(motifs, size)).astype(np.float16)
    table[0] = -0.0
    parts, nominal = [], 16 * table.size
    for shape in [(40, 60), (60, 40), (60,), (8, 3, 5)]:
        count = math.prod(shape) // size
        weights = table[random.integers(0, motifs, count)].astype(np.float32)
        parts.append((weights * np.float32(random.random())).reshape(shape).view(np.uint32))
        nominal += 32 + count * math.ceil(math.log2(motifs))
    data = MosaicCode().encode(parts, FLOATS)
    assert data[0] == 2
    assert 8 * len(data) < nominal + 200
    found = MosaicCode().decode(data, [part.shape for part in parts], FLOATS)
    assert all(np.array_equal(a, b) for a, b in zip(found, parts, strict=True))
    parts[1].flat[7] += 1  # no such product any more
    data = MosaicCode().encode(parts, FLOATS)
    assert data[0] < 2
    found = MosaicCode().decode(data, [part.shape for part in parts], FLOATS)
    assert all(np.array_equal(a, b) for a, b in zip(found, parts, strict=True))


def test_a_tensor_that_is_no_mosaic_stays_out_of_it(tmp_path):
    motifs = RANDOM.normal(size=(16, 4)).astype(np.float32)
    source = {
        "mosaic": motifs[RANDOM.integers(0, 16, (100, 25))].reshape(100, 100),
        "dense": RANDOM.normal(size=(50, 40)).astype(np.float32),
    }
    certificate, back = packed(source, tmp_path / "x.kmo")
    assert back == contents(source)
    codes = {row.name: row.code for row in certificate.tensors}
    assert codes["mosaic"] == "mosaic" != codes["dense"]


def test_copies_cost_nothing(tmp_path):
    weights = RANDOM.normal(size=(90, 50)).astype(np.float32)
    once = kolmo.pack({"a": weights}, tmp_path / "once.kmo")
    source = {"a": weights, "b": weights.copy(), "c": weights.reshape(-1).copy()}
    certificate, back = packed(source, tmp_path / "x.kmo")
    assert back == contents(source)
    assert certificate.bits < once.bits + 600
    assert [row.code for row in certificate.tensors][1:] == ["copy of a"] * 2


@pytest.mark.parametrize(
    "spec", ["symmetric:8", "symmetric:4", "affine:3,clip=99", "sign", "codebook:5"]
)
def test_quantized(tmp_path, spec):
    source = {
        "w": RANDOM.normal(size=(60, 50)).astype(np.float32),
        "half": RANDOM.normal(size=70).astype(ml_dtypes.bfloat16),
        "whole": RANDOM.integers(-9, 9, (3, 4)),
        "none": np.zeros((0, 2), np.float32),
    }
    certificate, back = packed(source, tmp_path / "x.kmo", quantizer=spec)
    assert certificate.raw_bits < 3100 * 8
    symbols = contents(kolmo.unpack(certificate.path, tmp_path / "s.safetensors", symbols=True))
    for name, array in source.items():
        coder = get_quantizer(spec).fit(array_tensor(name, array))
        dtype = np.dtype(np.float32) if name == "whole" else array.dtype
        wanted = coder.encode(array)
        assert symbols[name][2] == wanted.tobytes()
        assert back[name] == (dtype.name, array.shape, coder.decode(wanted).astype(dtype).tobytes())
    assert kolmo.verify(certificate.path, open_source(source)) == certificate
    with pytest.raises(KolmoError, match="'w' has other weights"):
        kolmo.verify(certificate.path, open_source({**source, "w": -source["w"]}))


@pytest.mark.parametrize("spec", ["native", "sign", "symmetric:5", "affine:4", "codebook:9"])
def test_a_coder_comes_back_from_its_parameters(spec):
    weights = RANDOM.normal(size=200).astype(np.float32) / 3
    coder = get_quantizer(spec).fit(array_tensor("w", weights))
    numbers = [float.fromhex(number.hex()) for number in coder.parameters()]
    again = get_quantizer(spec).restore(weights.dtype, numbers)
    symbols = coder.encode(weights)
    assert np.array_equal(again.encode(weights), symbols)
    assert np.array_equal(again.decode(symbols), coder.decode(symbols))
    with pytest.raises(InputError, match="too many or few"):
        get_quantizer(spec).restore(weights.dtype, [1.0] * 10)
    with pytest.raises(InputError, match="not a finite number"):
        get_quantizer(spec).restore(weights.dtype, [math.nan])


def in_another_process(path, threads, **settings):
    """What another process finds the digest to be."""
    code = "import kolmo, sys; print(kolmo.verify(sys.argv[1], threads=int(sys.argv[2])).sha256)"
    command = [sys.executable, "-W", "ignore", "-c", code, str(path), str(threads)]
    environment = {**os.environ, **settings}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return found.stdout.strip()


def test_the_file_does_not_depend_on_threads_and_another_process_decodes_it(tmp_path):
    weights = RANDOM.normal(size=(700, 600)).astype(np.float32)
    source = {f"w{n}": np.roll(weights, n) + n for n in range(5)}
    one = kolmo.pack(source, tmp_path / "1.kmo", preset="fast", threads=1)
    kolmo.pack(source, tmp_path / "3.kmo", preset="fast", threads=3)
    assert len(one.units) > 2
    assert (tmp_path / "1.kmo").read_bytes() == (tmp_path / "3.kmo").read_bytes()
    assert in_another_process(one.path, 3) == one.sha256


@pytest.mark.parametrize(
    "settings",
    [{"NUMBA_DISABLE_JIT": "1"}, {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}],
    ids=["interpreted", "one thread"],
)
def test_what_compiled_code_wrote_is_read_however_it_runs(tmp_path, settings):
    """Interpreted, integers are another machine's: all that compilers do is left out."""
    random = np.random.default_rng(1)
    motifs = random.normal(size=(6, 4)).astype(np.float32)
    source = {
        "mosaic": motifs[random.integers(0, 6, 300)].reshape(30, 40),
        "float32": random.normal(size=(25, 40)).astype(np.float32),
        "float16": random.normal(size=(20, 30)).astype(np.float16),
        "uint8": random.binomial(200, 0.5, (30, 20)).astype(np.uint8),
    }
    certificate = kolmo.pack(open_source(source), tmp_path / "x.kmo")
    assert {unit.code for unit in certificate.units} >= {"mosaic", "predictive"}
    assert in_another_process(certificate.path, 2, **settings) == certificate.sha256


# --- errors ---------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    source = {"a": np.ones((2, 3), np.float32), "b": RANDOM.normal(size=50)}
    path = tmp_path / "model.npz"
    np.savez(path, **source)
    kolmo.pack(path, tmp_path / "model.kmo")
    return source, path


def test_verify_says_what_differs(model, tmp_path):
    source, _ = model
    path = tmp_path / "model.kmo"
    other = {**source, "b": np.nextafter(source["b"], 9)}
    for changed, message in [
        (other, "'b' has other weights"),
        ({"a": source["a"]}, "has no tensor 'b'"),
        ({**source, "c": source["a"] + 1}, "lacks the tensor 'c'"),
        (
            {**source, "a": source["a"].T},
            r"'a' is float32 \[2, 3\], in the source float32 \[3, 2\]",
        ),
    ]:
        with pytest.raises(KolmoError, match=message):
            kolmo.verify(path, changed)
    assert (
        kolmo.verify(path, {**source, "c": source["b"] + 1}, exclude=["c"]).skipped[0].name == "c"
    )


def test_what_cannot_be_packed(tmp_path):
    bad = {"w": np.array([1.0, math.nan])}
    with pytest.raises(NotExpressibleError, match="'w' holds NaN"):
        kolmo.pack(bad, tmp_path / "x.kmo", quantizer="symmetric:8")
    with pytest.raises(InputError, match="unknown preset 'bests'; did you mean best"):
        kolmo.pack(bad, tmp_path / "x.kmo", preset="bests")
    with pytest.raises(InputError, match="threads are at least 1"):
        kolmo.pack(bad, tmp_path / "x.kmo", threads=0)
    with pytest.raises(InputError, match="cannot be written"):
        kolmo.pack(bad, tmp_path / "no such folder" / "x.kmo")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_no_half(tmp_path, monkeypatch):
    path = tmp_path / "x.kmo"
    path.write_bytes(b"what was there")

    def interrupt(done, total, label):
        if label == "checking":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kolmo.pack({"w": np.ones(5)}, path, overwrite=True, progress=interrupt)
    assert path.read_bytes() == b"what was there"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_code_that_does_not_undo_itself_is_noticed(tmp_path, monkeypatch):
    raw = get_code("raw")
    monkeypatch.setattr(type(raw), "decode", lambda *a: [np.zeros(s, a[3].container) for s in a[2]])
    monkeypatch.setitem(PRESETS, "fast", ("raw",))
    with pytest.raises(KolmoError, match=r"x\.kmo: not written, .* not those that were packed"):
        kolmo.pack({"w": np.arange(5.0)}, tmp_path / "x.kmo", preset="fast")
    assert list(tmp_path.iterdir()) == []


def test_expansion_is_bounded_unless_asked_for(model, tmp_path):
    path = tmp_path / "zeros.kmo"
    kolmo.pack({"w": np.zeros(1 << 20, np.uint8)}, path)
    with pytest.raises(InputError, match=r"to 1,048,576 bytes.*unpack take max_bytes=1048576; all"):
        kolmo.unpack(path, tmp_path / "x.safetensors", max_bytes=1 << 19)
    assert kolmo.verify(path, max_bytes=1 << 20).numel == 1 << 20
    assert read_contents(path).units[0].size == 1


# --- certificate and command line -----------------------------------------------------------


def test_a_certificate_reads_well(tmp_path):
    source = {"w": RANDOM.normal(size=(30, 20)).astype(np.float32), "tied": np.ones(3)}
    certificate = kolmo.pack(source, tmp_path / "x.kmo", exclude=["tied"])
    text = str(certificate)
    assert f"{certificate.bits:,} bits, {certificate.bits / 600:.4f} bits a weight" in text
    assert "left out: tied (excluded by 'tied')" in text
    last = text.splitlines()[-1]
    assert last == f"bound: this file is the description; the decoder is kolmo {kolmo.__version__}"
    assert certificate.table["name"].tolist() == ["w"]
    rows = [line.split() for line in text.splitlines() if line.startswith(("header", "raw", "xz"))]
    shown = sum(unit.bits for unit in certificate.units)
    assert int(rows[-1][1].replace(",", "")) == certificate.bits - shown


def test_command_line(model, tmp_path):
    _, source = model
    path = tmp_path / "c.kmo"
    result = run("pack", source, "-o", path, "--json", "--threads", "1")
    assert result.returncode == 0
    document = json.loads(result.stdout)
    assert document["bits"] == 8 * path.stat().st_size
    assert document["kind"] == "bound"
    assert document["tensors"][0]["name"] == "a"
    result = run("unpack", path, "-o", tmp_path / "out")
    assert result.stdout.strip() == str(tmp_path / "out" / "c.safetensors")
    assert contents(tmp_path / "out" / "c.safetensors") == contents(source)
    assert run("verify", path, source).stdout.splitlines()[-1].startswith("bound: this file is")
    refused(run("verify", path, "data/random.safetensors"), "has no tensor 'a'", code=1)
    refused(run("verify", source), "not a kolmo container")
    refused(run("pack", source, "-o", path, "-q", "symmetric:99"), "bits a weight are")


# --- real files -----------------------------------------------------------------------------


def real(package, file):
    """A file of an installed package of weights, or of a folder that KOLMO_WEIGHTS names."""
    folders = [Path(p) for p in [*sys.path, os.environ.get("KOLMO_WEIGHTS", "")] if p]
    found = next((f / package / file for f in folders if (f / package / file).exists()), None)
    return found or pytest.skip(f"{package} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "most"), [("native", 23.33), ("symmetric:8", 4.9)])
def test_silero(tmp_path, spec, most):
    source = real("silero_vad", "data/silero_vad_16k.safetensors")
    certificate = kolmo.pack(source, tmp_path / "x.kmo", quantizer=spec)
    assert certificate.bits_per_weight < most
    assert kolmo.verify(certificate.path, source).sha256 == certificate.sha256
    if spec == "native":
        back = kolmo.unpack(certificate.path, tmp_path / "x.safetensors")
        assert contents(back) == contents(source)


def test_a_file_that_is_refused_unless_it_is_trusted_is_told(tmp_path, monkeypatch):
    """As of hundreds of millions of weights that are nearly all zero; of fewer, by lower limits."""
    monkeypatch.setattr("kolmo.container.work.LEAST", 100)
    monkeypatch.setattr("kolmo.container.work.EACH", 1)
    weights = np.zeros(20_000, np.float16)
    weights[::2000] = np.arange(1, 11)
    with pytest.warns(UserWarning, match="refused as one: .* with max_bytes=40000"):
        kolmo.pack({"w": weights}, tmp_path / "m.kmo", threads=1)
    with pytest.raises(InputError, match="max_bytes"):
        kolmo.verify(tmp_path / "m.kmo")
    assert kolmo.verify(tmp_path / "m.kmo", max_bytes=40_000).raw_bits == 16 * weights.size
