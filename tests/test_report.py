"""Reports: what is saved is loaded again; words, figures and page say what the table says."""

import dataclasses
import json
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import kolmo
from kolmo.errors import InputError
from kolmo.plots import save_figure, style

RANDOM = np.random.default_rng(0)
NASTY = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def report():
    models = {
        name: {
            "layer.weight": RANDOM.normal(size=(64, 40)).astype(np.float32),
            NASTY: np.tile(RANDOM.normal(size=10), 30).astype(np.float32),
            "broken": np.float32([1, np.nan]),
            "empty": np.zeros((0, 3), np.float32),
        }
        for name in ("one", "two & three")
    }
    return kolmo.compare(
        models,
        quantizers=["native", "sign"],
        estimators=["gzip:6", "kt", "bdm", "gzip:6,sample=131072@shuffle"],
        nulls=["shuffled"],
        draws=2,
        exclude=["layer.bias"],
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_save_and_load(report, tmp_path, suffix):
    path = tmp_path / f"r.{suffix}"
    report.save(path)
    loaded = kolmo.load_report(path)
    pd.testing.assert_frame_equal(loaded.table, report.table, check_dtype=False, rtol=1e-12)
    pd.testing.assert_frame_equal(loaded.coverage, report.coverage, check_dtype=False)
    assert loaded.provenance == report.provenance
    assert loaded.summary() == report.summary()
    left = {"r.csv", "r.csv.meta.json"} if suffix == "csv" else {f"r.{suffix}"}
    assert {file.name for file in tmp_path.iterdir()} == left


def test_json_is_strict(report):
    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    document = json.loads(report.to_json(), parse_constant=refuse)
    assert len(document["table"]) == len(report.table)
    assert set(document) == {"table", "coverage", "provenance"}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_damaged_files_are_refused(report, tmp_path, suffix):
    path = tmp_path / f"r.{suffix}"
    report.save(path)
    for data in (b"", path.read_bytes()[:100], b"a,b\n1,2\n", b'{"table": 3}'):
        path.write_bytes(data)
        with pytest.raises(InputError, match=str(path)):
            kolmo.load_report(path)


def test_wrong_paths(report, tmp_path):
    with pytest.raises(InputError, match="suffix must be"):
        report.save(tmp_path / "r.xlsx")
    with pytest.raises(InputError, match="there is no directory"):
        report.save(tmp_path / "no" / "r.json")
    with pytest.raises(InputError, match="no such file"):
        kolmo.load_report(tmp_path / "r.json")
    with pytest.raises(InputError, match="a report is"):
        kolmo.load_report(tmp_path / "r.txt")
    (tmp_path / "r.csv").write_text("a\n")
    with pytest.raises(InputError, match=r"r\.csv\.meta\.json, are missing"):
        kolmo.load_report(tmp_path / "r.csv")


def test_summary_quotes_the_table(report):
    text = report.summary()
    whole = report.table[(report.table.scope == "model") & (report.table.checkpoint == "one")]
    best = whole[(whole.quantizer == "native") & (whole.kind == "bound")].bits_per_weight.min()
    assert f"native: at most {best:.4g} bits per weight (bound, " in text
    assert "sign: bdm is missing" in text or "sign: gzip:6 is missing" in text
    assert "tensor 'broken' holds NaN" in text
    assert "of its shuffled null" in text


def test_saturation_is_said_once():
    weights = {
        "large": RANDOM.normal(size=(700, 700)).astype(np.float32),
        "small": np.ones(50, "f4"),
    }
    text = kolmo.analyze(weights, quantizers=["sign"], estimators=["bdm", "ctm"]).summary()
    assert text.count("bdm is saturated in 2 of 3 measurements") == 1
    assert "ctm is saturated" not in text


def test_coverage_line(report):
    line = report.coverage_line()
    assert line.startswith("5,724 of 5,724 weights measured")
    part = dataclasses.replace(
        report, coverage=report.coverage.assign(measured=False, reason="why")
    )
    assert part.coverage_line().startswith(
        "0 of 5,724 weights measured; 8 skipped: layer.weight (why"
    )
    assert "and 3 more" in part.coverage_line()


def test_an_unfinished_report_says_so(report):
    part = dataclasses.replace(report, provenance={**report.provenance, "complete": False})
    assert "was not finished" in part.summary()


def test_figures_draw_every_series(report):
    before = dict(mpl.rcParams)
    layers, models = report.plot.layers(), report.plot.compare()
    assert dict(mpl.rcParams) == before
    assert isinstance(layers, Figure)
    assert len(layers.axes) == 4  # two checkpoints, two quantizers
    labels = [text.get_text() for text in models.axes[0].get_legend().get_texts()]
    assert labels == ["gzip:6@bytes (bound)", "kt (bound)", "gzip:6,sample=131072@shuffle (bound)"]
    assert models.axes[0].get_xlabel() == "bits per weight"


def test_marks_are_where_the_table_says(report):
    rows = report.table[(report.table.scope == "model") & (report.table.estimator == "kt")]
    figure = dataclasses.replace(report, table=rows).plot.compare("native")
    marks = [line for line in figure.axes[0].lines if line.get_label().startswith("kt")]
    wanted = rows[rows.quantizer == "native"].bits_per_weight
    assert marks[0].get_xdata() == pytest.approx(wanted.to_numpy())


def test_figures_without_data_say_so(report):
    empty = dataclasses.replace(report, table=report.table[:0])
    with pytest.raises(InputError, match="no tensor scope"):
        empty.plot.layers()
    with pytest.raises(InputError, match="no measured value"):
        empty.plot.compare()


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_are_saved(report, tmp_path, suffix):
    path = tmp_path / f"f.{suffix}"
    save_figure(report.plot.compare(), path)
    assert path.stat().st_size > 5000
    with pytest.raises(InputError, match="a figure is"):
        save_figure(Figure(), tmp_path / "f.gif")


def test_style_is_a_context():
    with style():
        assert mpl.rcParams["axes.spines.top"] is False
    assert mpl.rcParams["axes.spines.top"] is True


def test_the_page_is_whole_and_escaped(report, tmp_path):
    path = tmp_path / "r.html"
    report.to_html(path)
    page = path.read_text()
    assert NASTY not in page
    assert "&lt;script&gt;alert" in page
    assert "two &amp; three" in page
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)  # it needs nothing else
    assert "bits per weight" in page
    with pytest.raises(InputError, match="suffix"):
        report.to_html(tmp_path / "r.txt")


def test_a_notebook_shows_summary_and_table(report):
    shown = report._repr_html_()
    assert "at most" in shown
    assert "<table>" in shown
    assert NASTY not in shown
