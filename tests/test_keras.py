"""Files of Keras: names, values and counts are those of Keras itself."""

import pytest

import kolmo
from kolmo.checkpoints.base import Role
from tests.written import contents, same_in_pieces, truth, unpacked

FILES = [name for name in truth("keras") if not name.endswith(".keras")]


@pytest.mark.parametrize("name", FILES)
def test_variables_are_those_of_keras(name, tmp_path):
    wanted = truth("keras")[name]
    found = kolmo.open_checkpoint(unpacked(f"keras/{name}", tmp_path))
    read = contents(found, None)
    if name == "large.weights.h5":  # nothing in it says whether this is gamma or beta
        read["batch_normalization_1/beta"] = read.pop("batch_normalization_1/0")
    assert read == wanted["variables"]
    assert sum(t.numel for t in found.values() if t.role is None) == wanted["count"]
    assert found.format == "keras"
    assert same_in_pieces(found)


@pytest.mark.parametrize("name", ["small.h5", "small.weights.h5"])
def test_the_state_of_the_optimizer_has_its_role(name, tmp_path):
    found = kolmo.open_checkpoint(unpacked(f"keras/{name}", tmp_path))
    state = [t for t in found.values() if t.role is Role.OPTIMIZER]
    assert all(t.name.startswith("optimizer/") for t in state)
    trainable = 5 * 3 + 3 + 2 * 3 + 3 * 2 + 2
    assert sum(t.numel for t in state) == 2 * trainable + 2  # moments, step, learning rate


def test_a_dtype_that_the_file_does_not_say_is_a_remark(tmp_path):
    said = kolmo.open_checkpoint(unpacked("keras/bfloat16.weights.h5", tmp_path))
    guessed = kolmo.open_checkpoint(unpacked("keras/bfloat16.h5", tmp_path))
    assert said.skipped == []
    assert {s.reason for s in guessed.skipped} == {
        "2 bytes a number without a dtype, read as bfloat16"
    }
    assert {s.name for s in guessed.skipped} == set(guessed)
