"""Programs that carry a model: llamafiles, and TorchScript for telephones (.ptl)."""

import zipfile

import numpy as np
import pytest
import torch

import kolmo
from kolmo.errors import InputError
from tests.corpus.gguf import floats, gguf

W = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)


def write(path, members):
    path.write_bytes(b"MZqFpD='\n" + bytes(5000))
    with zipfile.ZipFile(path, "a") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_llamafile_has_the_model_that_it_carries(tmp_path):
    members = {".args": b"-m\nmodel.gguf\n", "model.gguf": gguf({"a": floats(W)})}
    found = kolmo.open_checkpoint(write(tmp_path / "chat.llamafile", members))
    assert found["a"].read().tobytes() == W.tobytes()
    assert found.files == (str(tmp_path / "chat.llamafile"),)


def test_a_llamafile_without_a_model(tmp_path):
    with pytest.raises(InputError, match="without a model"):
        kolmo.open_checkpoint(write(tmp_path / "llamafile", {".args": b""}))
    (tmp_path / "torn.llamafile").write_bytes(b"MZqFpD='\n" + bytes(5000))
    with pytest.raises(InputError, match="damaged or truncated zip archive"):
        kolmo.open_checkpoint(tmp_path / "torn.llamafile")


@pytest.mark.filterwarnings("ignore")
def test_a_model_for_telephones(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 40), torch.nn.ReLU())
    torch.jit.script(model)._save_for_lite_interpreter(str(tmp_path / "model.ptl"))
    found = kolmo.open_checkpoint(tmp_path / "model.ptl")
    assert {name: tensor.shape for name, tensor in found.items()} == {
        "0.weight": (40, 3),
        "0.bias": (40,),
    }
    assert (found["0.weight"].read() == model[0].weight.detach().numpy()).all()
