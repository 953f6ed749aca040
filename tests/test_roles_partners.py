"""Partners: one tensor of two checkpoints, whatever wrappers put before its name and into it."""

import numpy as np
import pytest
import torch
from torch import nn

import kolmo
from kolmo.checkpoints.tensor_names import normalized, partners

NAMES = {
    "fc.weight": ["module.fc.weight", "_orig_mod.fc.weight", "_orig_mod.module.fc.weight",
                  "state_dict.fc.weight", "model_state_dict.module.fc.weight",
                  "base_model.model.fc.base_layer.weight", "_fsdp_wrapped_module.fc.weight",
                  "_fsdp_wrapped_module.fc._checkpoint_wrapped_module.weight",
                  "base_model.model.fc.modules_to_save.default.weight",
                  "fc.parametrizations.weight.original", "fc.weight:0"],
    "q.lora_A.weight": ["base_model.model.q.lora_A.default.weight", "q.lora_A.weight"],
    "module": ["module"], "": [""], "modules.fc": ["modules.fc"], "model.fc": ["model.fc"],
}  # fmt: skip


@pytest.mark.parametrize("plain", NAMES)
def test_names_without_what_wrappers_add(plain):
    assert {normalized(name) for name in NAMES[plain]} == {plain}
    assert normalized(plain) == plain


def test_partners_are_sure():
    assert partners(["module.a", "b"], ["a", "module.b"]) == {"module.a": "a", "b": "module.b"}
    assert partners(["module.a", "_orig_mod.a"], ["a"]) == {}  # either might be it
    assert partners(["a", "module.a"], ["a"]) == {"a": "a"}
    assert partners(["a"], ["module.a", "_orig_mod.a"]) == {}
    inner = partners(["net.a.w", "net.b.w"], ["a.w", "b.w", "c.w"])
    assert inner == {"net.a.w": "a.w", "net.b.w": "b.w"}
    assert partners(["a.w", "b.w"], ["c.w", "d.w"]) == {}
    assert partners([], ["a"]) == partners(["a"], []) == {}


def wrapped(form):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 9))
    if form == "compiled":
        return {f"_orig_mod.{name}": t.clone() for name, t in model.state_dict().items()}
    if form == "parallel":
        return {"model": {f"module.{name}": t.clone() for name, t in model.state_dict().items()}}
    if form == "lightning":
        return {f"net.{name}": t.clone() for name, t in model.state_dict().items()}
    return {name: t.clone() for name, t in model.state_dict().items()}


@pytest.mark.parametrize("form", ["compiled", "parallel", "lightning"])
def test_a_wrapped_model_has_its_base_as_partner(form):
    base, tuned = wrapped("plain"), wrapped(form)
    report = kolmo.delta(base, tuned, estimators=["kt"], scope="tensor")
    assert report.provenance["problems"] == []
    assert report.coverage.measured.all()
    names = list(tuned.get("model", tuned))
    assert list(report.coverage.tensor) == names  # the original names stay
    assert set(report.table.tensor) == set(names)
    bits = report.table[report.table.estimator == "delta"].bits
    assert (bits < 30).all()


def test_a_series_may_be_wrapped_from_some_step_on():
    sources = {0: wrapped("plain"), 1: wrapped("compiled"), 2: wrapped("lightning")}
    report = kolmo.trajectory(sources, quantizers=["sign"], estimators=["kt"])
    assert report.provenance["problems"] == []
    sources[3] = {name: tensor for name, tensor in wrapped("compiled").items() if "0." in name}
    problems = kolmo.trajectory(sources, quantizers=["sign"], estimators=["kt"])
    assert [p.split(":")[0] for p in problems.provenance["problems"]] == ["step 3", "step 3"]


def test_a_reference_may_be_wrapped(tmp_path):
    torch.save(wrapped("parallel"), tmp_path / "init.pt")
    report = kolmo.analyze(
        wrapped("compiled"),
        quantizers=["sign"],
        estimators=["kt"],
        nulls=[f"reference:{tmp_path / 'init.pt'}"],
        scope="tensor",
    )
    assert np.array_equal(report.table.null_bits, report.table.bits)
