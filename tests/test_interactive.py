"""Figures to explore: their points are where the table says, and their page runs by itself."""

import json
import sys

import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError, MissingExtraError
from kolmo.report.figures.marks import mark_of
from kolmo.report.interactive import write_figure
from kolmo.report.traces import symlog
from tests.browser import launched, opened

RANDOM = np.random.default_rng(0)
NASTY = "<a href='javascript:alert(1)'>x</a></script>"


@pytest.fixture(scope="module")
def report():
    pytest.importorskip("plotly", reason="plotly is not installed")
    names = [f"h.{n}.attn.q_proj.weight" for n in (10, 2)] + [NASTY]
    weights = {name: RANDOM.normal(size=(24, 16)).astype("f4") for name in names}
    return kolmo.trajectory({0: weights, 5: {k: 2 * v for k, v in weights.items()}},
                            quantizers=["symmetric:4"], estimators=["kt", "entropy", "context"],
                            nulls=["shuffled"], draws=3, scope="both")  # fmt: skip


def traces(figure, mode):
    return [trace for trace in figure.data if trace.mode == mode and trace.name]


def test_points_are_where_the_table_says(report):
    figure = report.interactive.layers()
    single = report.table[(report.table.scope == "tensor") & (report.table.estimator == "kt")]
    drawn = [t for t in traces(figure, "markers") if t.name == "kt (bound)"]
    for trace, (_, group) in zip(drawn, single.groupby("checkpoint", sort=False), strict=True):
        ordered = dict(zip(group.tensor, group.bits_per_weight, strict=True))
        names = ["h.2.attn.q_proj.weight", "h.10.attn.q_proj.weight"]
        known = dict(zip(trace.x, trace.y, strict=True))
        places = sorted(known)
        assert [known[p] for p in places if known[p] in map(ordered.get, names)] == pytest.approx(
            [ordered[name] for name in names]
        )
        assert trace.marker.color == mark_of("kt").colour
        assert trace.marker.symbol == "triangle-up"
    assert [trace.showlegend for trace in drawn] == [True, False]
    assert all("open" in t.marker.symbol for t in figure.data if t.name == "entropy (estimate)")


def test_shares_stand_at_their_deviation(report):
    figure = report.interactive.shuffle_share()
    ticks = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))
    assert ticks["100 %"] == 0
    assert symlog(-3.0, 0.1) == pytest.approx(-1 - np.log10(30))
    (trace, _) = (t for t in figure.data if t.showlegend is not None and "context" in str(t.name))
    assert len([value for value in trace.x if value is not None]) == 3


def test_a_trajectory_has_a_line_for_each_estimator(report):
    figure = report.interactive.trajectory()
    whole = report.table[(report.table.scope == "model") & (report.table.estimator == "kt")]
    (line,) = [t for t in figure.data if t.name == "kt (bound)"]
    assert list(line.x) == [0, 5]
    assert list(line.y) == pytest.approx(whole.bits_per_weight.tolist())
    one = kolmo.analyze({"w": np.ones(9, "f4")}, quantizers=["sign"], estimators=["kt"])
    with pytest.raises(InputError, match="no series"):
        one.interactive.trajectory()


def test_names_are_text(report):
    told = json.loads(report.interactive.layers().to_json())
    assert "<a " not in json.dumps([trace.get("text") for trace in told["data"]])


def test_the_page_runs_without_a_network(report, tmp_path):
    path = tmp_path / "f.html"
    write_figure(report.interactive.layers(), path)
    with launched() as browser, opened(browser, path) as shown:
        entries = shown.locator(".legendtext")
        assert "kt (bound)" in entries.all_text_contents()
        assert shown.locator(".scatterlayer .points path").count() > 6


def test_without_plotly_the_extra_is_named(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingExtraError, match=r"interactive"):
        report.interactive.layers()
