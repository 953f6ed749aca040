"""Agreement: do two measurements put tensors, or models, in the same order?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.report.table import estimator_labels, whole_rows
from kolmo.specs import unknown

if TYPE_CHECKING:
    import pandas as pd

AGREEMENT = ["checkpoint", "a", "b", "objects", "few", "correlation", "note"]

FEWEST = 3
"""Fewest objects for which a rank correlation is given."""

TELLING = 6
"""Fewest objects whose rank correlation tells anything: five are in one order by chance once in 120
pairs of measurements, and near it far more often. Of fewer, ``few`` is true."""


def spearman(x: pd.Series, y: pd.Series) -> float:
    """Rank correlation of two series of the same objects (Spearman 1904); ties share a mean rank.

    NaN if one of them is constant.

    Examples
    --------
    >>> import pandas as pd
    >>> spearman(pd.Series([1, 2, 3]), pd.Series([10, 40, 20]))
    0.5
    """
    a, b = (ranks - ranks.mean() for ranks in (x.rank().to_numpy(), y.rank().to_numpy()))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def agreement(table: pd.DataFrame, over: str) -> pd.DataFrame:
    """Rank correlations of all pairs of measurements; see `kolmo.Report.agreement`."""
    import pandas as pd

    if over not in ("tensors", "models"):
        raise unknown("kind of object", over, ("tensors", "models"))
    scope, column = ("tensor", "tensor") if over == "tensors" else ("model", "checkpoint")
    rows = whole_rows(table[(table["scope"] == scope) & (table["numel"] > 0)])
    rows = rows[rows["bits_per_weight"].notna()].assign(measurement=measurements(rows))
    if rows["measurement"].nunique() < 2:
        raise InputError(f"agreement over {over} takes two measurements of a {scope} at least")
    groups = rows.groupby("checkpoint", sort=False) if over == "tensors" else [(None, rows)]
    pairs = [pair for name, group in groups for pair in _pairs(name, group, column)]
    return pd.DataFrame(pairs, columns=AGREEMENT)


def measurements(rows: pd.DataFrame) -> pd.Series:
    """A label for each measurement, such as ``symmetric:8 zstd:3@bytes``."""
    return rows["quantizer"] + " " + estimator_labels(rows)


def _pairs(checkpoint: Any, rows: pd.DataFrame, column: str) -> Iterator[dict[str, Any]]:
    once = rows.drop_duplicates([column, "measurement"])  # there is a row for each null
    wide = once.pivot(index=column, columns="measurement", values="bits_per_weight")
    names = list(dict.fromkeys(once["measurement"]))
    for a, b in itertools.combinations(names, 2):
        both = wide[[a, b]].dropna()
        objects = len(both)
        found = checkpoint, a, b, objects, objects < TELLING, *_correlation(both[a], both[b])
        yield dict(zip(AGREEMENT, found, strict=True))


def _correlation(x: pd.Series, y: pd.Series) -> tuple[float, str]:
    if len(x) < FEWEST:
        return math.nan, f"{len(x)} objects measured by both, an order takes {FEWEST}"
    constant = [str(s.name) for s in (x, y) if s.nunique() == 1]
    if constant:
        return math.nan, f"{constant[0]} is the same for all"
    return spearman(x, y), ""


def matrix(
    pairs: pd.DataFrame, names: list[str] | None = None
) -> tuple[list[str], np.ndarray[Any, np.dtype[np.float64]]]:
    """The measurements, and their correlations as a symmetric matrix with ones on its diagonal.

    Pairs that are not there are missing in it; `names` are those of the pairs by default.
    """
    names = names or list(dict.fromkeys([*pairs["a"], *pairs["b"]]))
    values = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(values, 1.0)
    for a, b, value in pairs[["a", "b", "correlation"]].itertuples(index=False):
        i, j = names.index(a), names.index(b)
        values[i, j] = values[j, i] = value
    return names, values
