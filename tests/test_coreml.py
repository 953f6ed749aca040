"""CoreML: weights as coremltools decodes them, roles, packages, and files that are damaged."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.errors import InputError
from tests.written import arrays_of, equal_values, with_left_out

DATA = Path(__file__).parent / "data" / "coreml"
MODELS = sorted(path.name for path in DATA.glob("*.ml*"))
NETWORKS = [name for name in MODELS if name.endswith(".mlmodel")]


def truth(name):
    return arrays_of(DATA / "truth.npz", f"{name}/")


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_coremltools(name):
    assert equal_values(with_left_out(DATA / name), truth(name))


@pytest.mark.parametrize("name", MODELS)
def test_pieces_are_those_of_the_whole(name):
    for tensor in with_left_out(DATA / name).values():
        parts = [tensor.load(i, min(i + 5, tensor.numel)) for i in range(0, tensor.numel, 5)]
        assert b"".join(part.tobytes() for part in parts) == tensor.read().tobytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_have_the_weights_of_the_network_whatever_their_bits(name):
    found = with_left_out(DATA / name)
    weights = [tensor.numel for tensor in found.values() if tensor.role is Role.WEIGHT]
    assert sum(weights) == 135 + 5 + 5 + 5 + 720 + 4 + 4
    left = {key: tensor.numel for key, tensor in found.items() if tensor.role is Role.BUFFER}
    assert left == {"bn.mean": 5, "bn.variance": 5}


@pytest.mark.parametrize("name", [name for name in MODELS if name not in NETWORKS])
def test_programs_have_the_weights_of_the_network_however_compressed(name):
    found = kolmo.open_checkpoint(DATA / name)
    assert found.format == "coreml"
    weights = [t.numel for t in with_left_out(DATA / name).values() if t.role is Role.WEIGHT]
    assert sum(weights) == 32 * 64 + 32 + 8 * 4 * 9 + 8  # the batch norm is folded in
    assert {Path(path).name for path in found.files} == {"model.mlmodel", "weight.bin"}


FORMS = {
    "affine.mlpackage": ("8-bit affine_dequantize", 32 * (32 + 8)),
    "palette.mlpackage": ("4-bit lut_to_dense", 16 * 32),
    "blocks.mlpackage": ("4-bit blockwise_shift_scale", 32 * 4 * 32),
    "groups.mlpackage": ("3-bit lut_to_dense", 8 * 8 * 32),
}


@pytest.mark.parametrize("name", FORMS)
def test_codes_of_programs_have_their_width_and_side_bits(name):
    (weight,) = (t for t in kolmo.open_checkpoint(DATA / name).values() if t.shape == (32, 64))
    assert (weight.form, weight.codes.side_bits) == FORMS[name]
    codes = weight.codes.load(0, weight.numel)
    assert int(codes.max()) < weight.codes.alphabet.size
    assert codes.shape == (2048,)


def test_blobs_without_their_model_are_flat():
    found = kolmo.open_checkpoint(
        DATA / "plain.mlpackage" / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    )
    assert sorted(tensor.numel for tensor in found.values()) == [32, 288, 2048]
    true = truth("plain.mlpackage")["fc_weight_0"]
    assert any(np.array_equal(tensor.read(), true.ravel()) for tensor in found.values())


def test_a_model_without_its_blobs_says_what_is_missing(tmp_path):
    inner = DATA / "plain.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel"
    shutil.copy(inner, tmp_path)
    with pytest.raises(InputError, match=r"which is not beside it; open the whole \.mlpackage"):
        kolmo.open_checkpoint(tmp_path / "model.mlmodel")


def test_blobs_outside_the_package_are_not_followed(tmp_path):
    inner = DATA / "plain.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel"
    name = b"@model_path/weights/weight.bin"
    data = inner.read_bytes().replace(name, b"@model_path/../../../weight.bin"[: len(name)])
    (tmp_path / "model.mlmodel").write_bytes(data)
    with pytest.raises(InputError, match="outside its folder"):
        kolmo.open_checkpoint(tmp_path / "model.mlmodel")
