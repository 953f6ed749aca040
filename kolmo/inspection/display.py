"""An inspection as text and as HTML: a heading, a table of arrays, a table of totals by role."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from kolmo.checkpoints.files import plural
from kolmo.inspection.data import InspectionData
from kolmo.inspection.folding import Row, fold, single_rows
from kolmo.markup import table_html
from kolmo.spoken import is_shell
from kolmo.text import byte_text, printable, shorten

_FEW = 60  # rows that are shown as they are; more are folded, and cut if that does not help
_NAME = 16  # columns that a name has at least

_Table = list[list[str]]
"""Cells by row; the first row is the heading."""

_NUMERIC = frozenset(("arrays", "numbers", "size", "bits/number"))


def text_of(inspection: InspectionData, width: int, all_rows: bool) -> str:
    """The whole as text of at most ``width`` columns, where names can be cut that much."""
    rows, more = _rows(inspection, all_rows)
    parts = [
        "\n".join(_heading(inspection)),
        _aligned(_arrays(rows), None if all_rows else width),
        *([f"and {more:,} rows more: {_all_rows()}"] if more else []),
        _aligned(_totals(inspection), None),
    ]
    return "\n\n".join(parts)


def _all_rows() -> str:
    return "--all prints them" if is_shell() else ".table has them all"


def html_of(inspection: InspectionData) -> str:
    """The whole as HTML, every text escaped."""
    rows, more = _rows(inspection, False)
    heading = "<br>".join(escape(line) for line in _heading(inspection))
    rest = f"<p>and {more:,} rows more: <code>.table</code> has them all</p>" if more else ""
    arrays, totals = (table_html(t, _NUMERIC) for t in (_arrays(rows), _totals(inspection)))
    return f"<p>{heading}</p>{arrays}{rest}{totals}"


# --- what is shown ----------------------------------------------------------------------------


def _rows(inspection: InspectionData, all_rows: bool) -> tuple[list[Row], int]:
    """The rows to show, and how many are not."""
    arrays = inspection.arrays
    if all_rows or len(arrays) <= _FEW:
        return single_rows(arrays), 0
    folded = fold(arrays)
    return folded[:_FEW], max(0, len(folded) - _FEW)


def _heading(inspection: InspectionData) -> list[str]:
    each = inspection.bits_per_weight
    tensors = sum(a.role == "weight" and a.shape is not None for a in inspection.arrays)
    stored = "" if math.isnan(each) else f", {each:.4g} bits a weight"
    lines = [
        f"{inspection.source}: {inspection.format}, {inspection.weights:,} weights in "
        f"{plural(tensors, 'tensor')}{stored}"
    ]
    if inspection.unreadable:
        lines[0] += f", {inspection.unreadable:,} weights more that cannot be read"
    if inspection.files:
        count = f"{len(inspection.files)} files of " if len(inspection.files) > 1 else ""
        lines[0] += f", {count}{byte_size(8 * sum(inspection.files.values()))}"
    if inspection.networks:
        lines.append(f"{len(inspection.networks)} networks: {', '.join(inspection.networks)}")
    if inspection.shards:
        lines.append("{} of {} shards of the model".format(*inspection.shards))
    if inspection.schemes:
        lines.append(f"quantized: {', '.join(inspection.schemes)}")
    return [printable(line) for line in lines]


def _arrays(rows: Sequence[Row]) -> _Table:
    """The table of arrays, without the columns in which nothing stands."""
    table = [["name", "arrays", "role", "shape", "dtype", "numbers", "size", "note"]]
    for row in rows:
        first = row.arrays[0]
        original = first.copy_of if len(row.arrays) == 1 else ""
        told = first.reason
        if original and original not in told:
            told = f"of {original}; {told}" if told else f"of {original}"
        table.append(
            [
                printable(row.name),
                f"{len(row.arrays):,}",
                str(first.role),
                "" if first.shape is None else f"[{', '.join(map(str, first.shape))}]",
                first.form,
                f"{row.numbers:,}",
                byte_size(row.bits),
                printable(shorten(told, 60)),
            ]
        )
    filled = [any(line[n] not in ("", "1") for line in table[1:]) for n in range(8)]
    kept = [n for n in range(8) if filled[n] or table[0][n] not in ("arrays", "note")]
    return [[line[n] for n in kept] for line in table]


def _totals(inspection: InspectionData) -> _Table:
    table = [["role", "arrays", "numbers", "size"]]
    for role, total in inspection.roles.items():
        numbers = f"{total.numbers:,}"
        table.append([str(role), f"{total.arrays:,}", numbers, byte_size(total.bits)])
    return table


def byte_size(bits: int) -> str:
    """Bits as bytes, in the unit that suits them; empty of none.

    >>> byte_size(8 * 999), byte_size(8 * 14_440), byte_size(8 * 10**11), byte_size(12)
    ('999 B', '14.4 kB', '100 GB', '2 B')
    """
    return byte_text(-(-bits // 8)) if bits else ""


# --- how it is shown --------------------------------------------------------------------------


def _aligned(table: _Table, width: int | None) -> str:
    """Columns side by side; the first is cut in the middle to keep within ``width``."""
    widths = [max(len(line[n]) for line in table) for n in range(len(table[0]))]
    if width is not None:
        widths[0] = max(_NAME, min(widths[0], width - sum(widths[1:]) - 2 * len(widths[1:])))
    lines = []
    for line in table:
        cells = [
            cell.rjust(w) if table[0][n] in _NUMERIC else shorten(cell, w).ljust(w)
            for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
