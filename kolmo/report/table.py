"""The tidy table of a report: common selections of its rows, and what is said of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kolmo.errors import InputError
from kolmo.intervals import half_widths
from kolmo.report.columns import Row, TableRows, is_known, typed

if TYPE_CHECKING:
    import pandas as pd


def normalize(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a fixed dtype for each column, whatever file it came from."""
    columns = {str(name): typed(str(name), table[name].tolist()) for name in table.columns}
    return TableRows(columns).frame(table.index)


def normalize_coverage(coverage: pd.DataFrame) -> pd.DataFrame:
    """The coverage with a fixed dtype for each column, its text fit to be shown."""
    if not coverage["measured"].isin([True, False]).all():
        raise ValueError("the coverage says neither true nor false for a tensor")
    before = coverage["measured"].map({True: "weight", False: "other"})  # reports without roles
    known = coverage["role"].map(lambda role: is_known(role) and role != "").astype(bool)
    return normalize(coverage.assign(role=coverage["role"].where(known, before)))


def whole_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that may be compared: their figure describes every weight of the object."""
    return rows[rows["covered"] == rows["numel"]]


def is_partial(row: Row) -> bool:
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


def estimator_label(row: Row) -> str:
    """``zstd:3@bytes``: the estimator of a row and the layout that it reads."""
    layout = row["layout"]
    return f"{row['estimator']}@{layout}" if isinstance(layout, str) else str(row["estimator"])


def estimator_labels(rows: pd.DataFrame) -> pd.Series:
    """`estimator_label` of every row."""
    import pandas as pd

    pairs = zip(rows["estimator"], rows["layout"], strict=True)
    labels = [estimator_label({"estimator": e, "layout": layout}) for e, layout in pairs]
    return pd.Series(labels, rows.index, dtype=object)


def remarks(row: Row) -> list[str]:
    """Remarks that a reader of a figure needs, in short phrases."""
    phrases = [str(row["note"])] if row["note"] else []
    if is_partial(row):
        phrases.insert(0, f"partial: describes {int(row['covered']):,} of {row['numel']:,} weights")
    if row["saturated"]:
        phrases.insert(0, "saturated")
    if is_known(row["sampled"]) and row["sampled"] < 1:
        phrases.append(f"a sample of {100 * row['sampled']:.2g} %, ± {error_width(row):.2g}")
    return phrases


def error_width(row: Row) -> float:
    """What stands after ±, in bits per weight: 95 % by Student's t (`kolmo.intervals`)."""
    return float(half_widths([row["standard_error"] / row["covered"]], [row["degrees"]])[0])


def null_names(rows: pd.DataFrame) -> list[str]:
    """The nulls that have a value."""
    return list(dict.fromkeys(rows["null"][rows["null_bits"].notna()]))


def model_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of whole models; if there are none, those of the tensors."""
    rows = table[table["scope"] == "model"]
    return rows if len(rows) else table[table["scope"] == "tensor"]
