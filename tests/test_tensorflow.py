"""Checkpoints and SavedModels of TensorFlow: names, values, roles; damaged ones."""

import shutil

import pytest

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.sstables import unsnappy
from kolmo.errors import InputError
from tests.written import contents, opened, same_in_pieces, truth, untarred

PREFIXES = ["steps/ckpt-1", "steps/ckpt-2", "one/model.ckpt-1"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return untarred("tensorflow/files", tmp_path_factory.mktemp("tensorflow"))


def cleaned(variables):
    """Without text, which is left out; complex numbers are the same bytes as their parts."""
    numbers = {k: v for k, v in variables.items() if v[1] != "object"}
    parts = {k: [[*v[0], 2], "float32", v[2]] for k, v in numbers.items() if v[1] == "complex64"}
    return numbers | parts


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001"])
def test_variables_are_those_of_tensorflow(prefix, ending, files):
    found = opened(files / f"{prefix}{ending}")
    assert contents(found) == cleaned(truth("tensorflow")[prefix])
    assert found.format == "tensorflow"
    assert same_in_pieces(found)
    assert len(found.files) == 2


def test_what_is_left_out(files):
    found = opened(files / "steps/ckpt-1")
    assert {(s.name, s.reason, s.numel) for s in found.skipped} == {
        ("model/text", "dtype text is not supported", 0),
    }
    assert found["save_counter"].role is Role.BUFFER


def test_a_checkpoint_without_a_name_of_its_own(files, tmp_path):
    for ending in (".index", ".data-00000-of-00001"):
        shutil.copy(files / f"steps/ckpt-1{ending}", tmp_path / ending)
    assert contents(opened(tmp_path)) == cleaned(truth("tensorflow")["steps/ckpt-1"])


def test_the_latest_of_several_checkpoints_is_opened(files, tmp_path):
    found = opened(files / "steps")
    assert contents(found) == cleaned(truth("tensorflow")["steps/ckpt-2"])
    folder = shutil.copytree(files / "steps", tmp_path / "steps")
    (folder / "checkpoint").unlink()
    with pytest.raises(InputError, match="several TensorFlow checkpoints; name the"):
        opened(folder)


def test_the_state_of_optimizers_of_tensorflow_1(files):
    found = opened(files / "one")
    weights = {t.name: t.numel for t in found.values() if t.role is None}
    assert weights == {"dense/kernel": 12, "dense/bias": 3, "parts": 280}
    state = {t.name for t in found.values() if t.role is Role.OPTIMIZER}
    assert {"beta1_power", "parts/Adam", "parts/Adam_1", "dense/kernel/Adam"} < state
    assert found["global_step"].role is Role.BUFFER


@pytest.mark.parametrize("name", ["keras/model", "keras-saved", "exported"])
def test_variables_of_keras_have_their_names_and_count_once(name, files):
    found = opened(files / name)
    assert contents(found, None) == truth("tensorflow")["keras"]
    assert sum(t.numel for t in found.values() if t.role is None) == truth("tensorflow")["count"]
    others = {t.role for t in found.values() if t.role is not None}
    assert others == {Role.COPY if name == "exported" else Role.OPTIMIZER}


def test_a_saved_model_of_modules(files):
    found = opened(files / "saved")
    assert contents(found) == cleaned(truth("tensorflow")["saved"])
    assert found.source == str(files / "saved")


def test_a_saved_model_without_variables(files, tmp_path):
    folder = shutil.copytree(files / "saved", tmp_path / "saved")
    shutil.rmtree(folder / "variables")
    with pytest.raises(InputError, match="a SavedModel without variables"):
        opened(folder)


def test_missing_data(files, tmp_path):
    shutil.copy(files / "steps/ckpt-1.index", tmp_path / "ckpt-1.index")
    with pytest.raises(InputError, match=r"its data file 'ckpt-1\.data-00000-of-00001' is missing"):
        opened(tmp_path / "ckpt-1.index")


def test_snappy():
    """By the format's description: literals of two lengths, copies of one and two bytes."""
    assert unsnappy(bytes([6, 5 << 2]) + b"abcdef", "here") == b"abcdef"
    assert unsnappy(bytes([70, 60 << 2, 69]) + b"x" * 70, "here") == b"x" * 70
    assert unsnappy(bytes([8, 1 << 2]) + b"ab" + bytes([1 | 2 << 2, 2]), "here") == b"ab" * 4
    assert unsnappy(bytes([5, 0]) + b"a" + bytes([2 | 3 << 2, 1, 0]), "here") == b"a" * 5
    for damaged in (bytes([5, 0]) + b"a", bytes([5, 1, 9]), bytes([9, 8 << 2]) + b"ab"):
        with pytest.raises(InputError, match="damaged"):
            unsnappy(damaged, "here")
