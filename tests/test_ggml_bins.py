"""Files of ggml before GGUF: the headers of several programs, the blocks of three ages."""

import os

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.ggml_bins import open_ggml
from kolmo.checkpoints.ggml_old_blocks import FIRST, SECOND
from kolmo.checkpoints.ggml_types import BLOCKS
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from tests.corpus import ggml
from tests.corpus.reads import Counting

RANDOM = np.random.default_rng(5)
BIG = RANDOM.normal(size=(8, 64)).astype("<f4")
BIAS = RANDOM.normal(size=(64, 1)).astype("<f4")
ARRAYS = {
    "layers.0.attention.wq.weight": (BIG.shape, 1, BIG.astype("<f2").tobytes()),
    "norm.weight": (BIAS.shape, 0, BIAS.tobytes()),
    "output.weight": (BIG.shape, 0, BIG.tobytes()),
}
FILES = {
    "ggjt-1": ggml.llama(ARRAYS, b"tjgg", 1),
    "ggjt-2": ggml.llama(ARRAYS, b"tjgg", 2),
    "ggjt-3": ggml.llama(ARRAYS, b"tjgg", 3),
    "ggmf": ggml.llama(ARRAYS, b"fmgg", 1),
    "ggml": ggml.llama(ARRAYS, b"lmgg"),
    "lora": ggml.lora(ARRAYS),
    "gpt-2": ggml.gpt2(ARRAYS),
    "neox": ggml.neox(ARRAYS),
    "mpt": ggml.mpt(ARRAYS),
    "whisper": ggml.whisper(ARRAYS),
    "rwkv": ggml.rwkv(ARRAYS),
    "rwkv-100": ggml.rwkv(ARRAYS, 100),
}


def opened(path, data):
    path.write_bytes(data)
    return open_source(path)


@pytest.mark.parametrize("name", FILES)
def test_headers_of_programs(tmp_path, name):
    found = opened(tmp_path / "ggml-model.bin", FILES[name])
    assert found.format == "ggml"
    weights = {k: tensor.read() for k, tensor in found.items() if tensor.role is None}
    assert list(weights) == list(ARRAYS)
    np.testing.assert_array_equal(weights["layers.0.attention.wq.weight"], BIG.astype("f2"))
    np.testing.assert_array_equal(weights["norm.weight"], BIAS)
    np.testing.assert_array_equal(weights["output.weight"], BIG)
    assert found.skipped == []


def test_filters_of_whisper_are_no_weights(tmp_path):
    tensor = opened(tmp_path / "ggml-tiny.bin", FILES["whisper"])["mel_filters"]
    assert tensor.role is Role.BUFFER
    np.testing.assert_array_equal(tensor.read(), np.arange(80 * 201).reshape(80, 201))


# --- blocks -------------------------------------------------------------------------------------


def first_codes(block, kind):
    """Codes of the first age, one after the other."""
    codes = []
    for place, byte in enumerate(block["qs"].tolist()):
        for half in range(2):
            high = int(block["qh"]) >> (2 * place + half) & 1 if kind in (6, 7) else 0
            codes.append((byte >> 4 * half & 15) + 16 * high)
    return codes


def weights_of(block, kind, codes):
    d = np.float32(block["d"])
    if kind == 8:
        return [np.float32(code) * d for code in block["qs"].view(np.int8)]
    if kind in (3, 5, 7):
        return [np.float32(code) * d + np.float32(block["m"]) for code in codes]
    return [np.float32(code - (16 if kind == 6 else 8)) * d for code in codes]


@pytest.mark.parametrize("kind", FIRST)
def test_blocks_of_the_first_age(tmp_path, kind):
    form = FIRST[kind]
    blocks = np.zeros(4, form.fields)
    blocks["qs"] = RANDOM.integers(0, 256, blocks["qs"].shape)
    for name in {"d", "m"} & set(form.fields.names):
        blocks[name] = RANDOM.normal(size=4)
    if kind in (6, 7):
        blocks["qh"] = RANDOM.integers(0, 2**32, 4)
    arrays = ARRAYS | {"q": ((2, 2 * form.weights), kind, blocks.tobytes())}
    codes = [code for block in blocks for code in first_codes(block, kind)]
    expected = [w for block in blocks for w in weights_of(block, kind, first_codes(block, kind))]
    for data in (ggml.llama(arrays, b"tjgg", 1), ggml.gpt2(arrays, kind), ggml.neox(arrays, kind)):
        tensor = opened(tmp_path / "x.bin", data)["q"]
        np.testing.assert_array_equal(tensor.read().ravel(), np.float32(expected))
        if kind != 8:
            assert tensor.codes.load(0, tensor.numel).tolist() == codes


@pytest.mark.parametrize("kind", SECOND)
def test_blocks_of_the_second_age(tmp_path, kind):
    """Those of today, but for scales of float32."""
    old, new = SECOND[kind], BLOCKS[kind]
    blocks = np.zeros(4, old.fields)
    blocks["qs"] = RANDOM.integers(0, 256, blocks["qs"].shape)
    for name in {"d", "m"} & set(old.fields.names):
        blocks[name] = RANDOM.normal(size=4).astype(np.float16)
    expected = new.values(blocks.astype(new.fields)).reshape(2, -1)
    arrays = ARRAYS | {"q": ((2, 2 * old.weights), kind, blocks.tobytes())}
    for data in (ggml.llama(arrays, b"tjgg", 2), ggml.whisper(arrays, 1000 + kind)):
        np.testing.assert_array_equal(opened(tmp_path / "x.bin", data)["q"].read(), expected)


@pytest.mark.parametrize("kind", [2, 8, 12, 14])
def test_blocks_of_today(tmp_path, kind):
    form = BLOCKS[kind]
    blocks = np.frombuffer(RANDOM.bytes(4 * form.fields.itemsize), form.fields)
    arrays = ARRAYS | {"q": ((2, 2 * form.weights), kind, blocks.tobytes())}
    for data in (ggml.llama(arrays), ggml.whisper(arrays, 2000 + kind)):
        found = opened(tmp_path / "x.bin", data)["q"].read()
        np.testing.assert_array_equal(found, form.values(blocks).reshape(2, -1))


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_truncations_are_refused(tmp_path, name):
    data = FILES[name]
    for size in {*range(4, len(data) - 1, len(data) // 50), len(data) - 1}:
        with pytest.raises(InputError, match="ggml file"):
            opened(tmp_path / "x.bin", data[:size])


def test_messages(tmp_path):
    with pytest.raises(InputError, match=r"after 2 tensors, .* is 'norm\.weight'"):
        opened(tmp_path / "x.bin", FILES["neox"][:-5])
    for data in (b"tjgg" + ggml.word(9) + FILES["ggjt-3"][8:], b"lmgg" + bytes(99), b"fmgg"):
        with pytest.raises(InputError, match=r"older than GGUF.* unknown program .*convert it"):
            opened(tmp_path / "x.bin", data)


def test_pieces_of_a_model_are_refused(tmp_path):
    for name in ("ggml-model-f16.bin", "ggml-model-f16.bin.1"):
        (tmp_path / name).write_bytes(FILES["ggml"])
    for name in ("ggml-model-f16.bin", "ggml-model-f16.bin.1"):
        with pytest.raises(InputError, match="one of several, which have a piece of each tensor"):
            kolmo.open_checkpoint(tmp_path / name)


def test_a_file_of_100_gb_is_opened_in_kilobytes(tmp_path):
    path = tmp_path / "x.bin"
    big = {"big": ((1 << 17, 1 << 20), 0, b"")}
    path.write_bytes(ggml.llama(ARRAYS | big, b"fmgg", 1))
    os.truncate(path, path.stat().st_size + (1 << 39))
    folder = Counting(tmp_path)
    assert open_ggml(File(folder, path.name)).numel == 2 * BIG.size + BIAS.size + (1 << 37)
    assert sum(folder.reads) <= 1 << 17


@pytest.mark.parametrize("magic", [b"lmgg", b"fmgg\1\0\0\0", b"tjgg\3\0\0\0", b"algg\1\0\0\0"])
def test_endless_headers_end(tmp_path, magic):
    path = tmp_path / "x.bin"
    for number in (1, 1 << 20, 1 << 31):
        path.write_bytes(magic + ggml.word(*[number] * 20))
        os.truncate(path, 1 << 40)
        with pytest.raises(InputError, match="ggml file"):
            kolmo.open_checkpoint(path)
