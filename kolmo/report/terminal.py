"""A report in a terminal: the table, as wide as there is room, then the summary."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from kolmo.console import make_console
from kolmo.report.data import ReportData
from kolmo.report.table import estimator_label, remarks
from kolmo.report.verdicts import quote_p, quote_z
from kolmo.report.words import summarize
from kolmo.text import shorten

_WIDE = 120  # columns that hold the whole table
_NUMBERS = ("weights", "bits", "bits/weight", "ratio", "of null", "z", "p")


def show(report: ReportData, all_rows: bool = False) -> None:
    """The table (whole models, and tensors if few or asked for), then the summary."""
    table = report.table
    whole = table[table["scope"] == "model"]
    tensors = table[table["scope"] == "tensor"]
    console = make_console()
    if len(whole):
        console.print(rich_table(whole, console.width))
    if len(tensors) and (all_rows or whole.empty or len(tensors) <= 60):
        console.print(rich_table(tensors, console.width))
    elif len(tensors):
        console.print(f"{len(tensors):,} rows of single tensors: --all prints them, -o saves them")
    if console.width < _WIDE:
        console.print(f"{_WIDE} columns would show weights, bits and ratios too; -o saves them")
    console.print()
    console.print(summarize(report), markup=False, highlight=False, soft_wrap=True)


def rich_table(rows: pd.DataFrame, width: int) -> Table:
    """Rows of the report's table, with the columns that fit a terminal of this width."""
    columns = _columns(rows, wide=width >= _WIDE)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in columns:
        if heading in _NUMBERS:
            table.add_column(heading, justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold", no_wrap=heading in ("tensor", "kind"))
    for line in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, line))
    return table


def _columns(rows: pd.DataFrame, wide: bool) -> dict[str, list[str]]:
    """The columns that are not empty; in a narrow terminal only the most important ones."""
    name = 44 if wide else 20
    has_null = rows["null"].notna().any()
    share = 100 * rows["bits"] / rows["null_bits"].where(rows["null_bits"] > 0)
    columns = {
        "checkpoint": [shorten(str(v), name) for v in rows["checkpoint"]],
        "tensor": [shorten(_text(v), name) for v in rows["tensor"]],
        "quantizer": [str(v) for v in rows["quantizer"]],
        "estimator": [estimator_label(row) for _, row in rows.iterrows()],
        "kind": [_text(v) for v in rows["kind"]],
        "weights": [_number(v, ",.0f") for v in rows["covered"]],
        "bits": [_number(v, ",.0f") for v in rows["bits"]],
        "bits/weight": [_number(v, ".4g") for v in rows["bits_per_weight"]],
        "ratio": [_number(v, ".4g") for v in rows["compression_ratio"]],
        "null": [_text(v) for v in rows["null"]],
        "of null": [_number(v, ".2f", " %") for v in share],
        "z": [quote_z(row) if row["z"] == row["z"] else "–" for _, row in rows.iterrows()],
        "p": [
            quote_p(p, null).removeprefix("p = ").removeprefix("p ") if p == p else "–"
            for p, null in zip(rows["p"], rows["null"], strict=True)
        ],
        "note": ["; ".join(remarks(row)) for _, row in rows.iterrows()],
    }
    shown = {
        "checkpoint": rows["checkpoint"].nunique() > 1,
        "tensor": rows["tensor"].notna().any(),
        **dict.fromkeys(("weights", "bits", "ratio"), wide),
        **dict.fromkeys(("null", "of null"), has_null),
        "z": has_null and wide,
        "p": rows["p"].notna().any(),
        "note": any(columns["note"]),
    }
    return {heading: cells for heading, cells in columns.items() if shown.get(heading, True)}


def _number(value: float, form: str, unit: str = "") -> str:
    return "–" if value != value else f"{value:{form}}{unit}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "–"
