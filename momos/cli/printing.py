"""Values and tables on stdout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from kolmo.console import make_console
from kolmo.symbols import Shape
from kolmo.text import printable

_SHOWN = 20  # tensors in a table of them


def print_values(values: Mapping[str, Any]) -> None:
    """A line for each value, behind its name."""
    width = max(map(len, values))
    for name, value in values.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        shown = f"{value:.6g}" if isinstance(value, float) else shown
        print(f"{name.replace('_', ' '):{width}}  {printable(str(shown))}")


def json_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: what is missing or infinite is null."""
    finite = rows.replace([np.inf, -np.inf], np.nan).astype(object)
    columns = {str(name): finite[name].where(finite[name].notna(), None) for name in finite.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def tensors_by_error(shapes: Mapping[str, Shape], errors: Mapping[str, float]) -> pd.DataFrame:
    """The projected tensors, those that changed most first."""
    worst = sorted(errors, key=lambda name: -errors[name])
    rows = [(name, f"{math.prod(shapes[name]):,}", f"{errors[name]:.4g}") for name in worst]
    rest = [(f"… {len(rows) - _SHOWN:,} tensors more", "", "")] if len(rows) > _SHOWN else []
    return pd.DataFrame([*rows[:_SHOWN], *rest], columns=["tensor", "weights", "relative error"])


def print_table(rows: pd.DataFrame) -> None:
    """A table of texts, as wide as there is room."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows.columns:
        table.add_column(str(column), overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(Text(str(value)) for value in row))
    make_console().print(table)
