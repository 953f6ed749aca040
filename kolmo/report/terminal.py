"""A report in a terminal: the table, as wide as there is room, then the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from kolmo.console import make_console
from kolmo.report.columns import Row, is_known
from kolmo.report.data import ReportData
from kolmo.report.layers import in_natural_order
from kolmo.report.quoting import quote_p, quote_z
from kolmo.report.table import estimator_label, remarks
from kolmo.report.words import summarize
from kolmo.text import byte_text, shorten

_WIDE = 120  # columns that hold the whole table
_ROOMY = 140  # columns that hold sizes in bytes, too
_NUMBERS = ("weights", "bits", "size", "bits/weight", "ratio", "of null", "z", "p")


def show(report: ReportData, all_rows: bool = False) -> None:
    """The table (whole models, and tensors if few or asked for), then the summary."""
    models = report.rows.records(scope="model")
    told = {_absence(row) for row in models if not is_known(row["bits"])}  # in the summary, once
    whole = [row for row in models if _absence(row) not in told]
    single = in_natural_order(report.rows.records(scope="tensor"))
    single = [row for row in single if _absence(row) not in told]
    tensors = len(single)
    console = make_console()
    if whole:
        console.print(rich_table(whole, console.width))
    if tensors and (all_rows or not whole or tensors <= 60):
        console.print(rich_table(single, console.width))
    elif tensors:
        console.print(f"{tensors:,} rows of single tensors: --all prints them, -o saves them")
    if console.width < _WIDE:
        console.print(f"{_WIDE} columns would show weights, bits and ratios too; -o saves them")
    console.print()
    console.print(summarize(report), markup=False, highlight=False, soft_wrap=True)


def _absence(row: Row) -> tuple[Any, ...] | None:
    """Which measurement has no figure, and why; None of one that has."""
    if is_known(row["bits"]):
        return None
    return tuple(row[name] for name in ("checkpoint", "quantizer", "layout", "estimator", "note"))


def rich_table(rows: Sequence[Row], width: int) -> Table:
    """Rows of the report's table, with the columns that fit a terminal of this width."""
    columns = _columns(rows, wide=width >= _WIDE, roomy=width >= _ROOMY)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in columns:
        if heading in _NUMBERS:
            table.add_column(heading, justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold", no_wrap=heading in ("tensor", "kind"))
    for line in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, line))
    return table


def _columns(rows: Sequence[Row], wide: bool, roomy: bool) -> dict[str, list[str]]:
    """The columns that are not empty; in a narrow terminal only the most important ones."""
    name = 44 if wide else 20
    columns = {
        "checkpoint": [shorten(str(row["checkpoint"]), name) for row in rows],
        "tensor": [shorten(_text(row["tensor"]), name) for row in rows],
        "quantizer": [str(row["quantizer"]) for row in rows],
        "estimator": [estimator_label(row) for row in rows],
        "kind": [_text(row["kind"]) for row in rows],
        "weights": [_number(row["covered"], ",.0f") for row in rows],
        "bits": [_number(row["bits"], ",.0f") for row in rows],
        "size": [_size(row["bits"]) for row in rows],
        "bits/weight": [_number(row["bits_per_weight"], ".4g") for row in rows],
        "ratio": [_number(row["compression_ratio"], ".4g") for row in rows],
        "null": [_text(row["null"]) for row in rows],
        "of null": [_number(_of_null(row), ".2f", " %") for row in rows],
        "z": [quote_z(row) if is_known(row["z"]) else "–" for row in rows],
        "p": [_p(row) if is_known(row["p"]) else "–" for row in rows],
        "note": ["; ".join(remarks(row)) for row in rows],
    }
    has_null = any(is_known(row["null"]) for row in rows)
    shown = {
        "checkpoint": len({row["checkpoint"] for row in rows}) > 1,
        "tensor": any(is_known(row["tensor"]) for row in rows),
        **dict.fromkeys(("weights", "bits", "ratio"), wide),
        "size": roomy,
        **dict.fromkeys(("null", "of null"), has_null),
        "z": has_null and wide,
        "p": any(is_known(row["p"]) for row in rows),
        "note": any(columns["note"]),
    }
    return {heading: cells for heading, cells in columns.items() if shown.get(heading, True)}


def _of_null(row: Row) -> float:
    """A figure as a share of its null's, in per cent."""
    null = row["null_bits"]
    return 100 * float(row["bits"]) / null if is_known(null) and null > 0 else math.nan


def _p(row: Row) -> str:
    return quote_p(row["p"], row["null"]).removeprefix("p = ").removeprefix("p ")


def _number(value: float, form: str, unit: str = "") -> str:
    return "–" if value != value else f"{value:{form}}{unit}"


def _size(bits: float) -> str:
    return "–" if bits != bits else byte_text(math.ceil(bits / 8))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "–"
