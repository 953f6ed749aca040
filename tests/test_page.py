"""The page of a report: what stands in its file."""

import re
from html import unescape

import numpy as np
import pytest

import kolmo
from kolmo.report.figures.marks import mark_of
from kolmo.report.page.drawn import framed, inline_svg
from kolmo.report.page.rows import rows_html, shown
from tests.pages import NASTY, data, table, values

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def report():
    weights = {name: RANDOM.normal(size=(16, 12)).astype("f4") for name in (*NASTY, "plain")}
    return kolmo.analyze(weights, quantizers=["sign"], estimators=["kt", "entropy"],
                         nulls=["shuffled"], draws=2)  # fmt: skip


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "r.html"
    report.to_html(path)
    return path.read_text(encoding="utf-8")


def test_eleven_thousand_rows_are_less_than_a_megabyte():
    rows = table(1000)
    html = rows_html(rows)
    assert len(html) < 1_000_000
    (found,) = data(html)
    assert found["rows"] == 11_000
    columns = {column["label"]: column for column in found["columns"]}
    assert values(columns["tensor"], 11_000) == rows.tensor.tolist()
    assert values(columns["estimator"], 11_000) == rows.estimator.tolist()
    assert values(columns["bits"], 11_000) == rows.bits.tolist()
    exact = rows.bits_per_weight.to_numpy()
    assert values(columns["bits per weight"], 11_000) == pytest.approx(exact, rel=1e-6)
    assert html.count("<tr>") == 41  # the head, and what is there without a script


def test_columns_that_say_nothing_are_not_there():
    rows = table(3, 2).assign(null=None, p=np.nan)
    (found,) = data(rows_html(rows))
    labels = [column["label"] for column in found["columns"]]
    assert "p" not in labels
    assert "null" not in labels
    told = [column["label"] for column in found["columns"] if column.get("hidden")]
    assert {"quantizer", "checkpoint"} <= set(told)  # the same in all rows


def test_what_is_missing_or_without_end_is_read_back():
    rows = table(3, 1).assign(z=[np.inf, -np.inf, np.nan])
    (found,) = data(rows_html(rows))
    z = next(column for column in found["columns"] if column["label"] == "z")
    assert z["values"] == [float("inf"), float("-inf"), None]
    assert shown("z", float("nan")) == "–"


def test_names_are_text_and_nothing_else(page, report):
    assert page.count("<script") == page.count("</script>") == 3  # two tables and its own
    assert "<img" not in page
    assert "<!--" not in page
    for found in data(page):
        for column in found["columns"]:
            if column["label"] == "tensor":
                assert set(column["words"]) == set(report.table.tensor.dropna())
    assert all(name in unescape(page) for name in NASTY)


def test_nothing_comes_from_elsewhere(page):
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_the_page_opens_with_what_was_found(page):
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads[:3] == ["What was found", "What was measured", "Models"]
    assert heads[-2:] == ["Coverage", "Provenance"]
    assert "Tensors" in heads
    assert "Bit-planes" not in heads  # which were not measured


def test_figures_are_svg_in_the_pages_colours(report):
    svg = inline_svg(report.plot.layers())
    assert svg.startswith('<svg class="plot" role="img"')
    assert "var(--ink)" in svg
    assert "var(--card)" in svg  # within hollow marks
    assert "background" not in svg
    assert ">a#ffffff</text>" in svg  # a name that looks like a colour stays
    marks = re.findall(r"stroke:(#[0-9a-f]{6})", svg)
    assert mark_of("kt").colour in marks
    assert svg == inline_svg(report.plot.layers())
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert referred == set(re.findall(r'\sid="([^"]+)"', svg))


def test_a_caption_stands_under_its_figure(report):
    figure = report.plot.compare()
    framed_figure = framed(figure, report.plot.compare(width=3.6), figure.caption + " <b>")
    assert framed_figure.count("<svg") == 2
    assert framed_figure.endswith("&lt;b&gt;</figcaption></figure>")


def test_a_notebook_shows_plain_html(report):
    shown_there = report._repr_html_()
    assert "<script" not in shown_there
    assert "style=" not in shown_there
    assert "<pre" not in shown_there  # in which notebooks break lines within words
    assert shown_there.index("<li>") < shown_there.index("<img") < shown_there.index("<table>")
    assert all(name not in shown_there for name in NASTY[:3])
