"""Tests of structure: which measurement leads, its p-value, and Holm's correction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kolmo.errors import InputError
from kolmo.pvalues import ALPHA, draws_needed, holm, is_significant
from kolmo.report.attribution import OBJECT, is_blind
from kolmo.spoken import option

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANCE = [
    *("checkpoint", "scope", "tensor", "quantizer", "estimator", "layout", "kind"),
    *("null", "null_draws", "bits", "null_bits", "evidence", "lead", "p", "tests", "p_holm"),
]


WHERE = ["checkpoint", "quantizer"]


_FAMILY = [*WHERE, "scope"]


BLIND, SATURATED, PARTIAL = "the same in every draw", "saturated", "partial"
"""Values of ``evidence``: why a figure is no evidence of structure."""


def significance(
    table: pd.DataFrame, null: str = "shuffled", scope: str = "model", alpha: float = ALPHA
) -> pd.DataFrame:
    """Tests of one null in one scope; see `kolmo.Report.significance`."""
    rows = family_rows(table, null)
    rows = rows[rows["scope"] == scope]
    if rows.empty:
        raise InputError(
            f"there is no {scope} scope with the null {null!r} in this report: measure with "
            f"{option('nulls', null)}"
        )
    most = max(1, int(rows["tests"].max()))
    draws, needed = int(rows["null_draws"].min()), max(draws_needed(most, alpha), draws_needed())
    if draws < needed:
        over = f" after Holm's correction over {most} tests" if most > 1 else ""
        raise InputError(
            f"{draws} draws of {null} cannot reach α = {alpha:g}{over}: measure with "
            f"{option('draws', needed)}"
        )
    rows["significant"] = rows["p_holm"].map(lambda p: is_significant(p, alpha))
    return rows[[*SIGNIFICANCE, "significant"]].reset_index(drop=True)


def family_rows(table: pd.DataFrame, null: str) -> pd.DataFrame:
    """Measurements with a null: whether they are evidence, which ones lead, and Holm's p-values.

    ``evidence`` is empty, or says why a measurement is no evidence; ``tests`` is the size of the
    lead's family: one checkpoint, scope and quantizer; ``p_holm`` is missing for rows that are no
    lead.
    """
    known = (table["null"] == null) & table["bits"].notna() & table["null_bits"].notna()
    rows = table[known & (table["numel"] > 0)].copy()
    partial = rows["covered"] < rows["numel"]
    reasons = [partial, is_blind(rows), rows["saturated"]]
    rows["evidence"] = np.select(reasons, [PARTIAL, BLIND, SATURATED], "")
    rows["lead"], rows["tests"], rows["p_holm"] = False, 0, math.nan
    rows.loc[_leads(_evidence(rows)), "lead"] = True
    for _, family in rows[rows["lead"]].groupby(_FAMILY):
        rows.loc[family.index, "tests"] = len(family)
        if family["p"].notna().all():
            rows.loc[family.index, "p_holm"] = holm(family["p"].to_numpy())
    return rows


def _evidence(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["evidence"] == ""]


def _leads(rows: pd.DataFrame) -> pd.Index:
    """The lead of each object: the bound that reaches lowest; if there is no bound, the estimate
    that reaches furthest below its own mean, because bits of estimates do not compare. Of equal
    ones the first leads."""
    lowest, mean = _reach(rows)
    estimate = rows["kind"] != "bound"
    order = rows.assign(estimate=estimate, reach=lowest / mean.where(estimate, 1.0))
    return order.sort_values(["estimate", "reach"]).drop_duplicates(OBJECT).index


def _reach(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The lowest value that one of N + 1 figures with this mean and sd can have, mean − sd · √N
    (Samuelson 1968), and the mean. The actual figure is treated as one of them."""
    n, difference = rows["null_draws"], rows["bits"] - rows["null_bits"]
    mean = rows["null_bits"] + difference / (n + 1)
    squares = (n - 1) * rows["null_sd"].fillna(0) ** 2 + difference**2 * n / (n + 1)
    return mean - np.sqrt(squares * n / (n + 1)), mean
