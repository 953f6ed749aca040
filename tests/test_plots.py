"""Figures: their marks are where the table says, alike in all panels, and told in the legend."""

import dataclasses
import io
import math

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy import stats

import kolmo
from kolmo.errors import InputError
from kolmo.report.figures.marks import PALETTE
from kolmo.report.figures.plots import figures, png_bytes, save_figure, style

RANDOM = np.random.default_rng(0)
HOSTILE = ("$\\frac$", "<b>&amp;</b>", "层.权重", "a\x1b[31m", "_hidden", "x" * 500)


@pytest.fixture(scope="module")
def report():
    models = {
        name: {
            "layer.weight": RANDOM.normal(size=(64, 40)).astype(np.float32),
            "layer.bias": np.tile(RANDOM.normal(size=10), 30).astype(np.float32),
        }
        for name in ("one", "two")
    }
    return kolmo.compare(
        models,
        quantizers=["native", "sign", "symmetric:8"],
        estimators=["gzip:6", "kt", "entropy"],
        nulls=["shuffled", "gaussian"],
        draws=2,
    )


def series(axis):
    """Points drawn in a panel, by their label."""
    return {line.get_label(): line for line in axis.lines if line.get_label()[0] != "_"}


def str_of(column):
    """A key to sort words by, which are categories in the order of their first appearance."""
    return column.astype(str)


def legend(figure):
    return {handle.get_label(): handle for handle in figure.legends[0].legend_handles}


def test_nothing_global_changes(report):
    before = dict(mpl.rcParams)
    png_bytes(report.plot.layers())
    assert dict(mpl.rcParams) == before
    with style():
        assert mpl.rcParams["axes.spines.top"] is False
    assert mpl.rcParams["axes.spines.top"] is True


def test_one_panel_for_each_checkpoint_and_quantizer(report):
    layers, models = report.plot.layers(), report.plot.compare()
    assert [axis.get_title(loc="left") for axis in layers.axes] == [
        *("one, native", "one, sign", "one, symmetric:8"),
        *("two, native", "two, sign", "two, symmetric:8"),
    ]
    assert [axis.get_title(loc="left") for axis in models.axes] == [
        *("quantizer native", "quantizer sign", "quantizer symmetric:8"),
    ]
    assert {axis.get_xlabel() for axis in layers.axes + models.axes} == {"bits per weight"}
    assert len(report.plot.layers("native").axes) == 2


def test_marks_are_where_the_table_says(report):
    table = report.table[report.table.bits.notna() & (report.table.null == "shuffled")]
    one = dataclasses.replace(report, table=table)
    whole = table[(table.scope == "model") & (table.quantizer == "native")]
    marks = series(one.plot.compare("native").axes[0])
    for label, kind in (("gzip:6@bytes", "bound"), ("kt", "bound"), ("entropy", "estimate")):
        wanted = whole[whole.estimator == label.split("@")[0]].bits_per_weight
        assert marks[f"{label} ({kind})"].get_xdata() == pytest.approx(wanted.to_numpy())
    single = table[(table.scope == "tensor") & (table.quantizer == "native")]
    single = single[(single.checkpoint == "two") & (single.estimator == "entropy")]
    single = single.sort_values("tensor", key=str_of)  # as people number them
    axis = one.plot.layers("native").axes[1]
    drawn = series(axis)["entropy (estimate)"]
    assert drawn.get_xdata() == pytest.approx(single.bits_per_weight.to_numpy())
    rows = np.round(drawn.get_ydata()).astype(int)
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert [labels[row] for row in rows] == single.tensor.tolist()


def test_bounds_are_filled_and_estimates_hollow(report):
    for label, handle in legend(report.plot.compare()).items():
        if "null" in label:
            continue
        assert ("(bound)" in label) != ("(estimate)" in label)
        hollow = to_hex(handle.get_markerfacecolor()) == "#ffffff"
        assert hollow == ("(estimate)" in label)


def test_an_estimator_looks_the_same_in_all_panels(report):
    for figure in (report.plot.compare(), report.plot.layers()):
        looks = {}
        for axis in figure.axes:
            for label, line in series(axis).items():
                looks.setdefault(label, set()).add((line.get_color(), line.get_marker()))
                assert line.get_markeredgecolor() in PALETTE
        assert all(len(look) == 1 for look in looks.values())
        assert looks.keys() <= legend(figure).keys()


def test_nulls_are_ranges_of_95_percent_of_draws(report):
    table = report.table[(report.table.scope == "model") & (report.table.estimator == "entropy")]
    figure = dataclasses.replace(report, table=table).plot.compare("symmetric:8")
    chosen = table[(table.quantizer == "symmetric:8") & (table.null_sd > 0)]
    assert {"shuffled null (95 % of draws)", "gaussian null (95 % of draws)"} <= set(legend(figure))
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]
    draws = int(chosen.null_draws.iloc[0])
    t = stats.t.ppf(0.975, draws - 1) * math.sqrt(1 + 1 / draws)
    ordered = chosen.sort_values("null", ascending=False, kind="stable", key=str_of)
    wanted = [
        ((row.null_bits - t * row.null_sd) / row.numel, 2 * t * row.null_sd / row.numel)
        for row in ordered.itertuples()
    ]
    assert len(bars) == len(chosen) > 0
    assert np.array(bars) == pytest.approx(np.array(wanted))


def test_marks_of_samples_have_the_t_of_their_windows():
    weights = {"w": RANDOM.normal(size=300_000).astype(np.float32)}
    spec = "gzip:1,sample=131072@bytes"
    report = kolmo.analyze(weights, quantizers=["native"], estimators=[spec], scope="model")
    row = report.table.iloc[0]
    assert row.degrees == 7
    error = stats.t.ppf(0.975, 7) * row.standard_error / row.covered
    segments = report.plot.compare().axes[0].collections[0].get_segments()
    assert segments[0][:, 0] == pytest.approx(row.bits_per_weight + np.array([-error, error]))
    shown = report.summary()
    assert f"± {error:.2g} bits per weight" in shown
    assert f"a sample of 44 %, ± {error:.2g}" in shown


def test_a_bound_of_one_model_and_an_estimate_of_another_differ():
    sizes = {"small": 100, "large": 300_000}
    models = {n: {"w": RANDOM.normal(size=k).astype(np.float32)} for n, k in sizes.items()}
    report = kolmo.compare(models, quantizers=["native"], estimators=["gzip:1,sample=131072@bytes"])
    figure = report.plot.compare()
    label = "gzip:1,sample=131072@bytes"
    assert list(legend(figure)) == [f"{label} (bound)", f"{label} (estimate)"]
    drawn = series(figure.axes[0])
    assert [len(line.get_xdata()) for line in drawn.values()] == [1, 1]
    assert len({line.get_markeredgecolor() for line in drawn.values()}) == 1


def test_what_lies_far_beyond_becomes_an_arrow():
    weights = {f"{i}.weight": RANDOM.normal(size=4000).astype(np.float32) for i in range(5)}
    report = kolmo.analyze({**weights, "bias": np.ones(1, np.float32)}, quantizers=["native"],
                           estimators=["xz:6@bytes"])  # fmt: skip
    figure = report.plot.layers()
    assert "beyond the axis" in legend(figure)
    tiny = report.table[report.table.tensor == "bias"].bits_per_weight.iloc[0]
    assert tiny > figure.axes[0].get_xlim()[1]
    arrows = [line for line in figure.axes[0].lines if line.get_marker() == ">"]
    assert sum(len(line.get_xdata()) for line in arrows) == 1


@pytest.mark.parametrize("count", [1, 4, 130])
def test_every_tensor_has_its_place(count):
    weights = {f"layer.{i}.weight": RANDOM.normal(size=50).astype("f4") for i in range(count)}
    report = kolmo.analyze(weights, quantizers=["sign"], estimators=["kt"])
    axis = report.plot.layers().axes[0]
    assert len(series(axis)["kt (bound)"].get_xdata()) == count
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels == list(weights)[:: 2 if count > 120 else 1]
    image = mpl.image.imread(io.BytesIO(png_bytes(axis.figure)))
    assert max(image.shape) < 6000


def test_names_are_drawn_as_they_are():
    """As mathematics, the first would raise; a script without glyphs would warn."""
    weights = {name: RANDOM.normal(size=50).astype(np.float32) for name in HOSTILE}
    models = dict.fromkeys(HOSTILE, weights)
    report = kolmo.compare(models, quantizers=["sign"], estimators=["kt", "planes"], draws=2,
                           nulls=["shuffled"])  # fmt: skip
    assert len(figures(report)) == 7
    for title, figure in figures(report).items():
        if title == "Decomposition":
            continue
        assert png_bytes(figure).startswith(b"\x89PNG")
    labels = [text.get_text() for text in report.plot.compare().axes[0].get_yticklabels()]
    assert labels[0] == r"\$\frac\$"
    assert max(map(len, labels)) == 44


def test_figures_without_data_say_so(report):
    empty = dataclasses.replace(report, table=report.table[:0])
    with pytest.raises(InputError, match="no tensor scope"):
        empty.plot.layers()
    with pytest.raises(InputError, match="no value of a whole object"):
        empty.plot.compare()
    with pytest.raises(InputError, match="with the quantizer 'affine:8'"):
        report.plot.compare("affine:8")
    assert all(isinstance(reason, InputError) for reason in figures(empty).values())


def test_what_a_figure_lacks_is_told(report):
    with pytest.raises(InputError, match="estimator planes"):
        report.plot.bitplanes()
    with pytest.raises(InputError, match="no bound beside its shuffles"):
        report.plot.attribution(quantizer="affine:8")
    with pytest.raises(InputError, match="unknown scope 'layer'"):
        report.plot.attribution("layer")
    with pytest.raises(InputError, match="an order takes 3"):
        report.plot.agreement("models")  # there are two
    bare = dataclasses.replace(report, table=report.table.assign(null=None))
    with pytest.raises(InputError, match="attribution needs shuffles"):
        bare.plot.attribution()


def test_too_many_checkpoints_for_layers_are_refused():
    models = {f"m{i}": {"w": np.ones(9, np.float32)} for i in range(13)}
    report = kolmo.compare(models, quantizers=["sign"], estimators=["kt"])
    with pytest.raises(InputError, match="13 checkpoints do not fit"):
        report.plot.layers()
    assert len(series(report.plot.compare().axes[0])["kt (bound)"].get_xdata()) == 13


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_figures_are_saved_alike_every_time(report, tmp_path, suffix, start):
    path = tmp_path / f"f.{suffix}"
    save_figure(report.plot.compare(), path)
    first = path.read_bytes()
    assert first.startswith(start)
    save_figure(report.plot.compare(), path)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_figures_go_only_where_they_can(tmp_path):
    with pytest.raises(InputError, match="a figure is"):
        save_figure(Figure(), tmp_path / "f.gif")
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(Figure(), tmp_path / "no" / "f.png")
