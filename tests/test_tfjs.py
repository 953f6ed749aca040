"""Models of TensorFlow.js, made by hand after the description of the format."""

import json

import numpy as np
import pytest

from kolmo.errors import InputError
from tests.written import opened, same_in_pieces

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(5, 3)).astype(np.float32)
CODES = RANDOM.integers(0, 256, (4, 6)).astype(np.uint8)
WIDE = RANDOM.integers(0, 1 << 16, 9).astype(np.uint16)
HALF = RANDOM.normal(size=7).astype(np.float16)
SCALE = {"scale": 0.0123, "min": -1.5, "original_dtype": "float32"}
BYTE, WORD = {"dtype": "uint8"}, {"dtype": "uint16"}
WEIGHTS = [
    {"name": "dense/kernel", "shape": [5, 3], "dtype": "float32"},
    {"name": "step", "shape": [], "dtype": "int32"},
    {"name": "flags", "shape": [3], "dtype": "bool"},
    {"name": "codes", "shape": [4, 6], "dtype": "float32"}
    | {"quantization": {"dtype": "uint8", **SCALE}},
    {
        "name": "wide",
        "shape": [9],
        "dtype": "float32",
        "quantization": {"dtype": "uint16", **SCALE},
    },
    {"name": "half", "shape": [7], "dtype": "float32", "quantization": {"dtype": "float16"}},
]
DATA = b"".join(
    array.tobytes()
    for array in (KERNEL, np.int32(7), np.array([True, False, True]), CODES, WIDE, HALF)
)


def write(folder, weights=WEIGHTS, paths=("group1-shard1of2.bin", "group1-shard2of2.bin")):
    """A model in two files, cut within a weight."""
    folder.mkdir(exist_ok=True)
    for path, data in zip(paths, (DATA[:70], DATA[70:]), strict=False):
        (folder / path).write_bytes(data)
    manifest = [{"paths": list(paths), "weights": weights}]
    said = {"format": "layers-model", "modelTopology": {}, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("name", ["", "model.json"])
def test_weights_across_files(name, tmp_path):
    found = opened(write(tmp_path / "model") / name)
    assert np.array_equal(found["dense/kernel"].read(), KERNEL)
    assert found["step"].read() == 7
    assert found["flags"].read().tolist() == [True, False, True]
    assert found["half"].dtype == np.float16
    assert np.array_equal(found["half"].read(), HALF)
    assert same_in_pieces(found)
    assert len(found.files) == 3


def test_codes(tmp_path):
    found = opened(write(tmp_path / "model"))
    for name, stored in (("codes", CODES), ("wide", WIDE)):
        tensor = found[name]
        wanted = (stored.astype(np.float64) * 0.0123 - 1.5).astype(np.float32)
        assert np.array_equal(tensor.read(), wanted)
        assert np.array_equal(tensor.codes.load(0, tensor.numel), stored.reshape(-1))
        assert tensor.codes.alphabet.bits == 8 * stored.itemsize


def test_text_ends_what_can_be_read_of_a_file(tmp_path):
    words = {"name": "words", "shape": [2], "dtype": "string"}
    found = opened(write(tmp_path / "model", [WEIGHTS[0], words, WEIGHTS[1]]))
    assert list(found) == ["dense/kernel"]
    assert [s.name for s in found.skipped] == ["words"]


@pytest.mark.parametrize(
    ("weights", "paths", "message"),
    [
        (WEIGHTS, ["../a.bin"], "points outside its folder"),
        (WEIGHTS, ["a.bin", "b.bin", "c.bin"], "its file 'c.bin' is missing"),
        (
            [{"name": "w", "shape": [10**9], "dtype": "float32"}],
            ["a.bin"],
            "shorter than it claims",
        ),
        (
            [{"name": "w", "shape": "x", "dtype": "float32"}],
            ["a.bin"],
            "manifest of weights is damaged",
        ),
        ([WEIGHTS[0], WEIGHTS[0]], ["a.bin", "b.bin"], "two weights have the same name"),
        ([], ["a.bin"], "without any weights"),
    ],
)
def test_what_is_refused(weights, paths, message, tmp_path):
    folder = write(tmp_path / "model", weights, paths)
    with pytest.raises(InputError, match=message):
        opened(folder)
