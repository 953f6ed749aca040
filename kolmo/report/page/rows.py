"""Tables on a page: the first rows as HTML, all of them as data that a script shows when in sight.

A table of 1,000 tensors by 11 measurements is less than a megabyte so, and is there at once. The
data is JSON, column by column: words are written once, with the places where they stand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from kolmo.report.columns import is_known
from kolmo.report.table import remarks

if TYPE_CHECKING:
    import pandas as pd

SHOWN = {
    "checkpoint": "checkpoint",
    "tensor": "tensor",
    "quantizer": "quantizer",
    "estimator": "estimator",
    "layout": "layout",
    "bits_per_weight": "bits per weight",
    "kind": "kind",
    "nmse": "distortion",
    "compression_ratio": "ratio",
    "covered": "weights",
    "bits": "bits",
    "side_bits": "side bits",
    "null": "null",
    "null_draws": "draws",
    "null_bits": "null bits",
    "z": "z",
    "p": "p",
    "note": "note",
}
"""Columns of a page's table and their heads."""

TOLD = {"shape": "shape", "dtype": "dtype", "null_sd": "null sd", "standard_error": "± (bits)"}
"""Columns that are told of a row that is pointed at, as are those that are the same in all rows."""

WHOLE = ("bits", "side_bits", "covered", "null_bits", "null_draws")
"""Columns of numbers that are shown without decimals."""

AT_FIRST = 40
"""Rows that are there before, or without, the script."""

_SEARCHED = 12  # rows from which on a search is worth its place
_WIDEST = 44  # letters of a column


def rows_html(rows: pd.DataFrame, most: int = AT_FIRST) -> str:
    """Rows of the report's table: they can be searched, filtered by column and sorted."""
    rows = _with_remarks(rows)
    known = [name for name in (*SHOWN, *TOLD) if name in rows and _says(rows[name])]
    told = [name for name in known if name in TOLD or _is_the_same(rows, name)]
    present = [name for name in known if name not in told]
    columns = [_column(rows, name, name in told) for name in [*present, *told]]
    data = f'{{"rows":{len(rows)},"columns":[{",".join(columns)}]}}'
    widths = {name: _width(rows, name) for name in present}
    cols = "".join(f'<col style="width:{width}ch">' for width in widths.values())
    search = (
        '<input type="search" placeholder="search names, estimators, notes" aria-label="search">'
        if len(rows) > _SEARCHED
        else ""
    )
    return (
        f'<div class="rows"><div class="bar">{search}<span class="count" aria-live="polite">'
        f'{_counted(len(rows), most)}</span></div><div class="scroll" tabindex="0">'
        f'<table style="width:{sum(widths.values())}ch"><colgroup>{cols}</colgroup>'
        f"{_head(rows, present, sortable=True)}{_body(rows[:most], present)}</table></div>"
        f'<p class="detail"></p><script type="application/json">{_safe(data)}</script></div>'
    )


def short_table(rows: pd.DataFrame, most: int) -> str:
    """The first rows as a plain table, which every viewer of HTML shows."""
    rows = _with_remarks(rows)
    wanted = [name for name in SHOWN if name not in ("side_bits", "null_draws", "null_bits", "z")]
    present = [name for name in wanted if name in rows and _says(rows[name])]
    left = f"<p>The first {most} of {len(rows):,} rows.</p>" if len(rows) > most else ""
    return f"<table>{_head(rows, present)}{_body(rows[:most], present)}</table>{left}"


def _counted(rows: int, most: int) -> str:
    return f"{rows:,} rows" if rows <= most else f"the first {most} of {rows:,} rows"


def _with_remarks(rows: pd.DataFrame) -> pd.DataFrame:
    wanted = ["note", "covered", "numel", "saturated", "sampled", "standard_error", "degrees"]
    records: list[Any] = rows[wanted].to_dict("records")
    return rows.assign(note=["; ".join(remarks(row)) for row in records])


def _says(values: pd.Series) -> bool:
    """Whether a column says anything."""
    return bool(values.notna().any() and (values != "").any())


def _is_the_same(rows: pd.DataFrame, name: str) -> bool:
    """Whether a name is that of every row, so that it need not stand in each."""
    named = ("checkpoint", "tensor", "quantizer", "layout", "null")
    return name in named and len(rows) > 1 and rows[name].nunique(dropna=False) == 1


def _is_number(values: pd.Series) -> bool:
    return values.dtype.kind in "iufb"


# --- as HTML --------------------------------------------------------------------------------


def _head(rows: pd.DataFrame, present: Sequence[str], sortable: bool = False) -> str:
    cells = ""
    for name in present:
        label = f'<button type="button">{SHOWN[name]}</button>' if sortable else SHOWN[name]
        cells += f'<th scope="col"{_kind(rows[name])}>{label}</th>'
    return f"<thead><tr>{cells}</tr></thead>"


def _body(rows: pd.DataFrame, present: Sequence[str]) -> str:
    columns = [
        [f"<td{_kind(rows[name])}>{escape(shown(name, value))}</td>" for value in rows[name]]
        for name in present
    ]
    lines = "".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*columns, strict=True))
    return f"<tbody>{lines}</tbody>"


def _kind(values: pd.Series) -> str:
    return ' class="number"' if _is_number(values) else ""


def shown(name: str, value: Any) -> str:
    """A value as a reader sees it.

    >>> shown("bits", 1234567.2), shown("p", 0.05), shown("layout", None), shown("z", -3.14159)
    ('1,234,567', '0.05', '–', '−3.142')
    """
    if not is_known(value):
        return "–"
    if isinstance(value, str):
        return value
    return (f"{value:,.0f}" if name in WHOLE else f"{value:,.4g}").replace("-", "−")


def _width(rows: pd.DataFrame, name: str) -> int:
    """Letters that a column takes, its head and the room beside it among them."""
    longest = max((len(shown(name, value)) for value in rows[name].unique()), default=0)
    return min(max(longest, len(SHOWN[name]) + 2, 7), _WIDEST) + 3


# --- as data --------------------------------------------------------------------------------


def _column(rows: pd.DataFrame, name: str, told: bool) -> str:
    label = (SHOWN | TOLD)[name]
    facts: dict[str, Any] = {"label": label, **({"hidden": 1} if told else {})}
    if _is_number(rows[name]):
        facts |= {"whole": 1} if name in WHOLE else {}
        return f"{json.dumps(facts)[:-1]},{_numbers(rows[name].tolist())}}}"
    values = [value if is_known(value) else None for value in rows[name]]
    words = {word: number for number, word in enumerate(dict.fromkeys(values))}
    facts["words"] = list(words)
    if len(words) > 1:
        facts["index"] = [words[value] for value in values]
    return json.dumps(facts, separators=(",", ":"))


def _numbers(values: Sequence[float]) -> str:
    """Numbers as JSON, in 7 digits at least; one alone where they are all the same."""
    texts = [_number(float(value)) for value in values]
    same = len(set(texts)) == 1
    return f'"values":{texts[0] if same else "[" + ",".join(texts) + "]"}'


def _number(value: float) -> str:
    if math.isnan(value):
        return "null"
    if math.isinf(value):  # which JSON has no word for, but readers take what is too large for it
        return "1e999" if value > 0 else "-1e999"
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.7g}"


def _safe(data: str) -> str:
    """JSON that no text in it can end: of `</script>` and `<!--` nothing is left to be read."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
