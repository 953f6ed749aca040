"""Many checkpoints by globs and folders: which they are, their names, how many are open."""

import os

import fsspec
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import kolmo
from kolmo.checkpoints.many import find_checkpoints, short_names
from kolmo.checkpoints.opening import survey
from tests.checkpoints import write_shards


def save(path, value=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file({"w": np.full((2, 3), value, np.float32)}, path)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs of three steps, with what lies beside them."""
    for run in "ab":
        for step in (1, 9, 10):
            save(tmp_path / "runs" / run / f"step{step}.safetensors", step)
        (tmp_path / "runs" / run / "optimizer.pt").write_bytes(b"state")
        (tmp_path / "runs" / run / "log.txt").write_text("loss")
    (tmp_path / "runs" / "plots").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_glob_is_expanded_in_the_order_of_numbers(runs):
    assert find_checkpoints(["runs/*/step*.safetensors"]) == {
        f"{run}/step{step}": f"runs/{run}/step{step}.safetensors"
        for run in "ab"
        for step in (1, 9, 10)
    }


@pytest.mark.parametrize("source", ["runs", "runs/", "runs/*", "runs/*/*", "**"])
def test_what_is_no_checkpoint_is_passed_by(runs, source):
    expected = find_checkpoints(["runs/*/step*.safetensors"])
    assert set(find_checkpoints([source])) == set(expected)


def test_names_of_ones_own(runs):
    found = find_checkpoints(["first=runs/a/step1.safetensors", "b=runs/b", "runs/a/step9.*"])
    assert list(found) == ["first", "b/step1", "b/step9", "b/step10", "step9"]


def test_an_equals_sign_may_be_in_a_file_name(runs):
    save(runs / "epoch=3-step=7.safetensors")
    for source in ("epoch=3-step=7.safetensors", "epoch=*"):
        assert find_checkpoints([source]) == {"epoch=3-step=7": "epoch=3-step=7.safetensors"}


def test_a_path_that_looks_like_a_glob_is_a_path(runs):
    save(runs / "x[1].safetensors")
    assert find_checkpoints(["x[1].safetensors"]) == {"x[1]": "x[1].safetensors"}


def test_overlapping_globs_name_a_checkpoint_once(runs):
    found = find_checkpoints(["runs/a/*", "runs/*/step1.*"])
    assert list(found) == ["a/step1", "a/step9", "a/step10", "b/step1"]


def test_two_checkpoints_of_one_name_are_refused(runs):
    with pytest.raises(kolmo.InputError, match="both have the name 'x'"):
        find_checkpoints(["x=runs/a/step1.safetensors", "x=runs/b/step1.safetensors"])


def test_a_glob_that_matches_nothing_is_refused(runs):
    with pytest.raises(kolmo.InputError, match="no such file or folder"):
        find_checkpoints(["runs/*/nothing*"])


def test_shards_are_one_checkpoint(tmp_path):
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        index = write_shards(tmp_path / run)
    with_index = find_checkpoints([str(tmp_path / "*" / "*")])
    assert with_index == {run: str(tmp_path / run / index.name) for run in ("one", "two")}
    for run in ("one", "two"):
        (tmp_path / run / index.name).unlink()
    without = find_checkpoints([str(tmp_path / "*" / "*.safetensors")])
    assert without == {run: str(tmp_path / run) for run in ("one", "two")}


def test_a_folder_that_is_a_checkpoint_is_one(tmp_path):
    save(tmp_path / "model.safetensors")
    save(tmp_path / "checkpoint-500" / "model.safetensors")
    assert find_checkpoints([tmp_path]) == {tmp_path.name: str(tmp_path)}
    assert survey(str(tmp_path)).numel == 6


def test_remote_globs_and_folders():
    fs = fsspec.filesystem("memory")
    data = safetensors.numpy.save({"w": np.ones(3)})
    for step in (2, 10):
        fs.pipe(f"/many/runs/step-{step}.safetensors", data)
    expected = {f"step-{n}": f"memory://many/runs/step-{n}.safetensors" for n in (2, 10)}
    for source in ("memory://many/runs/*.safetensors", "memory://many/runs"):
        found = find_checkpoints([source])
        assert list(found) == list(expected)
        assert [survey(path).numel for path in found.values()] == [3, 3]
    fs.rm("/many", recursive=True)


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "c.pt", "1"]), min_size=1, max_size=4).map("/".join),
        unique=True,
    )
)
def test_short_names_are_parts_of_the_paths_and_differ(paths):
    names = short_names(paths)
    assert len(set(names)) == len(paths)
    for name, path in zip(names, paths, strict=True):
        parts = iter(path.removesuffix(".pt").split("/") + path.split("/"))
        assert all(part in parts for part in name.split("/"))


# --- how many files are open ----------------------------------------------------------------


def test_more_are_measured_than_may_be_open(tmp_path):
    """A file is open while its weights are read, not from the beginning to the end of a run."""
    resource = pytest.importorskip("resource")
    for step in range(40):
        save(tmp_path / f"step{step}.safetensors", step)
        np.savez(tmp_path / f"other{step}.npz", w=np.full((2, 3), step, np.float32))
    options = {"quantizers": ["native"], "estimators": ["kt"], "scope": "model"}
    kolmo.compare({"a": tmp_path / "step1.safetensors"}, **options)  # which loads libraries
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(first := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + 16, before[1]))
    try:
        table = kolmo.compare([tmp_path / "step*", tmp_path / "other*"], **options).table
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(table) == 80
    assert table.bits.notna().all()
