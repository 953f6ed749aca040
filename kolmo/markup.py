"""What a notebook shows of an object: lines as they are, and tables, every text escaped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

_LINES = "white-space: pre-wrap; overflow-wrap: break-word; word-break: normal; margin: 0"

Cells = Sequence[Sequence[str]]
"""Cells by row; the first row is the heading."""


class Lines(str):
    """A text whose lines are lines where it ends a cell, or is entered at a prompt.

    >>> Lines("one\\ntwo")
    one
    two
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return lines_html(self)


def lines_html(text: str) -> str:
    """Lines as HTML, broken between words alone."""
    return f'<pre style="{_LINES}">{escape(text)}</pre>'


def table_html(cells: Cells, numbers: Collection[str] = ()) -> str:
    """A table as HTML; the columns with these headings are aligned to the right."""
    styles = [f' style="text-align: {"right" if h in numbers else "left"}"' for h in cells[0]]
    rows = [
        "".join(f"<{tag}{s}>{escape(cell)}</{tag}>" for s, cell in zip(styles, line, strict=True))
        for tag, line in zip(["th", *["td"] * (len(cells) - 1)], cells, strict=True)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{rows[0]}</tr></thead><tbody>{body}</tbody></table>"
