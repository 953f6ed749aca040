"""The tidy table of a report: its columns, with one dtype each, and common selections of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from kolmo.errors import InputError
from kolmo.intervals import half_widths
from kolmo.text import printable

COLUMNS = [
    *("checkpoint", "scope", "tensor", "shape", "numel", "dtype", "quantizer", "layout"),
    *("estimator", "kind", "covered", "raw_bits", "bits", "side_bits", "bits_per_weight"),
    *("compression_ratio", "null", "null_draws", "null_bits", "null_sd", "z", "p", "p_missing"),
    *("sampled", "saturated", "seconds", "note", "standard_error", "degrees", "details"),
]
"""Columns of the table, in order.

``numel`` counts the object's weights, ``covered`` those that the figure describes; ``raw_bits``
count the covered weights, so that ``bits_per_weight`` = bits / covered. A row that covers fewer
weights than the object has is *partial*: it is shown, but never compared. ``side_bits``, those of
the quantizer's parameters, are part of the ``bits`` of a bound. ``p_missing`` says why there is no
``p``; ``note`` is prose. ``standard_error`` (bits) belongs to an extrapolated or averaged figure,
``degrees`` are its degrees of freedom; ``details`` are JSON."""


_TEXT = [
    *("checkpoint", "scope", "tensor", "shape", "dtype", "quantizer", "layout", "estimator"),
    *("kind", "null", "p_missing", "note", "details"),
]

COVERAGE = ["checkpoint", "tensor", "role", "numel", "measured", "reason"]
"""Columns of the coverage; ``role`` is one of `kolmo.checkpoints.base.Role`."""

_NAMED = ("checkpoint", "tensor", "role", "reason")
_FLAGS = ("saturated",)
_TRUTH = {"true": True, "1.0": True, "1": True, "false": False, "0.0": False, "0": False}
_MAY_MISS = ("tensor", "layout", "kind", "null")  # text that is missing, rather than empty


def normalize(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a fixed dtype for each column, whatever file it came from."""
    table = table.copy()
    for column in table.columns:
        table[column] = _dtype_of(column)(table[column])
    return table


def _dtype_of(column: str) -> Callable[[pd.Series], pd.Series]:
    if column in _TEXT:
        return _text
    return _flags if column in _FLAGS else _numbers


def _text(column: pd.Series) -> pd.Series:
    absent = None if column.name in _MAY_MISS else ""
    given = column.tolist()
    words = {value: absent if _is_absent(value) else printable(str(value)) for value in set(given)}
    shown = [words[value] for value in given]
    return pd.Series(shown, index=column.index, dtype=object)


def _numbers(column: pd.Series) -> pd.Series:
    # float() reads back every bit of what repr() wrote; pandas' own reader may not.
    given = column.tolist()
    if not {float, int}.issuperset(map(type, given)):
        given = [math.nan if _is_absent(value) else value for value in given]
    values = [float(value) for value in given]
    numbers = pd.Series(values, index=column.index, dtype="float64")
    return numbers.astype("int64") if column.name == "numel" else numbers


def _flags(column: pd.Series) -> pd.Series:
    """Booleans, in whatever form a file holds them; false if there is no figure."""
    flags = [not _is_absent(value) and _TRUTH[str(value).lower()] for value in column]
    return pd.Series(flags, index=column.index, dtype=bool)


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or value != value


def normalize_coverage(coverage: pd.DataFrame) -> pd.DataFrame:
    """The coverage with a fixed dtype for each column, its text fit to be shown."""
    if not coverage["measured"].isin([True, False]).all():
        raise ValueError("the coverage says neither true nor false for a tensor")
    coverage = coverage.astype({"numel": "int64", "measured": bool})
    before = coverage["measured"].map({True: "weight", False: "other"})  # reports without roles
    coverage["role"] = coverage["role"].where(~coverage["role"].map(_is_absent), before)
    for column in _NAMED:
        coverage[column] = _text(coverage[column])
    return coverage


def whole_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that may be compared: their figure describes every weight of the object."""
    return rows[rows["covered"] == rows["numel"]]


def is_partial(row: pd.Series) -> bool:
    """Whether a figure describes only a part of its object's weights."""
    return bool(row["covered"] < row["numel"])


def measured_rows(rows: pd.DataFrame, quantizer: str | None) -> pd.DataFrame:
    """The rows that may be compared, of one quantizer if asked; InputError where there are none."""
    rows = whole_rows(rows[rows["bits_per_weight"].notna()])
    if quantizer is not None:
        rows = rows[rows["quantizer"] == quantizer]
    if rows.empty:
        which = f" with the quantizer {quantizer!r}" if quantizer is not None else ""
        raise InputError(f"there is no value of a whole object{which} in this report to draw")
    return rows


def estimator_label(row: pd.Series) -> str:
    """``zstd:3@bytes``: the estimator of a row and the layout that it reads."""
    layout = row["layout"]
    return f"{row['estimator']}@{layout}" if isinstance(layout, str) else str(row["estimator"])


def estimator_labels(rows: pd.DataFrame) -> pd.Series:
    """`estimator_label` of every row."""
    return pd.Series([estimator_label(row) for _, row in rows.iterrows()], rows.index, dtype=object)


def remarks(row: pd.Series) -> list[str]:
    """Remarks that a reader of a figure needs, in short phrases."""
    phrases = [str(row["note"])] if row["note"] else []
    if is_partial(row):
        phrases.insert(0, f"partial: describes {int(row['covered']):,} of {row['numel']:,} weights")
    if row["saturated"]:
        phrases.insert(0, "saturated")
    if pd.notna(row["sampled"]) and row["sampled"] < 1:
        phrases.append(f"a sample of {100 * row['sampled']:.2g} %, ± {error_width(row):.2g}")
    return phrases


def error_width(row: pd.Series) -> float:
    """What stands after ±, in bits per weight: 95 % by Student's t (`kolmo.intervals`)."""
    return float(half_widths([row["standard_error"] / row["covered"]], [row["degrees"]])[0])


def null_names(rows: pd.DataFrame) -> list[str]:
    """The nulls that have a value."""
    return list(dict.fromkeys(rows["null"][rows["null_bits"].notna()]))


def model_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of whole models; if there are none, those of the tensors."""
    rows = table[table["scope"] == "model"]
    return rows if len(rows) else table[table["scope"] == "tensor"]
