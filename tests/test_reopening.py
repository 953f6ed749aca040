"""Checkpoints and tensors pickle: another process reads the same bytes, or says they changed."""

import concurrent.futures
import json
import multiprocessing
import os
import pickle
import subprocess
import sys

import fsspec
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch

import kolmo
from kolmo.checkpoints import Checkpoint, array_tensor, check_unchanged
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import _reopened, open_source, survey
from kolmo.checkpoints.selecting import choose
from tests.checkpoints import ARRAYS, tensors, write_shards
from tests.reopening import everything, facts
from tests.servers import serving
from tests.test_corpus import CORPUS, OPENED, TRUTH, opened

WEIGHTS = np.random.default_rng(1).standard_normal((40, 9)).astype(np.float32)


@pytest.fixture(autouse=True)
def _nothing_is_open():
    _reopened.cache_clear()


def copied(thing):
    return pickle.loads(pickle.dumps(thing))


def told(checkpoint):
    return json.loads(json.dumps(everything(checkpoint)))


# --- another process ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What another process, in another folder, reads of every input of the corpus."""
    folder = tmp_path_factory.mktemp("elsewhere")
    held = {name: survey(CORPUS / "inputs" / TRUTH[name]["path"]) for name in OPENED}
    held["chosen"] = choose(opened("torch-buffers"), ["buffer", "weight"], exclude=["*bias"])
    (folder / "held.pickle").write_bytes(pickle.dumps(held))
    root = os.path.dirname(os.path.dirname(kolmo.__file__))
    command = [sys.executable, "-m", "tests.reopening", "held.pickle"]
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return held, json.loads(done.stdout)


@pytest.mark.parametrize("name", [*OPENED, "chosen"])
def test_another_process_reads_the_same(elsewhere, name):
    held, read = elsewhere
    assert read[name] == told(held[name])


def test_tensors_are_read_by_spawned_workers():
    found = [tensor for name in ("st-sharded", "gguf-k-quants") for tensor in opened(name).values()]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        assert list(pool.map(facts, found)) == list(map(facts, found))


def test_a_relative_path_is_found_from_any_folder(tmp_path, monkeypatch):
    safetensors.numpy.save_file({"w": WEIGHTS}, tmp_path / "x.safetensors")
    monkeypatch.chdir(tmp_path)
    found = copied(open_source("x.safetensors"))
    monkeypatch.chdir("/")
    assert found["w"].read().tobytes() == WEIGHTS.tobytes()


def test_a_checkpoint_is_opened_once_for_all_its_tensors(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({f"layer.{n}": WEIGHTS + n for n in range(50)}, path)
    jobs = [pickle.dumps(tensor) for tensor in open_source(path).values()]
    assert {pickle.loads(job).read()[0, 0] - WEIGHTS[0, 0] for job in jobs} != {0}
    assert (_reopened.cache_info().misses, _reopened.cache_info().hits) == (1, 49)
    assert max(map(len, jobs)) < 1000


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"w": WEIGHTS}, path)
    held = pickle.dumps(open_source(path))
    path.unlink()
    found = pickle.loads(held)
    assert (list(found), found["w"].shape) == (["w"], (40, 9))
    with pytest.raises(kolmo.InputError, match="no such file"):
        found["w"].read()


# --- many files, servers --------------------------------------------------------------------


def test_shards_and_remote_files_are_opened_again(tmp_path):
    index = write_shards(tmp_path)
    with serving(tmp_path) as server:
        for source in (index, tmp_path, f"{server.url}/{index.name}"):
            found = open_source(source)
            assert told(copied(found)) == told(found)


def test_a_server_whose_file_changed_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"w": WEIGHTS}, path)
    with serving(tmp_path) as server:
        url = f"{server.url}/x.safetensors?key=secret"
        found = open_source(url)
        check_unchanged(found)
        safetensors.numpy.save_file({"w": WEIGHTS + 1}, path)
        with pytest.raises(kolmo.InputError, match="changed while it was measured") as caught:
            copied(found)["w"].read()
        assert "secret" not in str(caught.value)
        with pytest.raises(kolmo.InputError, match="changed while it was read"):
            check_unchanged(found)


def test_a_changed_object_is_noticed():
    fs = fsspec.filesystem("memory")
    fs.pipe("/reopening/x.safetensors", safetensors.numpy.save({"w": WEIGHTS}))
    found = open_source("memory://reopening/x.safetensors")
    check_unchanged(found)
    assert copied(found)["w"].read().tobytes() == WEIGHTS.tobytes()
    fs.pipe("/reopening/x.safetensors", safetensors.numpy.save({"w": WEIGHTS[1:]}))
    with pytest.raises(kolmo.InputError, match="changed while it was read"):
        check_unchanged(found)
    fs.rm("/reopening", recursive=True)


# --- files that change ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz"])
def test_a_file_that_changes_is_noticed(tmp_path, name):
    path = tmp_path / name
    save = safetensors.numpy.save_file if name.endswith("s") else np.savez
    write = (lambda w: save({"w": w}, path)) if name.endswith("s") else (lambda w: save(path, w=w))
    write(WEIGHTS)
    found = open_source(path)
    held = pickle.dumps(found)
    check_unchanged(found)
    os.utime(path, ns=(1, 1))  # a write whose size is the same
    for read in (lambda: found["w"].read(), lambda: check_unchanged(found)):
        with pytest.raises(kolmo.InputError, match=rf"{name}: it was changed while it was read"):
            read()
    with pytest.raises(kolmo.InputError, match=rf"{name}: it was changed while it was measured"):
        pickle.loads(held)["w"].read()
    again = copied(open_source(path))
    assert again["w"].read().tobytes() == WEIGHTS.tobytes()
    path.unlink()
    with pytest.raises(kolmo.InputError, match=f"{name}"):
        check_unchanged(again)


def test_fingerprints_are_those_of_the_time_of_opening(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"w": WEIGHTS}, path)
    found, status = survey(path), path.stat()
    path.write_bytes(b"")
    expected = {str(path): f"size={status.st_size} mtime_ns={status.st_mtime_ns}"}
    assert found.fingerprints == found.select(["w"]).fingerprints == expected
    assert copied(found).fingerprints == expected


# --- memory ---------------------------------------------------------------------------------


def live_module():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    module[1].tied = module[0].bias
    return module


@pytest.mark.parametrize(
    "source",
    [
        ARRAYS,
        tensors(),
        live_module(),
        WEIGHTS.astype(ml_dtypes.bfloat16),
        WEIGHTS.T[::2],
        [WEIGHTS, [1.5, 2.5]],
        {"up.weight": np.int8([[1, 2], [3, 4]]), "up.weight_scale": np.float32([[0.5], [2]])},
    ],
    ids=["arrays", "torch", "module", "bfloat16", "strides", "list", "scaled"],
)
def test_what_is_in_memory_pickles_by_value(source):
    found = survey(source)
    assert told(copied(found)) == told(found)
    assert everything(copied(open_source(found))) == everything(found)


def test_arrays_are_pickled_once_where_they_are_shared():
    tensor = array_tensor("w", np.zeros(100_000))
    twice = Checkpoint([tensor, array_tensor("v", tensor.load.array)], source="x", format="arrays")
    assert len(pickle.dumps(twice)) < 900_000


def test_copies_have_equal_places_and_no_others():
    checkpoint = open_source(CORPUS / "inputs" / "torch-tied.pt")
    before = {name: tensor.place for name, tensor in checkpoint.items()}
    after = {name: tensor.place for name, tensor in copied(checkpoint).items()}
    assert {(a, b) for a in before for b in before if before[a] == before[b]} == {
        (a, b) for a in after for b in after if after[a] == after[b]
    }
    assert not set(before.values()) & set(after.values())


def test_roles_and_names_that_were_chosen_are_kept():
    found = opened("torch-buffers").with_roles(["buffer"])
    again = copied(found)
    assert {name: tensor.role for name, tensor in again.items()} == {
        name: tensor.role for name, tensor in found.items()
    }
    assert any(entry.role is Role.BUFFER for entry in copied(opened("torch-buffers")).skipped)
