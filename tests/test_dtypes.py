"""Dtypes of ml_dtypes, narrow and complex numbers: patterns, order, files, containers."""

import io
import json

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.narrow import unpack
from kolmo.checkpoints.safetensors import open_safetensors
from kolmo.checkpoints.writing import SafetensorsWriter
from kolmo.dtypes import DTYPES, EXTENDED_DTYPES, bits_of
from kolmo.errors import InputError
from kolmo.floats import (
    bit_patterns,
    disorder_patterns,
    exponents,
    is_float,
    order_patterns,
    ordered,
    unordered,
)
from kolmo.symbols import Alphabet
from tests.formats.cases import as_contents
from tests.formats.kmo import read_weights

SMALL = [name for name in EXTENDED_DTYPES if name != "bfloat16"]
FLOATS = [name for name in SMALL if "float" in name]


def patterns(name):
    """Every bit pattern of a dtype."""
    return np.arange(1 << bits_of(DTYPES[name]), dtype=np.uint8)


@pytest.mark.parametrize("name", SMALL)
def test_every_pattern_is_a_symbol_and_comes_back(name):
    dtype, all_patterns = DTYPES[name], patterns(name)
    weights = all_patterns.view(dtype)
    assert np.array_equal(bit_patterns(weights), all_patterns)
    alphabet = Alphabet.of_dtype(dtype)
    bits = ml_dtypes.finfo(dtype).bits if is_float(dtype) else ml_dtypes.iinfo(dtype).bits
    assert (alphabet.size, alphabet.bits) == (1 << bits, bits)
    assert alphabet.format == (name if "float" in name else "")
    assert np.array_equal(bit_patterns(unordered(ordered(weights), dtype)), all_patterns)
    assert np.unique(ordered(weights)).size == all_patterns.size


@pytest.mark.parametrize("name", ["int4", "uint4", "int2", "uint2"])
def test_bits_beyond_a_narrow_number_are_not_its_own(name):
    full = np.arange(256, dtype=np.uint8)
    weights = full.view(DTYPES[name])
    assert np.array_equal(bit_patterns(weights), full & ((1 << bits_of(DTYPES[name])) - 1))


@pytest.mark.parametrize("name", FLOATS)
def test_patterns_in_order_are_in_the_order_of_values(name):
    values = patterns(name).view(DTYPES[name]).astype(np.float64)
    order = order_patterns(patterns(name), name)
    assert np.array_equal(disorder_patterns(order, name), patterns(name))
    by_order = values[np.argsort(order)]
    finite = by_order[np.isfinite(by_order)]
    assert (np.diff(finite) >= 0).all()


@pytest.mark.parametrize("name", FLOATS)
def test_exponents_are_those_of_the_values(name):
    weights = patterns(name).view(DTYPES[name])
    values = np.abs(weights.astype(np.float64))
    info = ml_dtypes.finfo(DTYPES[name])
    if name == "float8_e8m0fnu":
        assert np.array_equal(exponents(weights)[:-1], np.log2(values[:-1]) + 127)
        return
    normal = np.isfinite(values) & (values >= float(info.smallest_normal))
    found = np.log2(values[normal]) // 1
    least = np.log2(float(info.smallest_normal))
    assert np.array_equal(exponents(weights)[normal], found - least + 1)
    below = np.isfinite(values) & (values < float(info.smallest_normal))
    assert (exponents(weights)[below] == 0).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_narrow_numbers_fill_bytes_from_the_lowest_bit_on(bits):
    data = np.random.default_rng(bits).integers(0, 256, (3, 2 * bits)).astype(np.uint8)
    whole = [int.from_bytes(row.tobytes(), "little") for row in data]
    expected = [[(n >> bits * i) & ((1 << bits) - 1) for i in range(16)] for n in whole]
    assert unpack(data, bits).tolist() == expected


# --- safetensors ----------------------------------------------------------------------------

CODED = {"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
         "F8_E8M0": "float8_e8m0fnu", "F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn",
         "F4": "float4_e2m1fn"}  # fmt: skip


def safetensors_of(code, shape, data):
    header = {"w": {"dtype": code, "shape": shape, "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("code", CODED)
def test_safetensors_of_every_small_dtype(tmp_path, code):
    dtype = DTYPES[CODED[code]]
    weights = np.random.default_rng(1).integers(0, 1 << bits_of(dtype), (5, 8)).astype(np.uint8)
    file = io.BytesIO()
    SafetensorsWriter(file, {"w": (dtype, (5, 8))}).write("w", 0, weights.view(dtype))
    spread = np.unpackbits(weights[..., None], axis=-1, bitorder="little")[..., : bits_of(dtype)]
    data = np.packbits(spread.reshape(-1), bitorder="little").tobytes()
    assert file.getvalue().endswith(data)
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_of(code, [5, 8], data))
    found = kolmo.open_checkpoint(path)["w"]
    assert (found.shape, found.dtype) == ((5, 8), dtype)
    assert np.array_equal(bit_patterns(found.read()), weights)
    for start, stop in ((1, 4), (3, 40), (9, 9), (39, 40)):
        piece = bit_patterns(found.load(start, stop))
        assert np.array_equal(piece, weights.reshape(-1)[start:stop])


def test_pieces_that_end_within_a_byte_are_written_in_any_order():
    numbers = np.random.default_rng(2).integers(0, 16, 14).astype(np.uint8)
    weights = numbers.view(DTYPES["float4_e2m1fn"])
    file = io.BytesIO()
    writer = SafetensorsWriter(file, {"w": (weights.dtype, (14,))})
    for first, last in ((5, 14), (0, 3), (3, 5)):
        writer.write("w", first, weights[first:last])
    assert unpack(np.frombuffer(file.getvalue()[-7:], np.uint8), 4).tolist() == numbers.tolist()


def test_what_safetensors_cannot_hold_is_said():
    with pytest.raises(InputError, match="safetensors has no dtype int4"):
        SafetensorsWriter(io.BytesIO(), {"w": (DTYPES["int4"], (2,))})
    with pytest.raises(InputError, match="3 numbers of 4 bits do not fill bytes"):
        SafetensorsWriter(io.BytesIO(), {"w": (DTYPES["float4_e2m1fn"], (3,))})


@pytest.mark.parametrize(
    ("code", "shape", "size"), [("F4", [3], 2), ("F6_E2M3", [2, 2], 4), ("C64", [3], 20)]
)
def test_sizes_that_are_not_those_of_the_dtype_are_refused(tmp_path, code, shape, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_of(code, shape, bytes(size)))
    with pytest.raises(InputError, match=r"has .* bytes, which is not"):
        kolmo.open_checkpoint(path)


def test_complex_numbers_are_two_weights_each(tmp_path):
    values = np.arange(12, dtype=np.float32)
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_of("C64", [2, 3], values.tobytes()))
    found = kolmo.open_checkpoint(path)["w"]
    assert (found.shape, found.dtype, found.numel) == ((2, 3, 2), np.float32, 12)
    assert found.read().reshape(-1).tolist() == values.tolist()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_complex_arrays_of_numpy(tmp_path, dtype, order):
    rng = np.random.default_rng(3)
    array = (rng.normal(size=(4, 5)) + 1j * rng.normal(size=(4, 5))).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", w=array)
    parts = np.stack([array.real, array.imag], -1)
    for source in (tmp_path / "x.npy", tmp_path / "x.npz", {"w": array}):
        (found,) = kolmo.open_checkpoint(source).values()
        assert np.array_equal(found.read(), parts)
        assert found.dtype == parts.dtype
        assert np.array_equal(found.load(3, 17), parts.reshape(-1)[3:17])


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2"])
def test_dtypes_that_files_of_numpy_tell(tmp_path, name):
    weights = np.random.default_rng(6).normal(size=(4, 5)).astype(name)
    np.save(tmp_path / "x.npy", weights)
    np.savez(tmp_path / "x.npz", w=weights)
    for source in (tmp_path / "x.npy", tmp_path / "x.npz"):
        (found,) = kolmo.open_checkpoint(source).values()
        assert found.dtype == weights.dtype
        assert found.read().tobytes() == weights.tobytes()


def test_dtypes_that_files_of_numpy_do_not_tell(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(3, ml_dtypes.float8_e4m3fn), b=np.ones(2))
    found = kolmo.open_checkpoint(tmp_path / "x.npz")
    assert list(found) == ["b"]
    assert [(entry.name, entry.numel) for entry in found.skipped] == [("a", 3)]
    assert "as files of numpy name any dtype that numpy lacks" in found.skipped[0].reason


def test_more_axes_than_an_array_can_have(tmp_path):
    shape = [1] * 68 + [4, 5]
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_of("F32", shape, np.arange(20, dtype=np.float32).tobytes()))
    found = kolmo.open_checkpoint(path)
    assert found["w"].shape == tuple(shape)
    assert found["w"].read().tolist() == np.arange(20).reshape(4, 5).tolist()
    report = kolmo.analyze(path, estimators=["gzip:9", "context", "kt", "lz76", "mosaic"])
    assert (report.table.numel == 20).all()
    kolmo.pack(path, tmp_path / "x.kmo")
    kolmo.verify(tmp_path / "x.kmo", path)
    back = kolmo.unpack(tmp_path / "x.kmo", tmp_path / "y.safetensors")
    assert kolmo.open_checkpoint(back)["w"].shape == tuple(shape)


# --- measuring and packing ------------------------------------------------------------------


def some(name, size=600):
    rng = np.random.default_rng(4)
    high = 1 << bits_of(DTYPES[name])
    numbers = rng.integers(0, high, size).astype(np.uint8)
    return (
        np.where(rng.random(size) < 0.5, numbers, numbers // 2).view(DTYPES[name]).reshape(20, 30)
    )


@pytest.mark.parametrize("name", SMALL)
def test_every_estimator_takes_them_or_says_why_not(name):
    report = kolmo.analyze(
        {"w": some(name)},
        quantizers=["native"],
        estimators=["gzip:9", "kt", "context", "bdm", "entropy"],
    )
    rows = report.table[report.table.tensor == "w"]
    assert (rows.raw_bits.dropna() == 600 * bits_of(DTYPES[name])).all()
    for row in rows.itertuples():
        assert row.bits > 0 or row.note


@pytest.mark.parametrize("name", SMALL)
def test_containers_keep_every_bit(tmp_path, name):
    weights = some(name)
    path = tmp_path / "w.kmo"
    certificate = kolmo.pack({"w": weights}, path)
    assert certificate.raw_bits == 600 * bits_of(DTYPES[name])
    kolmo.verify(path, {"w": weights})
    found = as_contents(read_weights(path.read_bytes()))
    assert found == {"w": (name, (20, 30), bit_patterns(weights).tobytes())}
    if name in CODED.values():
        back = kolmo.unpack(path, tmp_path / "w.safetensors")
        read = kolmo.open_checkpoint(back)["w"].read()
        assert read.dtype == weights.dtype
        assert np.array_equal(bit_patterns(read), bit_patterns(weights))


@pytest.mark.parametrize("name", ["float4_e2m1fn", "float6_e3m2fn", "int4", "uint2"])
@pytest.mark.parametrize("quantizer", ["symmetric:4", "affine:3", "codebook:4", "sign"])
def test_quantizers_take_narrow_numbers(tmp_path, name, quantizer):
    weights = some(name)
    found = kolmo.get_quantizer(quantizer)
    tensor = kolmo.checkpoints.array_tensor("w", weights)
    wide = kolmo.checkpoints.array_tensor("w", weights.astype(np.float32))
    narrow, plain = found.fit(tensor), found.fit(wide)
    assert np.array_equal(narrow.encode(weights), plain.encode(weights.astype(np.float32)))
    kolmo.pack({"w": weights}, tmp_path / "w.kmo", quantizer=quantizer)


def test_quantized_checkpoints_are_packed_as_they_are_stored(tmp_path):
    rng = np.random.default_rng(5)
    stored = {
        "a.weight": rng.integers(-99, 99, (6, 8)).astype(np.int8),
        "a.weight_scale": rng.normal(size=(6, 1)).astype(np.float32),
        "a.input_scale": np.float32(2),
        "b.weight": rng.integers(-99, 99, (6, 8)).astype(np.int8),
        "b.weight_scale": rng.normal(size=(6, 1)).astype(np.float32),
        "norm.weight": np.ones(8, np.float32),
    }
    kolmo.pack(stored, tmp_path / "w.kmo")
    kolmo.verify(tmp_path / "w.kmo", stored)
    back = kolmo.unpack(tmp_path / "w.kmo", tmp_path / "w.safetensors")
    arrays = {name: tensor.read() for name, tensor in open_safetensors(File.local(back)).items()}
    assert arrays.keys() == stored.keys()
    assert all(np.array_equal(arrays[name], stored[name]) for name in stored)
    kolmo.pack(stored, tmp_path / "q.kmo", quantizer="symmetric:8")
    kolmo.verify(tmp_path / "q.kmo", stored)
