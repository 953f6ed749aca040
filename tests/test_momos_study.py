"""The study end to end on a tiny model, and the command line."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

import kolmo
from kolmo.errors import InputError
from kolmo.execution import no_progress
from momos import cli
from momos.config import SampledMosaic
from momos.lab.arms import StudyConfig
from momos.lab.config import TrainConfig
from momos.lab.results import arms
from momos.lab.runs import train_runs
from momos.lab.studies import study
from momos.mosaic.mosaic import Mosaic


def metadata_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["momos"])


TINY = StudyConfig(
    TrainConfig(epochs=4, hidden=16),
    every=2,
    seeds=(0, 1),
    bits=(3,),
    capacities=(0.05,),
    rates=(0.1,),
    grids=(0.5,),
    draws=2,
)
ARMS = ["init", "dense", "qat3", "momos-0.05", "learned-0.1", "grid-0.5"]
MOSAICS = ARMS[3:]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    return study(TINY, out, threads=1), out


def test_every_arm_and_seed_is_there(finished):
    result, out = finished
    assert list(dict.fromkeys(result.table.arm)) == ARMS
    assert [(run.arm, run.seed) for run in result.runs] == [(a, s) for s in (0, 1) for a in ARMS]
    for name in (
        *("results.parquet", "results.csv", "summary.csv", "index.html", "accuracy.png"),
        *("trajectory.parquet", "trajectory.csv", "trajectory.png", "findings.txt"),
        *("trajectory_levels.png", "trajectory_native.png", "published.png"),
    ):
        assert (out / name).stat().st_size > 0
    assert len(list((out / "checkpoints").glob("*.safetensors"))) == 2 * len(ARMS)
    assert len(list((out / "checkpoints").glob("*.mosaic"))) == 2 * len(MOSAICS)


def test_function_bits_are_of_validation_and_bound_each_arm(finished):
    result, _ = finished
    rows = result.table.query("estimator == 'function'")
    assert sorted(rows.arm) == sorted(2 * ARMS)
    assert (rows.kind == "bound").all()
    assert not rows.lossless.any()
    init = rows[rows.arm == "init"]
    assert (init.bits < 0.1 * init.raw_bits).all()  # all 0, it guesses as well
    assert any(line.startswith("Function bits") for line in result.findings)


def test_the_table_is_what_kolmo_measures_of_the_files(finished):
    result, out = finished
    path = out / "checkpoints" / "momos-0.05-seed1.safetensors"
    report = kolmo.analyze(
        path, quantizers=["native"], estimators=["mosaic"], nulls=["shuffled"], draws=2,
        scope="model", seed=1,
    )  # fmt: skip
    measured = report.table.iloc[0]
    rows = result.table.query(
        "arm == 'momos-0.05' and seed == 1 and quantizer == 'native' and estimator == 'mosaic'"
    )
    row = rows.iloc[0]
    assert (row.bits, row.null_bits) == (measured.bits, measured.null_bits)
    assert row.ratio_to_shuffled == measured.bits / measured.null_bits
    init = result.table.query(
        "arm == 'init' and seed == 1 and quantizer == 'native' and estimator == 'mosaic'"
    ).iloc[0]
    assert row.ratio_to_init == row.bits / init.bits


def test_ratios_of_the_initialization_are_one_and_summary_is_mean_and_sd(finished):
    result, _ = finished
    own = result.table[(result.table.arm == "init") & result.table.bits.notna()]
    assert (own.ratio_to_init == 1).all()
    line = result.summary.query("arm == 'dense' and quantizer == 'sign' and estimator == 'kt'")
    values = result.table.query("arm == 'dense' and quantizer == 'sign' and estimator == 'kt'")
    assert line.bits_per_weight_mean.item() == pytest.approx(values.bits_per_weight.mean())
    assert line.bits_per_weight_sd.item() == pytest.approx(values.bits_per_weight.std(ddof=1))
    assert line.seeds.item() == 2


def test_the_best_bound_is_lossless_and_honest(finished):
    result, _ = finished
    found = arms(result.table).set_index("arm")
    lossless = result.table[result.table.lossless]
    assert set(lossless[lossless.arm == "dense"].quantizer) == {"native"}
    assert set(lossless[lossless.arm == "qat3"].quantizer) == {"native", "symmetric:3"}
    for arm in ARMS:
        bounds = lossless[(lossless.arm == arm) & (lossless.kind == "bound")]
        coded = bounds.groupby("seed").bits_per_weight.min()
        written = bounds.groupby("seed").file_bits_per_weight.first()
        assert written.notna().all() == (arm in ["qat3", *MOSAICS])
        least = np.fmin(coded, written).mean()
        extra = 4 / bounds.numel.iloc[0]  # which code; the scales are in the bits of the bounds
        assert least < found.bound_mean[arm] <= least + extra
    quantized = lossless[(lossless.arm == "qat3") & (lossless.quantizer == "symmetric:3")]
    assert (quantized.side_bits >= 10 * 32).all()  # of ten tensors
    assert found.nominal_bits_per_weight_mean["qat3"] == 3
    assert found.nominal_bits_per_weight_mean["dense"] == 32


def test_nominal_bits_are_those_of_the_mosaic_file(finished):
    result, out = finished
    mosaic = Mosaic.load(out / "checkpoints" / "momos-0.05-seed0.mosaic")
    run = next(run for run in result.runs if (run.arm, run.seed) == ("momos-0.05", 0))
    nominal = mosaic.description_length() / mosaic.partition.numel
    assert run.metrics["nominal_bits_per_weight"] == nominal
    stored = safetensors.numpy.load_file(run.checkpoint)
    assert all(np.array_equal(array, stored[name]) for name, array in mosaic.arrays().items())
    assert metadata_of(run.checkpoint)["projected"] is True


@pytest.mark.slow
def test_an_interrupted_study_goes_on_where_it_stopped(finished, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total, label):
        if label == "measured dense, seed 0":
            raise Stop

    small = dataclasses.replace(TINY, seeds=(0,))
    with pytest.raises(Stop):
        study(small, tmp_path, threads=1, progress=stop)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    assert {path.name for path in files if path.parent.name == "measured"} == {
        *("init-seed0.json", "init-seed0-function.json", "init-seed0-end.json"),
        *(
            "dense-seed0.json",
            "dense-seed0-function.json",
            "dense-seed0-end.json",
            "dense-seed0-between.json",
        ),
    }
    (tmp_path / "runs" / "qat3-seed0.json").write_text("{damaged")
    changed = tmp_path / "checkpoints" / "momos-0.05-seed0.safetensors"
    changed.write_bytes(b"changed")
    lost = tmp_path / "checkpoints" / "learned-0.1-seed0" / "epoch-000002.safetensors"
    lost.unlink()
    result = study(small, tmp_path, threads=1)
    kept = {path for path, at in files.items() if path.exists() and path.stat().st_mtime_ns == at}
    assert {path.name for path in files if path not in kept} == {
        *("qat3-seed0.json", "qat3-seed0.safetensors", "momos-0.05-seed0.json"),
        *("momos-0.05-seed0.safetensors", "momos-0.05-seed0.mosaic", "learned-0.1-seed0.json"),
        *("learned-0.1-seed0.safetensors", "learned-0.1-seed0.mosaic"),
        *(f"epoch-00000{epoch}.safetensors" for epoch in (0, 2, 4)),
    }
    whole = finished[0].table
    first = whole[whole.seed == 0].drop(columns="seconds").reset_index(drop=True)
    pd.testing.assert_frame_equal(result.table.drop(columns="seconds"), first)


def test_checkpoints_along_training_are_measured_and_kept(finished):
    result, out = finished
    followed = ["dense", "qat3", "momos-0.05", "learned-0.1", "grid-0.5"]
    assert result.config.followed() == followed
    table = result.trajectory
    places = list(dict.fromkeys(zip(table.arm, table.seed, table.epoch, strict=True)))
    assert places == [
        (arm, seed, epoch)
        for seed in (0, 1)
        for arm, epochs in (("init", [0]), *((arm, [2, 4]) for arm in followed))
        for epoch in epochs
    ]
    path = out / "checkpoints" / "momos-0.05-seed1" / "epoch-000002.safetensors"
    assert metadata_of(path)["projected"] is True
    report = kolmo.analyze(
        path, quantizers=["native"], estimators=["mosaic"], nulls=["shuffled"], draws=2,
        scope="model", seed=1,
    )  # fmt: skip
    row = table.query("arm == 'momos-0.05' and seed == 1 and epoch == 2 and quantizer == 'native'")
    row = row[row.estimator == "mosaic"].iloc[0]
    assert (row.bits, row.null_bits) == (report.table.bits[0], report.table.null_bits[0])
    assert row.ratio_to_shuffled == row.bits / row.null_bits
    facts = table.groupby("arm")[["zero_tail", "peak"]].first()
    assert (facts.peak > 1).all()
    assert facts.zero_tail["init"] > 2 > facts.zero_tail["dense"]  # torch's grid, and no grid
    series = kolmo.trajectory(out / "checkpoints" / "dense-seed0", quantizers=["sign"],
                              estimators=["kt"])  # fmt: skip
    assert list(series.series["steps"].values()) == [0, 2, 4]


def test_the_page_begins_with_the_figure_and_what_was_found(finished):
    result, out = finished
    page = (out / "index.html").read_text()
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings[:3] == [
        "K(w) over training, at a relative error of 0.001", "What was found", "Arms",
    ]  # fmt: skip
    assert result.findings
    for line in result.findings:
        assert html.escape(line) in page
    for address in ("https://arxiv.org/abs/2602.14896", "https://arxiv.org/abs/2605.15551"):
        assert f'href="{address}"' in page
    for arm in ARMS:
        assert html.escape(result.config.meaning(arm)) in page
    assert (out / "findings.txt").read_text().splitlines() == result.findings


@pytest.mark.slow
def test_processes_that_train_give_the_same_bits(finished, tmp_path):
    _, out = finished
    small = dataclasses.replace(TINY, seeds=(0,), bits=(), capacities=())
    train_runs(small, tmp_path, 2, lambda line: None, lambda name: no_progress)
    for path in (tmp_path / "checkpoints").rglob("*.safetensors"):
        own = path.relative_to(tmp_path)
        assert path.read_bytes() == (out / own).read_bytes()


def test_by_default_checkpoints_are_taken_right_after_projections():
    config = StudyConfig()
    assert config.epochs_between() == 10
    assert config.followed() == ["dense", "qat4", "momos-0.05", "learned-0.3"]
    rivals = dataclasses.replace(config, sparsities=(0.5, 0.8, 0.9))
    assert rivals.followed() == [*config.followed(), "pruned-0.8"]
    short = dataclasses.replace(config, train=TrainConfig(epochs=4), every=3)
    assert short.epochs_between() == 3
    assert dataclasses.replace(config, save_every=7).epochs_between() == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_every": 0}, "save_every"),
        ({"quantizer": "symmetrical:8"}, "symmetric"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (1, 1)}, "twice"),
        ({"seeds": (-1,)}, "negative"),
        ({"bits": (1,)}, "2 to 16"),
        ({"capacities": (0.0,)}, "capacity"),
        ({"draws": 0}, "draws"),
        ({"train": TrainConfig(bits=4)}, "arms"),
        ({"train": TrainConfig(mosaic=SampledMosaic())}, "arms"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        StudyConfig(**options)


# --- command line -----------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``momos`` with some arguments: exit code, stdout, stderr."""

    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["momos", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        captured = capsys.readouterr()
        return exit.value.code or 0, captured.out, captured.err

    return go


def test_train_writes_checkpoints_and_clean_json(run, tmp_path):
    options = ["--epochs", 2, "--hidden", 8, "--momos", "--motifs", 5, "--out", tmp_path]
    code, out, err = run("train", *options, "--json")
    assert code == 0
    assert all(" % " in line for line in err.splitlines())  # how far it is, on a slow machine
    document = json.loads(out)
    assert document["metrics"]["motifs"] == 5
    assert len(document["history"]) == 2
    assert Mosaic.load(document["files"]["mosaic"]).motifs.shape == (5, 4)
    code, out, _ = run("train", *options)
    assert code == 0
    assert "best test accuracy" in out


def test_train_learns_a_mosaic_and_goes_on(run, tmp_path):
    options = ["--epochs", 2, "--hidden", 8, "--rate", 0.1, "--optimizer", "sgd"]
    options += ["--learning-rate", 0.05, "--policy", "matrices", "--out", tmp_path, "--json"]
    code, out, _ = run("train", *options)
    assert code == 0
    document = json.loads(out)
    mosaic = Mosaic.load(document["files"]["mosaic"])
    assert mosaic.motifs.shape == (5, 1)
    assert set(mosaic.partition.shapes) == {f"layers.{i}.weight" for i in range(5)}
    assert document["metrics"]["file_rac"] > 1
    code, again, _ = run("train", *options, "--resume")  # nothing was interrupted: from the start
    assert code == 0
    assert json.loads(again)["metrics"]["file_bits"] == document["metrics"]["file_bits"]


def test_project_and_expand(run, tmp_path):
    source, mosaic, back = (tmp_path / name for name in ("w.safetensors", "m.safetensors", "b.st"))
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    safetensors.numpy.save_file({"w": weights, "n": np.arange(3)}, source)
    code, out, _ = run("project", source, "-o", mosaic, "--capacity", 0.05, "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["blocks"], told["motifs"], told["weights"]) == (1024, 51, 4096)
    assert told["skipped"] == ["n (kept dense)"]
    assert told["file_bytes"] == mosaic.stat().st_size
    code, out, _ = run("expand", mosaic, "-o", back)
    assert code == 0
    stored = safetensors.numpy.load_file(back)
    assert stored["n"].tolist() == [0, 1, 2]
    assert np.unique(stored["w"].reshape(-1, 4), axis=0).shape[0] <= 51
    assert ((stored["w"] - weights) ** 2).sum() == pytest.approx(told["distortion"])


def test_project_fits_motifs_at_a_rate(run, tmp_path):
    source = tmp_path / "w.safetensors"
    weights = np.random.default_rng(0).standard_t(4, size=(64, 64)).astype(np.float32)
    safetensors.numpy.save_file({"w": weights}, source)
    options = ["--block-size", 2, "--motifs", 16, "--scale", "channel", "--json"]
    told = []
    for rate in (0, 0.5):
        path = tmp_path / f"{rate}.mosaic"
        code, out, _ = run("project", source, "-o", path, "--rate", rate, *options)
        assert code == 0
        told.append(json.loads(out))
        expanded = Mosaic.load(path).arrays()["w"]
        assert ((expanded - weights) ** 2).sum() == pytest.approx(told[-1]["distortion"], rel=1e-4)
    assert told[1]["file_bytes"] < 0.8 * told[0]["file_bytes"]
    assert told[1]["distortion"] > told[0]["distortion"]


def test_project_to_bits(run, tmp_path):
    source, path = tmp_path / "w.safetensors", tmp_path / "w.mosaic"
    weights = np.random.default_rng(0).normal(size=(128, 256)).astype(np.float32)
    safetensors.numpy.save_file({"layer.weight": weights, "bias": weights[0]}, source)
    code, out, _ = run("project", source, "-o", path, "--bits", 2.2, "--policy", "matrices")
    assert code == 0
    told = dict(line.rsplit("  ", 1) for line in out.splitlines() if "  " in line)
    told = {name.strip(): value.strip() for name, value in told.items()}
    size = path.stat().st_size
    assert told["file bytes"] == f"{size:,}"
    assert float(told["file rac"]) == pytest.approx(4 * (weights.size + 256) / size, rel=1e-4)
    assert float(told["file bits per weight"]) < 2.8
    assert "layer.weight  32,768   0.0" in out


@pytest.mark.slow
def test_study_from_the_command_line(run, tmp_path):
    options = ["--epochs", 1, "--hidden", 8, "--seeds", 1, "--bits", 4, "--capacity", 0.1]
    options += ["--rate", 0.2, "--zeros", 0.9, "--sparsity", 0.5, "--learning-rate", 1e-3]
    options += ["--weight-decay", 0.1, "--draws", 1, "--threads", 1, "--out", tmp_path]
    code, out, _ = run("study", *options)
    assert code == 0
    assert "momos-0.1" in out
    assert str(tmp_path / "index.html") in out
    table = arms(pd.read_parquet(tmp_path / "results.parquet")).set_index("arm")
    expected = ["init", "dense", "qat4", "momos-0.1", "learned-0.2", "zeros-0.9", "pruned-0.5"]
    assert list(table.index) == expected
    assert np.isnan(table.bound_sd["init"])  # one seed has no spread


def test_a_finished_study_trains_and_measures_nothing_again(run, finished, monkeypatch):
    """From the command line it is the same study, by the same settings."""
    result, out = finished
    monkeypatch.setattr("momos.lab.runs.train", None)
    monkeypatch.setattr("momos.lab.measuring.kolmo", None)
    names = ("index.html", "results.parquet", "trajectory.csv", "summary.csv")
    before = {name: (out / name).read_bytes() for name in names}
    options = ["--epochs", 4, "--hidden", 16, "--seeds", 2, "--every", 2, "--bits", 3]
    options += ["--capacity", 0.05, "--rate", 0.1, "--grid", 0.5, "--draws", 2, "--threads", 1]
    options += ["--out", out]
    code, told, _ = run("study", *options, "--json")
    assert code == 0
    document = json.loads(told)
    assert [row["arm"] for row in document["arms"]] == ARMS
    assert document["findings"] == result.findings
    assert {name: (out / name).read_bytes() for name in names} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", 0], "epochs is at least 1"),
        (["train", "--epochs", "many"], "valid integer"),
        (["train", "--capacity", 0.1], "need --momos"),
        (["train", "--data", "mnist"], "--folder"),
        (["train", "--rate", -1], "rate is not negative"),
        (["train", "--rate", 1, "--selection", "sample"], "setting of learned mosaics"),
        (["train", "--rate", 1, "--bits", 4, "--motifs", 5], "no motifs"),
        (["train", "--rate", 1, "--policy", "some"], "policy"),
        (["train", "--optimizer", "lion"], "lion"),
        (["train", "--momos", "--unit", "week"], "week"),
        (["study", "--seeds", 0], "at least one seed"),
        (["study", "--capacity", 2], "capacity"),
        (["study", "--bits", 4, "--bits", 4], "twice"),
        (["project", "absent.safetensors", "-o", "m"], "no such file"),
        (
            ["project", "absent.safetensors", "-o", "m", "--scale", "tensor"],
            "setting of learned mosaics",
        ),
        (["project", "absent.safetensors"], "output"),
        (["expand", "absent", "-o", "m"], "absent: "),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("momos: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_can_be_written_where_a_file_is(run, tmp_path):
    source, blocker = tmp_path / "w.safetensors", tmp_path / "file"
    safetensors.numpy.save_file({"w": np.ones((4, 4), np.float32)}, source)
    blocker.write_text("here")
    code, _, err = run("project", source, "-o", blocker / "m.safetensors")
    assert code == 2
    assert "cannot be written" in err
    for command in ("train", "study"):
        code, _, err = run(command, "--out", blocker)
        assert code == 2
        assert "cannot be a directory" in err


def test_divergence_is_a_failure_of_exit_code_1(run, tmp_path):
    options = ["--epochs", 3, "--hidden", 8, "--learning-rate", "1e30", "--out", tmp_path]
    code, _, err = run("train", *options)
    assert code == 1
    assert "diverged" in err
