"""Checkpoints at equal distortion: which figures count, and how they are told."""

import numpy as np

import kolmo

NOISE = np.random.default_rng(0).normal(size=(2, 48, 32)).astype(np.float32)
MODELS = {
    "run-1": {"w": NOISE[0]},
    "run-2": {"w": NOISE[1] * np.float32(7)},
    "mosaic": {"w": NOISE[0, :4, :8][np.arange(192) ** 2 // 5 % 4].reshape(48, 32)},
}


def report(*quantizers):
    return kolmo.compare(MODELS, quantizers=quantizers, estimators=["kt", "mosaic"], scope="model")


def test_the_weights_as_they_are_count_at_every_distortion():
    found = report("native", "nmse:0.001", "nmse:0.1").at_distortion()
    best = found.set_index(["checkpoint", "asked"])
    assert (best.loc["mosaic", "quantizer"] == "native").all()
    for run in ("run-1", "run-2"):
        fine, coarse = (best.loc[(run, asked)] for asked in ("nmse:0.001", "nmse:0.1"))
        assert (fine["quantizer"], coarse["quantizer"]) == ("nmse:0.001", "nmse:0.1")
        assert coarse["bits"] < fine["bits"]
    assert found["nmse"].tolist() == [0.001, 0.1] * 3


def test_two_grids_of_one_distortion_are_told_apart():
    lines = report("nmse:0.001", "nmse:0.001,axis=tensor").summary().splitlines()
    told = [line.strip() for line in lines if "at equal distortion" in line]
    heads = ["at equal distortion (nmse 0.001): ", "at equal distortion (nmse 0.001,axis=tensor): "]
    assert [line[: len(head)] for line, head in zip(told, heads, strict=True)] == heads


def test_names_are_told_as_they_are():
    (line,) = [line for line in report("nmse:0.001").summary().splitlines() if "at equal" in line]
    assert "run-1 " in line
    assert "run-2 " in line


def test_fixed_levels_with_other_errors_are_marked():
    outlier = NOISE[0].copy()
    outlier[0, 0] = 40
    models = {"plain": {"w": NOISE[0]}, "outlier": {"w": outlier}}
    told = kolmo.compare(models, quantizers=["symmetric:8"], estimators=["kt"], scope="model")
    assert "symmetric:8: the errors of these checkpoints differ" in told.summary()
