"""Paddle: parameters of models for inference and of training, by their names, and damaged files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.errors import InputError, KolmoError
from tests.fuzz.damage import damaged

DATA = Path(__file__).parent / "data" / "paddle"
WEIGHTS = 54 + 3 + 3 + 3 + 48 + 4


def truth(start):
    with np.load(DATA / "truth.npz") as found:
        named = {key: found[key] for key in found.files}
    return {
        key.removeprefix(start): array
        for key, array in named.items()
        if key.startswith("named/") == bool(start)
    }


def everything(found):
    return {**found, **{entry.name: entry.tensor for entry in found.skipped if entry.tensor}}


@pytest.mark.parametrize("name", ["program.pdiparams", "program.pdmodel", "json.pdiparams"])
def test_parameters_for_inference_have_the_names_of_the_graph(name):
    found = kolmo.open_checkpoint(DATA / name)
    tensors, true = everything(found), truth("named/")
    assert set(tensors) == set(true)
    for key, array in true.items():
        np.testing.assert_array_equal(tensors[key].read(), array)
    assert found.numel == WEIGHTS
    left = {entry.name for entry in found.skipped if entry.role is Role.BUFFER}
    assert left == {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}
    assert found.format == "paddle"


@pytest.mark.parametrize("name", ["state.pdparams", "nested.pdparams"])
def test_state_dicts_are_read_as_pickles(name):
    found = kolmo.open_checkpoint(DATA / name)
    tensors = everything(found)
    assert found.numel == WEIGHTS
    for key, array in truth("").items():
        np.testing.assert_array_equal(tensors[key].read(), array)


def test_the_state_of_an_optimizer_is_no_weight():
    with pytest.raises(InputError, match="the state of an optimizer alone"):
        kolmo.open_checkpoint(DATA / "state.pdopt")


def test_parameters_without_their_graph_are_numbered(tmp_path):
    shutil.copy(DATA / "program.pdiparams", tmp_path)
    found = kolmo.open_checkpoint(tmp_path / "program.pdiparams")
    assert list(everything(found))[:2] == ["parameter 0", "parameter 1"]
    assert sum(tensor.numel for tensor in everything(found).values()) == WEIGHTS + 6


def test_a_graph_without_its_parameters_says_where_they_are(tmp_path):
    shutil.copy(DATA / "program.pdmodel", tmp_path)
    with pytest.raises(InputError, match=r"parameters are in 'program\.pdiparams', which is not"):
        kolmo.open_checkpoint(tmp_path / "program.pdmodel")


@pytest.mark.parametrize("damage", ["program.pdiparams", "program.pdmodel", "json.json"])
def test_damaged_files_are_read_or_refused(tmp_path, damage):
    for path in DATA.glob("*.*"):
        shutil.copy(path, tmp_path)
    opened = damage.replace(".json", ".pdiparams").replace(".pdmodel", ".pdiparams")
    data, outcomes = (DATA / damage).read_bytes(), set()
    for seed in range(400):
        made = damaged(data, [data], np.random.default_rng(seed))
        (tmp_path / damage).write_bytes(made)
        try:
            for one in kolmo.open_checkpoint(tmp_path / opened).values():
                one.load(0, min(one.numel, 1000))
            outcomes.add("read")
        except KolmoError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
