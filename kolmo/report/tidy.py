"""Tables as they are given to people: categories where words repeat, nullable numbers where counts
may be missing, texts as texts; nothing is an object.

Within kolmo tables are plain (`kolmo.report.data.ReportData.plain`): numbers are floats, and words
objects, so that rows of different tables compare and join.
"""

from __future__ import annotations

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
    import pandas as pd

    columns = {str(name): _tidied(frame[name], str(name)) for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index, columns=frame.columns)


def _tidied(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    import pandas as pd

    if name in _COUNTS and pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("Int64") if _is_whole(column) else column
    if not _is_words(column):
        return _numbers(column)
    if name in _PROSE:
        return column.astype("string")
    values = column.tolist()
    places = {word: place for place, word in enumerate(dict.fromkeys(filter(_is_word, values)))}
    codes = [places[value] if _is_word(value) else -1 for value in values]
    made = pd.Categorical.from_codes(codes, pd.Index(list(places), dtype=object), ordered=True)
    return pd.Series(made, index=column.index, name=column.name)


def _is_whole(column: pd.Series[Any]) -> bool:
    known = column.dropna()
    return bool((known == known.round()).all())


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Objects that are all truth values, or all whole numbers, as nullable ones."""
    kinds = {type(value) for value in column.dropna()} if column.dtype == object else set()
    if kinds <= {bool, np.bool_}:
        return column.astype("boolean") if kinds else column
    return column.astype("Int64") if kinds <= {int} else column


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _is_words(column: pd.Series[Any]) -> bool:
    """Whether there are texts alone, besides missing values: one at least, or a column of them."""
    is_object = column.dtype == object or str(column.dtype) in ("str", "string")
    if not is_object:
        return False
    return all(_is_word(value) or value is None or value != value for value in column.tolist())
