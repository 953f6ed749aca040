"""The tidy table of a report: its columns, one dtype each, and what is asked of it everywhere."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from kolmo.errors import InputError
from kolmo.text import printable

COLUMNS = [
    *("checkpoint", "scope", "tensor", "shape", "numel", "dtype", "quantizer", "layout"),
    *("estimator", "kind", "raw_bits", "bits", "bits_per_weight", "compression_ratio"),
    *("null", "null_draws", "null_bits", "null_sd", "z", "p", "sampled", "seconds", "note"),
    *("standard_error", "details"),
]
"""Columns of the table. The last two go beyond the usual ones: the standard error (bits) of an
extrapolated or averaged figure, and what an estimator can say besides, as JSON."""


_TEXT = [
    *("checkpoint", "scope", "tensor", "shape", "dtype", "quantizer", "layout", "estimator"),
    *("kind", "null", "note", "details"),
]

COVERAGE = ["checkpoint", "tensor", "numel", "measured", "reason"]
"""Columns of the coverage."""

_NAMED = ("checkpoint", "tensor", "reason")
_MAY_MISS = ("tensor", "layout", "kind", "null")  # text that is missing, rather than empty


def normalize(table: pd.DataFrame) -> pd.DataFrame:
    """The table with one dtype a column, whatever file it came from."""
    table = table.copy()
    for column in table.columns:
        table[column] = _text(table[column]) if column in _TEXT else _numbers(table[column])
    return table


def _text(column: pd.Series) -> pd.Series:
    absent = None if column.name in _MAY_MISS else ""
    shown = [absent if _is_absent(value) else printable(str(value)) for value in column]
    return pd.Series(shown, index=column.index, dtype=object)


def _numbers(column: pd.Series) -> pd.Series:
    # float() reads back every bit of what repr() wrote; pandas' own reader may not.
    values = [math.nan if _is_absent(value) else float(value) for value in column]
    numbers = pd.Series(values, index=column.index, dtype="float64")
    return numbers.astype("int64") if column.name == "numel" else numbers


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or value != value


def normalize_coverage(coverage: pd.DataFrame) -> pd.DataFrame:
    """The coverage with one dtype a column, its text fit to be shown."""
    if not coverage["measured"].isin([True, False]).all():
        raise ValueError("the coverage says neither true nor false for a tensor")
    coverage = coverage.astype({"numel": "int64", "measured": bool})
    for column in _NAMED:
        coverage[column] = _text(coverage[column])
    return coverage


def measured_rows(rows: pd.DataFrame, quantizer: str | None) -> pd.DataFrame:
    """The rows that have a value, of one quantizer if asked; InputError where there are none."""
    rows = rows[rows["bits_per_weight"].notna()]
    if quantizer is not None:
        rows = rows[rows["quantizer"] == quantizer]
    if rows.empty:
        which = f" with the quantizer {quantizer!r}" if quantizer is not None else ""
        raise InputError(f"there is no measured value{which} in this report to draw")
    return rows


def estimator_label(row: pd.Series) -> str:
    """``zstd:3@bytes``: the estimator of a row and the layout that it reads."""
    layout = row["layout"]
    return f"{row['estimator']}@{layout}" if isinstance(layout, str) else str(row["estimator"])


def estimator_labels(rows: pd.DataFrame) -> pd.Series:
    """`estimator_label` of every row."""
    return pd.Series([estimator_label(row) for _, row in rows.iterrows()], rows.index, dtype=object)


def null_names(rows: pd.DataFrame) -> list[str]:
    """The nulls that have a value."""
    return list(dict.fromkeys(rows["null"][rows["null_bits"].notna()]))


def coverage_line(coverage: pd.DataFrame) -> str:
    """``1,000 of 1,010 weights measured; skipped: b (excluded by 'b', 10 weights)``."""
    whole, done = int(coverage["numel"].sum()), coverage["measured"].astype(bool)
    measured = int(coverage.loc[done, "numel"].sum())
    line = f"{measured:,} of {whole:,} weights measured"
    missed = coverage[~done]
    if missed.empty:
        return line
    shown = [
        f"{r.tensor} ({r.reason}; {_weights(int(str(r.numel)))})"
        for r in missed.head(5).itertuples()
    ]
    more = f" and {len(missed) - 5} more" if len(missed) > 5 else ""
    return f"{line}; {len(missed)} skipped: {', '.join(shown)}{more}"


def model_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that describe the whole model; where there are none, those of the tensors."""
    rows = table[table["scope"] == "model"]
    return rows if len(rows) else table[table["scope"] == "tensor"]


def _weights(count: int) -> str:
    return f"{count:,} weight" + ("" if count == 1 else "s")
