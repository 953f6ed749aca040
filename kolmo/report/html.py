"""Reports as HTML: a page in one file, and what a notebook shows; every text escaped."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from kolmo.report.coverage import coverage_line
from kolmo.report.data import ReportData
from kolmo.report.figures.drawing import NARROW
from kolmo.report.figures.plots import caption_of, drawn_figures, first_figure
from kolmo.report.page.drawn import embedded_png, framed
from kolmo.report.page.frame import document, listed, prose, section
from kolmo.report.page.rows import rows_html, short_table
from kolmo.report.table import model_rows
from kolmo.report.words import found_lines, measured_lines, weights_lines
from kolmo.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["document", "fragment", "framed", "page", "section"]

_QUESTION = "How complex are these weights, in bits?"
_TABLES = {"model": "Whole models", "tensor": "Tensors", "sample": "What the test looked at"}
_MOST_ROWS = 12  # of the table in a notebook


def page(report: ReportData) -> str:
    """A whole page: what was found, a figure of it, the table, further figures, where from."""
    names = ", ".join(printable(str(name)) for name in report.sources) or "report"
    first, *others = _figures(report) or [""]
    sections = [
        section("What was found", listed(found_lines(report), "found")),
        section("What was measured", prose(measured_lines(report))),
        first,
        *_tables(report),
        section("What the weights are", listed(weights_lines(report))),
        *others,
        section("Coverage", _coverage(report)),
        section("Provenance", _provenance(report.provenance)),
    ]
    return document(f"kolmo: {names}", _QUESTION, sections)


def fragment(report: ReportData) -> str:
    """The HTML that a notebook shows: what was found, a figure, the first rows of the table.

    It has neither scripts nor styles, and needs none: viewers of notebooks take them out.
    """
    figure = first_figure(report)
    return "".join(
        [
            "<div>",
            listed(found_lines(report)),
            prose(measured_lines(report)),
            _shown(figure) if figure is not None else "",
            short_table(model_rows(report.plain), _MOST_ROWS),
            "</div>",
        ]
    )


def _shown(figure: Figure) -> str:
    return f"{embedded_png(figure)}<p>{escape(caption_of(figure))}</p>"


def _figures(report: ReportData) -> list[str]:
    """All figures that can be drawn, each for wide and for narrow screens."""
    narrow = drawn_figures(report, NARROW)
    return [
        section(title, framed(figure, narrow.get(title), caption_of(figure)))
        for title, figure in drawn_figures(report).items()
    ]


def _tables(report: ReportData) -> list[str]:
    table = report.plain
    scopes = {scope: table[table["scope"] == scope] for scope in _TABLES}
    return [section(_TABLES[s], rows_html(rows)) for s, rows in scopes.items() if len(rows)]


def _coverage(report: ReportData) -> str:
    coverage = report.coverage
    missed = coverage[(~coverage["measured"].astype(bool)) | (coverage["reason"] != "")]
    lines = [f"{row.tensor} ({row.role}): {row.reason}" for row in missed.itertuples()]
    said = f"<p>{escape(coverage_line(report.entries.records(), report.sources))}</p>"
    if not lines:
        return said
    title = f"{len(lines):,} entries that were left out, or have a remark"
    return f"{said}<details><summary>{title}</summary>{listed(lines)}</details>"


def _provenance(provenance: dict[str, Any]) -> str:
    shown = {name: value for name, value in provenance.items() if name != "ledger"}  # by tensor
    text = json.dumps(shown, indent=1)
    title = "versions, settings, files"
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"
