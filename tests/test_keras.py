"""Files of Keras: names, values and counts are those of Keras itself."""

import json
import zipfile

import numpy as np
import pytest

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.keras_layers import layers_of
from kolmo.errors import InputError
from tests.written import contents, opened, same_in_pieces, truth, unpacked

FILES = list(truth("keras"))

UNKNOWN = {
    # nothing in a file of weights alone says whether this is gamma or beta
    "large.weights.h5": {"batch_normalization_1/0": "batch_normalization_1/beta"},
}


@pytest.mark.parametrize("name", FILES)
def test_variables_are_those_of_keras(name, tmp_path):
    wanted = truth("keras")[name]
    found = opened(unpacked(f"keras/{name}", tmp_path))
    read = contents(found, None) | contents(found, Role.WEIGHT)  # the latter are statistics
    read = {UNKNOWN.get(name, {}).get(key, key): value for key, value in read.items()}
    assert read == wanted["variables"]
    assert sum(t.numel for t in found.values() if t.role in (None, Role.WEIGHT)) == wanted["count"]
    assert found.format == "keras"
    assert same_in_pieces(found)


@pytest.mark.parametrize(("name", "bits"), [("int8", 8), ("int4", 4), ("int4-channel", 4)])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_codes_of_quantized_layers(name, bits, ending, tmp_path):
    found = opened(unpacked(f"keras/{name}{ending}", tmp_path))
    quantized = [t for t in found.values() if t.codes]
    assert sorted(t.shape for t in quantized) == [(5, 3), (7, 5), (10, 7)]
    for tensor in quantized:
        codes = tensor.codes.load(0, tensor.numel)
        assert tensor.codes.alphabet.bits == bits
        assert tensor.form == f"{bits}-bit Keras int{bits}"
        assert codes.dtype == np.uint8
        assert codes.max() < 1 << bits
        assert np.array_equal(tensor.codes.load(3, 11), codes[3:11])
        beside = [t for t in found.values() if t.name.startswith(tensor.name.rpartition("/")[0])]
        helpers = [t for t in beside if t.role is Role.BOOKKEEPING]
        assert tensor.codes.side_bits == sum(8 * t.numel * t.dtype.itemsize for t in helpers) > 0
        if bits == 8:
            stored = tensor.codes.stored[0].read().reshape(-1)
            assert np.array_equal(codes.astype(int) - 128, stored.astype(int))


def test_float8_training_keeps_float_weights_and_its_histories_are_no_weights(tmp_path):
    found = opened(unpacked("keras/float8.keras", tmp_path))
    roles = {t.name.rpartition("/")[2]: t.role for t in found.values()}
    assert roles["kernel_amax_history"] is Role.BUFFER
    assert roles["inputs_scale"] is roles["outputs_grad_scale"] is Role.BOOKKEEPING


def test_an_archive_that_is_packed_is_read_too(tmp_path):
    path = unpacked("keras/small.keras", tmp_path)
    wanted = contents(opened(path))
    packed = tmp_path / "packed.keras"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert contents(opened(packed)) == wanted


def test_what_a_model_says_of_its_layers():
    inner = {"class_name": "Dense", "config": {"name": "a", "dtype": {"config": {"mode": "int8"}}}}
    twice = [{"class_name": name, "config": {"name": "b"}} for name in ("Conv2DTranspose", "GRU")]
    layers = layers_of(json.dumps({"config": {"layers": [inner, *twice]}}).encode())
    assert set(layers) == {"a"}
    assert (layers["a"].kind, layers["a"].mode) == ("dense", "int8")
    assert layers_of(b"[" * 100_000) == layers_of(b"no JSON") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, data: data[:2000] if name.endswith(".h5") else data, "damaged or truncated"),
        (lambda name, data: b"" if name.endswith(".h5") else data, "damaged or truncated"),
    ],
)
def test_a_damaged_archive(change, message, tmp_path):
    path, damaged = unpacked("keras/small.keras", tmp_path), tmp_path / "damaged.keras"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    with pytest.raises(InputError, match=message):
        opened(damaged)


@pytest.mark.parametrize("name", ["small.h5", "small.weights.h5"])
def test_the_state_of_the_optimizer_has_its_role(name, tmp_path):
    found = opened(unpacked(f"keras/{name}", tmp_path))
    state = [t for t in found.values() if t.role is Role.OPTIMIZER]
    assert all(t.name.startswith("optimizer/") for t in state)
    trainable = 5 * 3 + 3 + 2 * 3 + 3 * 2 + 2
    assert sum(t.numel for t in state) == 2 * trainable + 2  # moments, step, learning rate


def test_a_dtype_that_the_file_does_not_say_is_a_remark(tmp_path):
    said = opened(unpacked("keras/bfloat16.weights.h5", tmp_path))
    guessed = opened(unpacked("keras/bfloat16.h5", tmp_path))
    assert said.skipped == []
    assert {s.reason for s in guessed.skipped} == {
        "2 bytes a number without a dtype, read as bfloat16"
    }
    assert {s.name for s in guessed.skipped} == set(guessed)
