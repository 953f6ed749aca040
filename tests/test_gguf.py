"""GGUF: versions, byte orders, parts, types, and files that are damaged or hostile."""

import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.ggml_types import BLOCKS
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from tests.corpus.gguf import floats, gguf, normal

DATA = Path(__file__).parent / "data/gguf"
VALUES = np.load(DATA / "values.npz")
TYPES = [name.split("/")[1] for name in VALUES.files if name.startswith("every-type")]


def opened(path, data):
    path.write_bytes(data)
    return open_source(path)


def equal_bits(found, expected):
    """Whether numbers are equal to the last bit; any NaN is as good as another."""
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    return np.array_equal(np.where(np.isnan(found), np.nan, found).view("u4"),
                          np.where(np.isnan(expected), np.nan, expected).view("u4"))  # fmt: skip


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
def test_weights_of_blocks_are_those_of_gguf_py(name):
    tensor = kolmo.open_checkpoint(DATA / "every-type.gguf")[name]
    expected = VALUES[f"every-type.gguf/{name}"]
    assert tensor.codes.scheme == name
    assert equal_bits(tensor.read(), expected)
    for start, stop in [(0, 0), (3, 4), (31, 33), (100, tensor.numel), (tensor.numel - 1,) * 2]:
        assert equal_bits(tensor.load(start, stop), expected.reshape(-1)[start:stop])


@pytest.mark.parametrize("name", TYPES)
def test_codes_and_scales_tell_the_weights(name):
    """Weights of one run of 8 with equal codes are equal."""
    tensor = kolmo.open_checkpoint(DATA / "every-type.gguf")[name]
    codes = tensor.codes
    found = codes.load(0, tensor.numel)
    assert found.dtype == codes.alphabet.container
    assert found.max() < codes.alphabet.size
    np.testing.assert_array_equal(codes.load(5, 77), found[5:77])
    for code, weight in zip(found.reshape(-1, 8), tensor.read().reshape(-1, 8), strict=True):
        pairs = set(zip(code.tolist(), weight.view("u4").tolist(), strict=True))
        assert len(pairs) == len(set(code.tolist()))


@pytest.mark.parametrize(("number", "block"), BLOCKS.items(), ids=lambda x: getattr(x, "name", ""))
def test_bits_of_blocks_are_codes_or_side_information(number, block, tmp_path):
    size = block.fields.itemsize
    data = np.random.default_rng(number).bytes(3 * size)
    found = opened(tmp_path / "x.gguf", gguf({"a": ((3, block.weights), number, data)}))["a"]
    assert found.shape == (3, block.weights)
    (stored,) = found.codes.stored
    assert (stored.shape, stored.read().tobytes()) == ((3, size), data)
    assert found.codes.side_bits == 3 * block.side_bits
    widths = found.codes.alphabet.bits * block.weights
    if block.packed_bits is None:
        assert block.side_bits + widths == 8 * size
    else:
        assert 0 < block.side_bits < 8 * size < block.side_bits + widths


@pytest.mark.parametrize(("number", "block"), BLOCKS.items(), ids=lambda x: getattr(x, "name", ""))
def test_blocks_of_both_byte_orders(number, block):
    """Fields in the other order are the same weights."""
    data = np.random.default_rng(number).bytes(40 * block.fields.itemsize)
    little = np.frombuffer(data, block.ordered(False))
    big = little.astype(block.ordered(True))
    assert equal_bits(block.values(big), block.values(little))
    np.testing.assert_array_equal(block.unpack(big), block.unpack(little))


def test_types_beyond_those_of_gguf_py():
    q8_k, q1_0 = BLOCKS[15], BLOCKS[41]
    block = np.zeros(1, q8_k.fields)
    block["d"], block["qs"][0, :3] = 0.5, [1, 255, 128]
    assert q8_k.values(block)[0, :4].tolist() == [0.5, -0.5, -64, 0]
    block = np.zeros(1, q1_0.fields)
    block["d"], block["qs"][0, :2] = 0.5, [0b00000101, 1]
    assert q1_0.values(block)[0, :9].tolist() == [0.5, -0.5, 0.5, *[-0.5] * 5, 0.5]


def test_plain_types():
    found = open_source(DATA / "plain.gguf")
    for name, tensor in found.items():
        expected = VALUES[f"plain.gguf/{name}"]
        assert tensor.dtype.name == ("bfloat16" if name == "BF16" else expected.dtype.name)
        np.testing.assert_array_equal(tensor.read().astype(expected.dtype), expected)
    assert len(found) == 8
    assert found["F32"].shape == (3, 4, 5)


@pytest.mark.parametrize("number", [4, 9, 31, 36, 42, 999, 2**32 - 1])
def test_unknown_types_are_left_out_with_their_number_of_weights(tmp_path, number):
    data = gguf({"odd": ((3, 256), number, bytes(999)), "a": floats(normal(4, 8))})
    found = opened(tmp_path / "x.gguf", data)
    assert list(found) == ["a"]
    (left,) = found.skipped
    assert (left.name, left.numel, left.role) == ("odd", 768, Role.WEIGHT)
    assert f"type {number:,}" in left.reason


# --- versions and byte orders -------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("big", [False, True])
def test_versions_and_byte_orders(tmp_path, version, big):
    metadata = {"general.name": "a", "tokens": ["x", "yy", ""], "scores": [("f32", 1), ("f32", 2)],
                "nested": [[("u8", 1)], [("u8", 2), ("u8", 3)]], "long": "y" * 9999}  # fmt: skip
    arrays = {"a": normal(3, 5), "b": normal(2, 3, 4, seed=1), "c": normal(7, seed=2)}
    data = gguf({k: floats(v, big) for k, v in arrays.items()}, metadata, version, big)
    found = opened(tmp_path / "x.gguf", data)
    assert (found.format, list(found), found.skipped) == ("gguf", list(arrays), [])
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name].read(), array)


def test_version_1_of_gguf_py():
    found = kolmo.open_checkpoint(DATA / "version-1.gguf")
    ramp = np.arange(60, dtype=np.float32)
    np.testing.assert_array_equal(found["ramp"].read(), ramp.reshape(3, 4, 5))
    np.testing.assert_array_equal(found["half"].read(), ramp.astype(np.float16)[:7])


def test_big_endian_numbers():
    found = kolmo.open_checkpoint(DATA / "big-plain.gguf")
    for name, tensor in kolmo.open_checkpoint(DATA / "plain.gguf").items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name].read(), tensor.read())


@pytest.mark.parametrize("name", ["big-converted.gguf", "big-as-written.gguf"])
def test_big_endian_blocks_as_converted_and_as_gguf_py_writes_them(name):
    found = kolmo.open_checkpoint(DATA / name)
    for tensor in found.values():
        assert equal_bits(tensor.read(), VALUES[f"quantized.gguf/{tensor.name}"])


def test_alignment_and_gaps(tmp_path):
    a, b = normal(5), normal(3, 3, seed=1)
    step = {"general.alignment": ("u32", 256)}
    tensors = {"a": floats(a), "empty": floats(np.zeros((0, 4), "f4")), "b": floats(b)}
    found = opened(tmp_path / "x.gguf", gguf(tensors, step, alignment=256))
    np.testing.assert_array_equal(found["a"].read(), a)
    np.testing.assert_array_equal(found["b"].read(), b)
    assert found["empty"].read().shape == (0, 4)


def test_roles_that_the_metadata_tell(tmp_path):
    tensors = {"blk.0.attn_q.weight": floats(normal(4)), "optimizer.adam.m": floats(normal(4))}
    trained = {"optimizer.type": "adam", "general.name": "x"}
    found = opened(tmp_path / "x.gguf", gguf(tensors, trained))
    assert [tensor.role for tensor in found.values()] == [None, Role.OPTIMIZER]
    found = opened(tmp_path / "x.gguf", gguf(tensors, {"general.type": "imatrix"}))
    assert {tensor.role for tensor in found.values()} == {Role.OTHER}


# --- parts --------------------------------------------------------------------------------------


PARTS = [f"split-{n:05}-of-00003.gguf" for n in (1, 2, 3)]


@pytest.mark.parametrize("part", PARTS)
def test_any_part_opens_the_whole_model(part):
    found = kolmo.open_checkpoint(DATA / part)
    assert list(found) == [f"blk.{n}.weight" for n in range(5)]
    assert found.files == tuple(str(DATA / name) for name in PARTS)
    for tensor in found.values():
        assert equal_bits(tensor.read(), VALUES[f"split.gguf/{tensor.name}"])


def test_a_part_alone_is_refused(tmp_path):
    shutil.copy(DATA / PARTS[1], tmp_path)
    with pytest.raises(InputError, match=r"part 2 of 3 of a model, and split-00001-of-00003\.gguf"):
        kolmo.open_checkpoint(tmp_path / PARTS[1])
    (tmp_path / PARTS[1]).rename(tmp_path / "model.gguf")
    with pytest.raises(InputError, match=r"not called NAME-00002-of-00003\.gguf"):
        kolmo.open_checkpoint(tmp_path / "model.gguf")


def test_parts_that_only_their_names_tell(tmp_path):
    for number in (1, 2):
        tensors = {f"w{number}": floats(normal(4, seed=number))}
        (tmp_path / f"x-0000{number}-of-00002.gguf").write_bytes(gguf(tensors))
    assert list(kolmo.open_checkpoint(tmp_path / "x-00002-of-00002.gguf")) == ["w1", "w2"]
    (tmp_path / "x-00001-of-00002.gguf").unlink()
    with pytest.raises(InputError, match=r"part 2 of 2 of a model, and x-00001-of-00002\.gguf"):
        kolmo.open_checkpoint(tmp_path / "x-00002-of-00002.gguf")


def test_parts_of_two_models_are_refused(tmp_path):
    for part in PARTS:
        shutil.copy(DATA / part, tmp_path)
    shutil.copy(DATA / PARTS[0], tmp_path / PARTS[2])
    with pytest.raises(InputError, match="not part 3 of 3"):
        kolmo.open_checkpoint(tmp_path / PARTS[1])
    place = {"split.no": ("u16", 2), "split.count": ("u16", 3)}
    one = gguf({"a": floats(normal(4)), "b": floats(normal(4))}, place)
    (tmp_path / PARTS[2]).write_bytes(one)
    with pytest.raises(InputError, match="have 6 tensors, and should have 5"):
        kolmo.open_checkpoint(tmp_path / PARTS[0])
    found = gguf({"blk.0.weight": floats(normal(4))}, place)
    (tmp_path / PARTS[2]).write_bytes(found)
    with pytest.raises(InputError, match="two of its parts have a tensor of one name"):
        kolmo.open_checkpoint(tmp_path / PARTS[0])


def test_a_folder_of_parts_is_one_model(tmp_path):
    for part in PARTS:
        shutil.copy(DATA / part, tmp_path)
    found = kolmo.open_checkpoint(tmp_path)
    assert list(found) == [f"blk.{n}.weight" for n in range(5)]
    assert found.skipped == []


def test_parts_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for part in PARTS:
            archive.write(DATA / part, f"model/{part}")
    found = kolmo.open_checkpoint(tmp_path / "x.zip")
    assert equal_bits(found["blk.4.weight"].read(), VALUES["split.gguf/blk.4.weight"])


def test_a_compressed_file(tmp_path):
    (tmp_path / "x.gguf.gz").write_bytes(gzip.compress((DATA / "every-type.gguf").read_bytes()))
    found = kolmo.open_checkpoint(tmp_path / "x.gguf.gz")
    assert equal_bits(found["Q4_K"].read(), VALUES["every-type.gguf/Q4_K"])
