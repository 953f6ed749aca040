"""Reports as HTML: everything in one file, every text escaped."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import TYPE_CHECKING, Any

from kolmo.errors import InputError
from kolmo.report.columns import is_known
from kolmo.report.coverage import coverage_line
from kolmo.report.data import ReportData
from kolmo.report.figures.drawing import png_bytes
from kolmo.report.figures.plots import figures
from kolmo.report.table import model_rows, remarks
from kolmo.report.words import summarize
from kolmo.text import printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_SHOWN = {
    "checkpoint": "checkpoint",
    "tensor": "tensor",
    "quantizer": "quantizer",
    "estimator": "estimator",
    "layout": "layout",
    "kind": "kind",
    "covered": "weights",
    "bits": "bits",
    "side_bits": "side bits",
    "bits_per_weight": "bits per weight",
    "compression_ratio": "compression ratio",
    "null": "null",
    "null_draws": "draws",
    "z": "z",
    "p": "p",
    "note": "note",
}

_CSS = """
:root { color-scheme: light dark; --line: #ddd; --soft: #777; --card: #fff; --page: #f6f7f9; --text: #1c2430; }
@media (prefers-color-scheme: dark) { :root { --line: #3a4250; --soft: #9aa4b2; --card: #1d232c; --page: #14181e; --text: #e6e9ee; } }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1180px; margin: 2rem auto; padding: 0 1.2rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.4rem 1.3rem; margin: 1.2rem 0; overflow-x: auto; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.1rem; margin: .3rem 0 .8rem; } p.sub { color: var(--soft); margin: .2rem 0 0; }
pre { white-space: pre-wrap; margin: 0; font: 13px/1.6 ui-monospace, monospace; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; margin: .4rem 0; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.number, th.number { text-align: right; } td.note { white-space: normal; min-width: 14rem; color: var(--soft); }
th { cursor: pointer; position: sticky; top: 0; background: var(--card); }
details summary { cursor: pointer; color: var(--soft); }
"""  # noqa: E501

_SORT = """
document.querySelectorAll('th').forEach(th => th.onclick = () => {
  const body = th.closest('table').tBodies[0], column = th.cellIndex, down = th.dataset.down = th.dataset.down === '1' ? '' : '1';
  const key = row => { const cell = row.cells[column]; return cell.dataset.value ? parseFloat(cell.dataset.value) : cell.textContent; };
  [...body.rows].sort((a, b) => (key(a) > key(b) ? 1 : -1) * (down ? 1 : -1)).forEach(row => body.append(row));
});
"""  # noqa: E501


def page(report: ReportData) -> str:
    """A whole page."""
    sources = report.provenance.get("sources", {})
    names = ", ".join(printable(str(name)) for name in sources) or "report"
    whole, tensors = (report.plain[report.plain["scope"] == scope] for scope in ("model", "tensor"))
    sections = [
        section("Summary", f"<pre>{escape(summarize(report))}</pre>"),
        *(section(title, _drawn(figure)) for title, figure in figures(report).items()),
        section("Whole models", html_table(whole)) if len(whole) else "",
        section("Tensors", html_table(tensors)) if len(tensors) else "",
        section("Coverage", _coverage(report)),
        section("Provenance", _provenance(report.provenance)),
    ]
    return document(f"kolmo: {names}", "How complex are these weights, in bits?", sections)


def fragment(report: ReportData) -> str:
    """The HTML that a notebook shows."""
    return f"<pre>{escape(summarize(report))}</pre>{html_table(model_rows(report.plain))}"


def document(title: str, subtitle: str, sections: list[str]) -> str:
    """A page of sections, in the project's style."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_CSS}</style></head><body><main><h1>{escape(title)}</h1>"
        f'<p class="sub">{escape(subtitle)}</p>{"".join(sections)}</main>'
        f"<script>{_SORT}</script></body></html>"
    )


def _drawn(figure: Figure | InputError) -> str:
    return f"<p>{escape(str(figure))}</p>" if isinstance(figure, InputError) else image(figure)


def image(figure: Figure) -> str:
    """A figure as an embedded PNG."""
    data = base64.b64encode(png_bytes(figure)).decode()
    width = round(96 * figure.get_figwidth())  # CSS pixels; the image itself is finer
    return f'<img alt="figure" width="{width}" src="data:image/png;base64,{data}">'


def html_table(rows: pd.DataFrame) -> str:
    """Rows of the report's table, sortable by a click on a column's head."""
    rows = rows.assign(note=["; ".join(remarks(row)) for _, row in rows.iterrows()])
    present = [c for c in _SHOWN if c in rows and rows[c].notna().any() and (rows[c] != "").any()]
    head = "".join(
        f'<th class="{"number" if rows[c].dtype.kind in "if" else ""}">{escape(_SHOWN[c])}</th>'
        for c in present
    )
    body = "".join(
        "<tr>" + "".join(_cell(column, row[column]) for column in present) + "</tr>"
        for _, row in rows.iterrows()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(column: str, value: Any) -> str:
    if isinstance(value, str):
        return f'<td class="{"note" if column == "note" else ""}">{escape(value)}</td>'
    if value is None:
        return "<td>–</td>"
    if not is_known(value):
        return '<td class="number" data-value="-Infinity">–</td>'
    shown = f"{value:,.0f}" if column in ("bits", "side_bits", "covered") else f"{value:,.4g}"
    return f'<td class="number" data-value="{float(value)!r}">{shown}</td>'


def _coverage(report: ReportData) -> str:
    coverage = report.coverage
    missed = coverage[(~coverage["measured"].astype(bool)) | (coverage["reason"] != "")]
    items = "".join(
        f"<li><b>{escape(str(row.tensor))}</b> ({escape(str(row.role))}): "
        f"{escape(str(row.reason))}</li>"
        for row in missed.itertuples()
    )
    return (
        f"<p>{escape(coverage_line(report.entries.records(), report.sources))}</p><ul>{items}</ul>"
    )


def _provenance(provenance: dict[str, Any]) -> str:
    text = json.dumps(provenance, indent=1)
    title = "versions, settings, files"
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"


def section(title: str, body: str) -> str:
    """A part of a page under its heading; the body is HTML."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"
