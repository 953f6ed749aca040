"""How tensors are shown at a prompt and in a notebook: names cut, long lists too."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from kolmo.markup import lines_html, table_html
from kolmo.symbols import Shape
from kolmo.text import printable, shorten

_SHOWN, _ROWS = 60, 20  # characters of a name, and tensors, that are shown


def tensor_cells(name: str, shape: Shape, form: str, numel: int) -> list[str]:
    """A tensor in words: its name, its shape, how it is stored, its weights.

    >>> tensor_cells("layer.weight", (3, 4), "float32", 12)
    ['layer.weight', '3 × 4', 'float32', '12']
    """
    return [shorten(printable(name), _SHOWN), " × ".join(map(str, shape)), form, f"{numel:,}"]


def tensors_html(heading: str, tensors: Collection[list[str]], others: int) -> str:
    """A heading, a table of the first tensors, and what is not in it."""
    lines = [heading, *([f"{others:,} other entries: .skipped has them"] if others else [])]
    first: Iterable[list[str]] = islice(tensors, _ROWS)
    table = table_html([["tensor", "shape", "dtype", "weights"], *first], ("shape", "weights"))
    more = len(tensors) - _ROWS
    rest = lines_html(f"and {more:,} tensors more: kolmo.inspect shows them all")
    return lines_html("\n".join(lines)) + table + (rest if more > 0 else "")
