"""trajectory: steps in their order, metrics beside them, nothing lost, all of it drawn."""

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import kolmo
from kolmo.analysis import Interrupted
from kolmo.cli.plot import plot
from kolmo.errors import InputError
from kolmo.intervals import draw_widths
from kolmo.report.figures.plots import figures, png_bytes
from kolmo.series.metrics import align, read_metrics
from kolmo.series.steps import find_series
from tests.test_cli import run

RANDOM = np.random.default_rng(2)
FAST = {"quantizers": ["sign"], "estimators": ["kt", "entropy"]}


def weights(bias=0.0):
    return {"layer.weight": RANDOM.normal(bias, size=(16, 20)).astype(np.float32)}


def touch(folder, *names, metadata=None):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights(), path, metadata)
    return folder


SERIES = {step: weights(step / 10) for step in (0, 2, 10)}
METRICS = pd.DataFrame(
    {
        "step": [1, 2, 5, 10],
        "loss": [2.0, 1.0, 0.5, np.nan],
        "validation_accuracy": [0.1, 0.5, 0.7, 0.8],
    }
)


@pytest.fixture(scope="module")
def report():
    return kolmo.trajectory(SERIES, metrics=METRICS, nulls=["uniform"], draws=3, **FAST)


# --- steps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "unit", "steps"),
    [
        (["step-10", "step-2"], "step", [2, 10]),
        (["model_0010", "model_0002"], None, [2, 10]),
        (["epoch=1-step=50", "epoch=1-step=100"], "step", [50, 100]),
        (["epoch=1-acc=31", "epoch=2-acc=30"], "epoch", [1, 2]),
        (["checkpoint-500/model", "checkpoint-1000/model"], None, [500, 1000]),
        (["net3_7_a1", "net3_11_a1"], None, [7, 11]),
        (["step2k", "step500", "step1M"], "step", [500, 2000, 1_000_000]),
        (["run1-iter5-x", "iter10-final2"], "step", [5, 10]),
    ],
)
def test_steps_are_the_numbers_in_names(tmp_path, names, unit, steps):
    touch(tmp_path, *(f"{name}.safetensors" for name in names))
    series = find_series([tmp_path / f"{name}.safetensors" for name in names])
    assert list(series.sources) == steps
    assert series.unit == unit


def test_globs_and_folders_name_the_same_series(tmp_path):
    touch(tmp_path, "step-2.safetensors", "step-10.safetensors", "step-1.safetensors")
    (tmp_path / "optimizer.txt").write_text("no checkpoint")
    whole = find_series(tmp_path)
    assert list(whole.sources) == [1, 2, 10]
    assert find_series(str(tmp_path / "step-*")).sources == whole.sources
    nested = touch(tmp_path / "b", "checkpoint-9/w.safetensors", "checkpoint-10/w.safetensors")
    assert list(find_series(nested).sources) == [9, 10]


def test_a_step_may_stand_in_the_metadata(tmp_path):
    touch(tmp_path, "first.safetensors", metadata={"step": "0"})
    touch(tmp_path, "best.safetensors", metadata={"momos": json.dumps({"epoch": 3})})
    touch(tmp_path, "last.safetensors", metadata={"momos": json.dumps({"epoch": 3})})
    series = find_series(tmp_path)
    assert list(series.sources) == [0, 3]
    assert series.sources[3].endswith("last.safetensors")
    assert "best.safetensors" in series.left_out[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.safetensors", "b.safetensors"], "which step"),
        (["step-1.safetensors"], "two checkpoints or more"),
        (["step-1-a.safetensors", "step-1-b.safetensors"], "both of step 1"),
        (["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"], "in shards"),
    ],
)
def test_series_that_are_none_are_explained(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        find_series(touch(tmp_path, *names))


def test_wrong_sources_are_explained(tmp_path):
    for sources, message in (
        (str(tmp_path / "no*.safetensors"), "no such checkpoint"),
        (str(tmp_path / "no"), "no such file"),
        ({"init": {}, "final": {}}, "kolmo.compare"),
        ({1: {}, "1": {}}, "two steps or more"),
    ):
        with pytest.raises(InputError, match=message):
            find_series(sources)


# --- metrics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_metrics_are_read_and_aligned(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    shuffled = METRICS.iloc[::-1].assign(note="text", good=True)
    shuffled.to_csv(path, index=False) if suffix == ".csv" else shuffled.to_parquet(path)
    unit, columns, without = align(read_metrics(path), "step", [0, 2, 10])
    assert (unit, without) == ("step", [0])
    assert columns == {
        "step": [1, 2, 5, 10],
        "loss": [2.0, 1.0, 0.5, None],
        "validation_accuracy": [0.1, 0.5, 0.7, 0.8],
    }


@pytest.mark.parametrize(
    ("table", "unit", "message"),
    [
        ({"loss": [1.0]}, None, "no column 'step' or 'epoch'"),
        ({"epoch": [2], "loss": [1.0]}, "step", "numbered by step, the metrics by epoch"),
        (
            {"step": [5, 7], "loss": [1.0, 2.0]},
            "step",
            r"\(5, 7\) is that of .* \(2, 3\)",
        ),
        ({"step": [2, 2], "loss": [1.0, 2.0]}, "step", "step 2 twice"),
        ({"step": [2], "note": ["x"]}, "step", "no column of numbers"),
        ({"step": ["x"], "loss": [1.0]}, "step", "are no numbers"),
    ],
)
def test_metrics_that_do_not_fit_are_explained(table, unit, message):
    with pytest.raises(InputError, match=message):
        align(read_metrics(table), unit, [2, 3])


def test_unreadable_metrics_are_explained(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "m.parquet").write_bytes(b"no")
    (tmp_path / "m.json").write_text("[]")
    for source, message in (
        (tmp_path / "m.csv", "cannot be read"),
        (tmp_path / "m.parquet", "cannot be read"),
        (tmp_path / "m.txt", r"\.csv, \.parquet or trainer_state\.json"),
        (tmp_path / "m.json", "no 'log_history'"),
        (tmp_path / "none.csv", "no such file"),
        (7, "not int"),
    ):
        with pytest.raises(InputError, match=message):
            read_metrics(source)


LOG = [  # as Trainer writes it: training and evaluation apart, totals of the run at the end
    {"epoch": 0.5, "step": 10, "loss": 2.0, "learning_rate": 5e-5},
    {"epoch": 1.0, "step": 20, "loss": 1.0, "learning_rate": 3e-5},
    {"epoch": 1.0, "step": 20, "eval_loss": 1.5, "eval_accuracy": 0.6, "eval_runtime": 0.1},
    {"epoch": 2.0, "step": 40, "loss": 0.5, "learning_rate": 1e-5},
    {"epoch": 2.0, "step": 40, "eval_loss": 1.2, "eval_accuracy": 0.7, "eval_runtime": 0.1},
    {"epoch": 2.0, "step": 40, "train_runtime": 9.0, "train_loss": 1.1, "total_flos": 1e9},
]


@pytest.mark.parametrize("given", [True, False])
def test_the_log_of_a_trainer_is_read(tmp_path, given):
    """Named, or found in the last checkpoint, which holds that of the whole run."""
    for step in (20, 40):
        touch(tmp_path, f"checkpoint-{step}/model.safetensors")
        state = {"global_step": step, "log_history": [e for e in LOG if e["step"] <= step]}
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    state = tmp_path / "checkpoint-40" / "trainer_state.json"
    found = kolmo.trajectory(tmp_path, metrics=state if given else None, **FAST)
    series = found.provenance["series"]
    assert series["metrics_source"] == str(state)
    assert series["metrics"] == {
        "step": [10, 20, 40],
        "loss": [2.0, 1.0, 0.5],
        "learning_rate": [5e-5, 3e-5, 1e-5],
        "eval_loss": [None, 1.5, 1.2],
        "eval_accuracy": [None, 0.6, 0.7],
        "eval_runtime": [None, 0.1, 0.1],
    }
    assert len(found.plot.trajectory().axes) == 3
    assert "eval_accuracy: 0.6 → 0.7" in found.summary()


def test_a_log_that_nobody_named_and_that_holds_nothing_is_left_out(tmp_path):
    for step in (20, 40):
        touch(tmp_path, f"checkpoint-{step}/model.safetensors")
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"log_history": []}))
    series = kolmo.trajectory(tmp_path, **FAST).provenance["series"]
    assert series["metrics"] == {}
    assert str(state) in series["left_out"][0]
    with pytest.raises(InputError, match="no column 'step'"):
        kolmo.trajectory(tmp_path, metrics=state, **FAST)


@pytest.mark.parametrize("step", [[1], {"a": 1}, "1", None, True])
def test_a_step_of_a_log_is_a_number(tmp_path, step):
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"log_history": [{"step": 1, "loss": 1}, {"step": step}]}))
    with pytest.raises(InputError, match="a step of its log is no number"):
        read_metrics(state)


def test_metrics_may_be_of_steps_between_those_of_checkpoints():
    _, _, without = align(pd.DataFrame({"step": [1, 20], "loss": [1.0, 2.0]}), "step", [7, 9])
    assert without == [7, 9]


# --- reports ----------------------------------------------------------------------------------


def test_each_step_is_measured_as_analyze_does(report):
    table = report.table[report.table.estimator == "kt"].set_index("checkpoint")
    assert table.index.tolist() == ["step 0", "step 2", "step 10"]
    for step, source in SERIES.items():
        alone = kolmo.analyze(source, scope="model", quantizers=["sign"], estimators=["kt"])
        assert table.loc[f"step {step}", "bits"] == alone.table.bits[0]


def test_no_module_hides_the_function(report):
    report.summary()  # imports the module
    assert callable(kolmo.trajectory)


def test_the_series_is_kept(report, tmp_path):
    series = report.provenance["series"]
    assert series["steps"] == {"step 0": 0, "step 2": 2, "step 10": 10}
    assert series["without_metrics"] == [0]
    for suffix in (".json", ".csv", ".parquet"):
        report.save(tmp_path / f"r{suffix}")
        again = kolmo.load_report(tmp_path / f"r{suffix}")
        assert again.provenance["series"] == series
        assert len(again.plot.trajectory().axes) == 3


def test_the_summary_tells_the_way(report):
    text = report.summary()
    first, last = (
        report.table[report.table.estimator == "kt"].bits_per_weight.iloc[i] for i in (0, -1)
    )
    assert f"sign: {first:.4g} → {last:.4g} bits per weight" in text
    assert "(bound, kt)" in text
    assert "(estimate, entropy)" in text
    assert "loss: 2 → 0.5" in text
    assert "no metrics at step 0" in text


def test_what_differs_between_checkpoints_is_named_and_the_rest_measured():
    odd = {
        1: {"a": np.ones((4, 4), np.float32), "b": np.ones(3, np.float32)},
        2: {"a": np.ones((4, 5), np.float32)},
        3: {"a": np.ones((4, 5), np.float32), "b": np.ones(3, np.float32)},
    }
    found = kolmo.trajectory(odd, **FAST)
    assert found.table.bits.notna().all()
    assert found.provenance["problems"] == [
        "step 2: tensor 'a' is float32 [4, 5], at step 1 it is float32 [4, 4]",
        "step 2: has no tensor 'b', which step 1 has",
    ]
    only = {step: source for step, source in odd.items() if step != 2}
    left = kolmo.trajectory(only, include=["b"], **FAST)
    assert left.provenance["problems"] == []


def test_an_interrupt_keeps_what_is_done():
    def stop(done, total, label):
        if label.startswith("step 10"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        kolmo.trajectory(SERIES, metrics=METRICS, progress=stop, threads=1, **FAST)
    kept = caught.value.report
    assert {"step 0", "step 2"} <= set(kept.table.checkpoint)
    assert kept.provenance["complete"] is False
    assert kept.provenance["series"]["steps"]["step 10"] == 10
    assert "step 0" in kept.summary()
    kept.plot.trajectory()


# --- figures ----------------------------------------------------------------------------------


def test_a_caption_says_how_each_bound_went(report):
    rows = report.table[report.table.estimator == "kt"].bits_per_weight.to_numpy()
    caption = report.plot.trajectory().caption
    assert f"kt: {rows[0]:.4g} bits a weight at 0, {rows[-1]:.4g} at 10" in caption
    assert "entropy" not in caption  # an estimate


def test_marks_bands_and_metrics_are_where_the_table_says(report):
    before = dict(mpl.rcParams)
    complexity, loss, accuracy = report.plot.trajectory().axes
    assert dict(mpl.rcParams) == before
    drawn = {line.get_label(): line for line in complexity.lines}
    for label, filled in (("kt (bound)", True), ("entropy (estimate)", False)):
        rows = report.table[report.table.estimator == label.split()[0]]
        assert drawn[label].get_xdata().tolist() == [0, 2, 10]
        assert drawn[label].get_ydata() == pytest.approx(rows.bits_per_weight.to_numpy())
        assert (drawn[label].get_markerfacecolor() != "#ffffff") == filled
        assert (drawn[label].get_linestyle() == "-") == filled
    band = complexity.collections[0].get_paths()[0].vertices[:, 1]
    row = report.table[report.table.estimator == "kt"].iloc[0]
    edge = (row.null_bits + draw_widths([row.null_sd], [3])[0]) / row.numel
    assert np.isclose(band, edge).any()
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 5, 10]
    assert np.isnan(loss.lines[0].get_ydata()[-1])
    assert accuracy.get_ylabel().split() == ["validation", "accuracy"]
    assert accuracy.get_xlabel() == "step"


def test_a_figure_may_be_relative_to_the_first_step(report):
    axis = report.plot.trajectory(relative=True).axes[0]
    assert axis.get_ylabel() == "percent of the first"
    for line in axis.lines:
        if line.get_label().endswith(("(bound)", "(estimate)")):
            assert line.get_ydata()[0] == pytest.approx(100)


def test_a_relative_series_is_set_against_its_first_step_and_its_own_shuffle():
    found = kolmo.trajectory(SERIES, relative=True, **FAST)
    kt = found.table[(found.table.estimator == "kt") & (found.table.null == "shuffled")]
    shares = {
        "percent of the first": 100 * kt.bits / kt.bits.iloc[0],
        "percent of its own shuffle": 100 * kt.bits / kt.null_bits,
    }
    axes = found.plot.trajectory().axes
    assert [axis.get_ylabel() for axis in axes] == list(shares)
    for axis, values in zip(axes, shares.values(), strict=True):
        line = next(line for line in axis.lines if line.get_label() == "kt (bound)")
        assert line.get_ydata() == pytest.approx(values.to_numpy())
    assert "of its own shuffle 100.00 → 100.00 %" in found.summary()
    assert len(found.plot.trajectory(relative=False).axes) == 1
    gaussian = kolmo.trajectory(SERIES, relative=True, nulls=["gaussian"], **FAST)
    assert [a.get_ylabel() for a in gaussian.plot.trajectory().axes] == ["percent of the first"]


def test_options_of_the_figure(report):
    assert len(report.plot.trajectory(metrics=[]).axes) == 1
    with pytest.raises(InputError, match=r"no metric 'lost' .*loss"):
        report.plot.trajectory(metrics=["lost"])
    with pytest.raises(InputError, match="quantizer 'native'"):
        report.plot.trajectory("native")
    single = kolmo.analyze(weights(), **FAST)
    with pytest.raises(InputError, match="of no series"):
        single.plot.trajectory()
    assert "Trajectory" not in figures(single)
    assert next(iter(figures(report))) == "Trajectory"


def test_steps_that_crowd_at_the_start_have_a_logarithmic_axis():
    crowded = {step: weights() for step in (0, 1, 2, 4, 8, 16, 1000)}
    figure = kolmo.trajectory(crowded, **FAST).plot.trajectory()
    assert figure.axes[-1].get_xscale() == "symlog"
    assert png_bytes(figure).startswith(b"\x89PNG")


# --- the command, and momos -------------------------------------------------------------------


def test_the_command_measures_and_plot_draws(tmp_path, capsys):
    touch(tmp_path, "step-2.safetensors", "step-10.safetensors")
    METRICS.to_csv(tmp_path / "m.csv", index=False)
    saved = tmp_path / "r.parquet"
    options = ["-q", "sign", "-e", "kt", "--metrics", tmp_path / "m.csv", "-o", saved, "--json"]
    options += ["--relative"]
    done = run("trajectory", tmp_path / "step-*.safetensors", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["provenance"]["series"]["steps"] == {"step 2": 2, "step 10": 10}
    axes = kolmo.load_report(saved).plot.trajectory().axes
    assert axes[1].get_ylabel() == "percent of its own shuffle"
    plot(saved, tmp_path / "figures", "png")
    assert f"{tmp_path / 'figures' / 'r-trajectory.png'}" in capsys.readouterr().out.splitlines()


def test_a_run_of_momos_works_as_it_is(tmp_path):
    import momos

    config = momos.TrainConfig(epochs=2, hidden=8)
    momos.train(config, out=tmp_path / "run")
    found = kolmo.trajectory(tmp_path / "run", **FAST)
    series = found.provenance["series"]
    assert set(series["steps"]) >= {"epoch 0", "epoch 2"}
    assert series["metrics_source"] == str(tmp_path / "run" / "history.parquet")
    assert {"loss", "validation_accuracy"} <= set(series["metrics"])
    assert found.plot.trajectory().axes[-1].get_xlabel() == "epoch"
    globbed = find_series(str(tmp_path / "run" / "*.safetensors"))
    assert globbed == find_series(tmp_path / "run")


@pytest.mark.parametrize(("unit", "steps"), [("epoch", [0, 1, 2]), ("step", [0, 6, 12, 18, 20])])
def test_checkpoints_along_a_run_of_momos_are_its_series(tmp_path, unit, steps):
    import momos

    config = momos.TrainConfig(epochs=2, hidden=8)
    every = {"epoch": 1, "step": 6}[unit]
    momos.train(config, out=tmp_path, save_every=every, save_unit=unit)
    series = find_series(tmp_path)
    assert (series.unit, list(series.sources)) == (unit, steps)
    found = kolmo.trajectory(tmp_path, **FAST).provenance["series"]
    assert found["metrics_source"] == str(tmp_path / "history.parquet")
    assert found["metrics"][unit] == ([1, 2] if unit == "epoch" else [10, 20])
