"""TensorFlow Lite: weights as its interpreter decodes them, roles, and files that are damaged."""

import struct
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.errors import InputError

DATA = Path(__file__).parent / "data" / "tflite"
MODELS = sorted(path.name for path in DATA.glob("*.tflite"))

FUSED = {"tensor8", "unsigned8"}
"""Where the interpreter adds before it rounds, in another order than its reference."""


def opened(path):
    return kolmo.open_checkpoint(path)


def everything(path):
    found = opened(path)
    left = {entry.name: entry.tensor for entry in found.skipped if entry.tensor}
    return {**found, **left}


def truth(name):
    with np.load(DATA / "truth.npz") as found:
        inside = [key for key in found.files if key.startswith(f"{name}/")]
        return {key.removeprefix(f"{name}/"): found[key] for key in inside}


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_the_interpreter(name):
    tensors, true = everything(DATA / name), truth(name)
    assert set(true) <= set(tensors)
    for key, array in true.items():
        found = tensors[key].read()
        assert (found.shape, found.dtype) == (array.shape, tensors[key].dtype), key
        rtol = 1e-6 if key in FUSED else 0
        np.testing.assert_allclose(found.astype(array.dtype), array, rtol=rtol, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_pieces_are_those_of_the_whole(name):
    for tensor in everything(DATA / name).values():
        parts = [tensor.load(i, min(i + 5, tensor.numel)) for i in range(0, tensor.numel, 5)]
        assert b"".join(part.tobytes() for part in parts) == tensor.read().tobytes()


@pytest.mark.parametrize("name", ["network.tflite", "outside.tflite"])
def test_constants_of_operators_are_no_weights(name):
    roles = {key: tensor.role for key, tensor in everything(DATA / name).items()}
    weights = {"conv/w", "conv/b", "fc/w", "fc/b", "slope"}
    assert weights == {key for key, role in roles.items() if role is Role.WEIGHT}
    assert roles["half"] is roles["shape"] is Role.OTHER


def test_quantized_tensors_have_codes_of_their_width():
    found = everything(DATA / "quantized.tflite")
    assert {key: tensor.form for key, tensor in found.items() if tensor.codes} == {
        "tensor8": "8-bit TFLite", "unsigned8": "8-bit TFLite", "channels0": "8-bit TFLite",
        "channels1": "8-bit TFLite", "int16": "16-bit TFLite", "int4": "4-bit TFLite",
        "bias": "32-bit TFLite", "blocks": "4-bit TFLite",
    }  # fmt: skip
    assert found["channels0"].codes.side_bits == 4 * (32 + 64)
    assert found["blocks"].codes.side_bits == 4 * 16
    assert found["blocks/scales"].role is Role.BOOKKEEPING
    codes = found["int4"].codes.load(0, 15)
    assert int(codes.max()) < 16
    assert found["int4"].codes.stored[0].shape == (3, 5)


def test_a_hundred_gigabytes_behind_the_flatbuffer_stay_unread(tmp_path):
    shape, start = (2**20, 25600), 1 << 20
    size = 4 * shape[0] * shape[1]
    data = (DATA / "outside.tflite").read_bytes()
    old = struct.pack("<Q", 4 * 5 * 64)
    at = data.index(old)
    offset = data.index(struct.pack("<Q", data.index(truth("outside.tflite")["fc/w"].tobytes())))
    made = bytearray(data.replace(struct.pack("<ii", 5, 64), struct.pack("<ii", *shape)))
    made[at : at + 8] = struct.pack("<Q", size)
    made[offset : offset + 8] = struct.pack("<Q", start)
    with open(tmp_path / "m.tflite", "wb") as file:
        file.write(made)
        file.truncate(start + size)
    tensor = opened(tmp_path / "m.tflite")["fc/w"]
    assert tensor.shape == shape
    assert tensor.load(tensor.numel - 2, tensor.numel).tolist() == [0, 0]


def test_a_file_that_is_cut_is_damaged(tmp_path):
    data = (DATA / "network.tflite").read_bytes()
    (tmp_path / "m.tflite").write_bytes(data[:1000])
    with pytest.raises(InputError, match="damaged"):
        opened(tmp_path / "m.tflite")
