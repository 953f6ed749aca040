"""Names of sources, and one thing where there may be several."""

import numpy as np
import pytest
import torch
from torch import nn

import kolmo
from kolmo.checkpoints.many import short_names
from kolmo.checkpoints.titles import title, titled
from kolmo.errors import InputError
from kolmo.specs import several

WEIGHTS = {"w": np.arange(12, dtype="f4").reshape(3, 4)}


class MLP(nn.Sequential):
    pass


def mlp():
    return MLP(nn.Linear(4, 3))


def test_files_are_called_as_they_are_or_as_their_folder(tmp_path, monkeypatch):
    names = {
        "runs/bert/model.safetensors": "bert",
        "runs/bert/pytorch_model.bin": "bert",
        "runs/bert/model.safetensors.index.json": "bert",
        "runs/bert/model.fp16.safetensors": "bert",
        "runs/bert/pytorch_model-00001-of-00002.bin": "bert",
        "out/checkpoint-500/": "checkpoint-500",
        "out/checkpoint-500/model.safetensors": "checkpoint-500",
        "a/name_0.3.0_e29.pth.tar": "name_0.3.0_e29",
        "a/trained.safetensors": "trained",
        "hub/models--org--name/snapshots/0a1b": "name",
        "hub/models--org--name/snapshots/0a1b/model.safetensors": "name",
        "hf://org/name": "name",
        "hf://org/name/model.safetensors": "name",
    }
    assert {path: short_names([path])[0] for path in names} == names
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert short_names(["model.safetensors"]) == short_names(["."]) == ["here"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/model.pt", "b/model.pt"], ["a", "b"]),
        (["a/model.pt", "b/pytorch_model.bin", "c/step-3.pt"], ["a", "b", "step-3"]),
        (["a/model.pt", "a/pytorch_model.bin"], ["model", "pytorch_model"]),
        (["a/model.pt", "a/model.bin"], ["model.pt", "model.bin"]),
    ],
)
def test_several_are_told_apart(paths, names):
    assert short_names(paths) == names


def test_objects_are_called_by_what_they_are():
    model = mlp()
    compiled = torch.compile(model, backend="eager")
    assert title(model) == title(compiled) == title(nn.DataParallel(compiled)) == "MLP"
    assert title(kolmo.open_checkpoint(model)) == "MLP"
    assert title(model.state_dict()) == "state_dict"
    assert (
        title(WEIGHTS) == title([WEIGHTS["w"]]) == title(kolmo.open_checkpoint(WEIGHTS)) == "arrays"
    )
    assert title(WEIGHTS["w"]) == "array"
    assert list(titled(model)) == ["MLP"]
    assert titled({"mine": model}) == {"mine": model}


def test_any_mixture_is_compared(tmp_path):
    path = tmp_path / "bert" / "model.npz"
    path.parent.mkdir()
    np.savez(path, **WEIGHTS)
    sources = [mlp(), str(path), mlp().state_dict(), WEIGHTS, mlp(), path.parent]
    report = kolmo.compare(sources, quantizers="sign", estimators="kt", scope="model")
    names = ["MLP", "bert", "state_dict", "arrays", "MLP-2", "bert-2"]
    assert report.table.checkpoint.tolist() == names
    alone = kolmo.compare(WEIGHTS["w"], quantizers="sign", estimators="kt", scope="model")
    assert alone.table.checkpoint.tolist() == ["array"]
    named = kolmo.analyze(path, name="mine", quantizers="sign", estimators="kt", scope="model")
    assert named.table.checkpoint.tolist() == ["mine"]


@pytest.mark.parametrize("sources", [[], {}])
def test_nothing_is_refused(sources):
    with pytest.raises(InputError, match="no source was given"):
        kolmo.compare(sources)


def test_one_needs_no_brackets():
    source = {"a.weight": WEIGHTS["w"], "a.bias": np.ones(5, "f4"), "b.mean": np.ones(5, "f4")}
    one = kolmo.analyze(source, quantizers="sign", estimators="kt", nulls="shuffled", draws=2,
                        include="a.*", exclude="*.bias", roles="weight").table  # fmt: skip
    several = kolmo.analyze(
        source,
        quantizers=["sign"],
        estimators=["kt"],
        nulls=["shuffled"],
        draws=2,
        include=["a.*"],
        exclude=["*.bias"],
        roles=["weight"],
    ).table
    shown = [column for column in one if column != "seconds"]
    assert one[shown].equals(several[shown])
    objects = kolmo.analyze(
        source, quantizers=kolmo.get_quantizer("sign"), estimators=kolmo.get_estimator("kt"),
        nulls=kolmo.get_null("shuffled"), draws=2, include="a.weight",
    ).table  # fmt: skip
    assert objects.bits.equals(one.bits)
    assert list(kolmo.open_checkpoint(source).select("a.*", "*.bias")) == ["a.weight"]


def test_several_are_left_as_they_are():
    estimator = kolmo.get_estimator("kt")
    assert several(estimator) == (estimator,)
    assert several(iter(["a", "b"])) == ("a", "b")


@pytest.mark.parametrize("call", [kolmo.analyze, lambda s: kolmo.compare([s]), kolmo.inspect])
def test_ids_of_the_hub_are_named(call):
    with pytest.raises(
        InputError, match=r"a model of the Hugging Face Hub is  hf://org/model-v1\.5$"
    ):
        call("org/model-v1.5")


@pytest.mark.parametrize("call", [kolmo.analyze, kolmo.open_checkpoint, kolmo.inspect])
def test_a_network_without_values_is_explained(call):
    with torch.device("meta"):
        model = mlp()
    with pytest.raises(InputError, match=r"MLP: its tensors are on the device meta, .* load"):
        call(model)
