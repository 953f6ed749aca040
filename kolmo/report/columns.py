"""The columns of a report's tables, with one dtype each; tables as lists, without pandas.

A DataFrame is made of them when one is asked for: to import pandas takes longer than to recall all
figures of a checkpoint, and sentences need none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kolmo.text import printable

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = [
    *("checkpoint", "scope", "tensor", "shape", "numel", "dtype", "quantizer", "layout"),
    *("estimator", "kind", "covered", "raw_bits", "bits", "side_bits", "nmse"),
    *("bits_per_weight", "compression_ratio", "null", "null_draws", "null_bits", "null_sd", "z"),
    *("p", "p_missing", "p_t"),
    *("sampled", "saturated", "seconds", "note", "standard_error", "degrees", "details"),
]
"""Columns of the table, in order.

``numel`` counts the object's weights, ``covered`` those that the figure describes; ``raw_bits``
count the covered weights, so that ``bits_per_weight`` = bits / covered. A row that covers fewer
weights than the object has is *partial*: it is shown, but never compared. ``side_bits``, those of
the quantizer's parameters, are part of the ``bits`` of a bound. ``nmse`` is the quantizer's
relative squared error, Σ(w − ŵ)² / Σw²: 0 of ``native``, missing where it is unknown. ``p`` is that
of ranks among draws, and ``p_missing`` says why there is none; ``p_t`` is Student's, as if figures
of draws were normal. ``note`` is prose. ``standard_error`` (bits) belongs to an extrapolated or
averaged figure, ``degrees`` are its degrees of freedom; ``details`` are JSON."""

COVERAGE = ["checkpoint", "tensor", "role", "numel", "measured", "reason"]
"""Columns of the coverage; ``role`` is one of `kolmo.checkpoints.base.Role`."""

FUNCTION = "function"
"""The estimator of rows on files of networks that do the same, to within a tolerance."""

_KNOWN = {*COLUMNS, *COVERAGE}  # other tables have columns of their own
_TEXT = {
    *("checkpoint", "scope", "tensor", "shape", "dtype", "quantizer", "layout", "estimator"),
    *("kind", "null", "p_missing", "note", "details", "role", "reason"),
}
_DTYPES = {
    **dict.fromkeys(_TEXT, "object"),
    **dict.fromkeys(("saturated", "measured"), "bool"),
    "numel": "int64",
}
_TRUTH = {"true": True, "1.0": True, "1": True, "false": False, "0.0": False, "0": False}
_MAY_MISS = ("tensor", "layout", "kind", "null")  # text that is missing, rather than empty

Row: TypeAlias = "Mapping[str, Any] | pd.Series[Any]"
"""A row by the names of its columns."""


def dtype_of(column: str) -> str:
    """The dtype of a column: numbers are float64 but for ``numel``."""
    return _DTYPES.get(column, "float64")


def is_known(value: Any) -> bool:
    """Whether there is a value: neither None nor NaN."""
    return value is not None and value == value


class TableRows:
    """A table by its columns, lists of one length.

    Examples
    --------
    >>> rows = TableRows({"scope": ["model", "tensor"], "bits": [8.0, 5.0]})
    >>> len(rows), rows["bits"], rows.records(scope="tensor")
    (2, [8.0, 5.0], [{'scope': 'tensor', 'bits': 5.0}])
    >>> TableRows.of(rows.frame()).records() == rows.records()
    True
    """

    def __init__(self, columns: Mapping[str, list[Any]]) -> None:
        self._columns = columns

    @classmethod
    def of(cls, table: pd.DataFrame | TableRows) -> TableRows:
        """Those of a DataFrame; rows as they are."""
        if isinstance(table, TableRows):
            return table
        return cls({str(name): _listed(table[name], str(name)) for name in table.columns})

    @classmethod
    def made_of(cls, records: Sequence[Row], columns: Iterable[str]) -> TableRows:
        """Rows with these columns, values of their types; what is not there is missing."""
        return cls({name: typed(name, [row.get(name) for row in records]) for name in columns})

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __getitem__(self, column: str) -> list[Any]:
        return self._columns[column]

    def records(self, **where: Any) -> list[dict[str, Any]]:
        """The rows as dictionaries; those alone whose columns have these values."""
        places: Iterable[int] = range(len(self))
        for name, wanted in where.items():
            column = self._columns[name]
            places = [place for place in places if column[place] == wanted]
        return [{n: column[place] for n, column in self._columns.items()} for place in places]

    def frame(self, index: pd.Index | None = None) -> pd.DataFrame:
        """The same as a DataFrame."""
        import pandas as pd

        columns = {
            name: pd.Series(column, index=index, dtype=dtype_of(name))
            for name, column in self._columns.items()
        }
        return pd.DataFrame(columns, index=index)


def _listed(column: pd.Series[Any], name: str) -> list[Any]:
    """The values of a column, those of a tidy one (`kolmo.report.tidy`) as of a plain one."""
    if isinstance(column.dtype, np.dtype):
        return column.tolist()
    values = column.astype(object).where(column.notna(), None).tolist()
    return typed(name, values) if name in _KNOWN else values


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of these columns, in the order in which they come."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


# --- values of a column's type --------------------------------------------------------------


def typed(column: str, given: list[Any]) -> list[Any]:
    """The values of a column, whatever file they came from."""
    dtype = dtype_of(column)
    if dtype == "object":
        return _text(column, given)
    if dtype == "bool":  # false if there is no figure
        return [not _is_absent(value) and _TRUTH[str(value).lower()] for value in given]
    numbers = _numbers(given)
    return [int(number) for number in numbers] if dtype == "int64" else numbers


def _text(column: str, given: list[Any]) -> list[Any]:
    absent = None if column in _MAY_MISS else ""
    words = {value: absent if _is_absent(value) else printable(str(value)) for value in set(given)}
    return [words[value] for value in given]


def _numbers(given: list[Any]) -> list[float]:
    # float() reads back every bit of what repr() wrote; pandas' own reader may not.
    if not all(type(value) in (float, int) for value in given):
        given = [math.nan if _is_absent(value) else value for value in given]
    return [float(value) for value in given]


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or value != value
