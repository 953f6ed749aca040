"""Tables as they are given to people: categories where words repeat, nullable numbers where counts
may be missing, texts as texts; nothing is an object.

Within kolmo tables are plain (`kolmo.report.data.ReportData.plain`): numbers are floats, and words
objects, so that rows of different tables compare and join.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_PROSE = {"note", "details", "sentence", "line", "reason"}
"""Texts that are hardly twice the same."""

_COUNTS = {"covered", "null_draws", "draws", "depth", "tests", "objects"}
"""Whole numbers that may be missing."""


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table with categories, in the order of their first appearance, in the place of
    words; missing values stay missing.

    Examples
    --------
    >>> import pandas as pd
    >>> words = pd.DataFrame({"null": ["shuffled", None], "note": ["", "few"]}, dtype=object)
    >>> {name: str(dtype) for name, dtype in tidy(words).dtypes.items()}
    {'null': 'category', 'note': 'string'}
    """
    return frame.assign(**{str(name): _tidied(frame[name], str(name)) for name in frame.columns})


def _tidied(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    import pandas as pd

    if name in _COUNTS and pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("Int64") if _is_whole(column) else column
    if not _is_words(column):
        return _numbers(column)
    if name in _PROSE:
        return column.astype("string")
    words = list(dict.fromkeys(column.dropna()))
    return column.astype(pd.CategoricalDtype(words, ordered=True))


def _is_whole(column: pd.Series[Any]) -> bool:
    known = column.dropna()
    return bool((known == known.round()).all())


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Objects that are all truth values, or all whole numbers, as nullable ones."""
    kinds = {type(value) for value in column.dropna()} if column.dtype == object else set()
    if kinds <= {bool, np.bool_}:
        return column.astype("boolean") if kinds else column
    return column.astype("Int64") if kinds <= {int} else column


def _is_words(column: pd.Series[Any]) -> bool:
    """Whether there are texts alone, besides missing values: one at least, or a column of them."""
    is_object = column.dtype == object or str(column.dtype) in ("str", "string")
    known: Iterable[Any] = column.dropna()
    return bool(is_object) and all(isinstance(value, str) for value in known)
