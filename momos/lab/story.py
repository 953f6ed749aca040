"""K(w) over training: the bits of each checkpoint, by values and by order, out of kolmo's table.

::

    raw bits ─► shuffled (what the values cost in random order) ─► bits (what they cost as they are)
                    the values' part                                  the arrangement's part

Only bounds are compared: of each checkpoint the shortest, and the shortest of its shuffles. The
test of arrangement is another bound's wherever the shortest one cannot see the order: the lead's
(`kolmo.Report.significance`), which is the shortest of those that can.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kolmo.report.significance import family_rows
from momos.lab.arms import INIT

STORY = [
    *("arm", "seed", "epoch", "bits_per_weight", "estimator"),
    *("shuffled_per_weight", "shuffled_estimator"),
    *("lead", "to_shuffled", "to_shuffled_sd", "p", "draws", "zero_tail", "peak"),
]
"""Columns of a story: what is said of the shortest bound, of that of the shuffles, of the lead."""


def story(trajectory: pd.DataFrame, quantizer: str) -> pd.DataFrame:
    """One row for each arm, seed and epoch; each arm begins with the initialization.

    Parameters
    ----------
    trajectory : pandas.DataFrame
        As `momos.StudyResult.trajectory`.
    quantizer : str
        As the table spells it.
    """
    known = trajectory["bits"].notna() & (trajectory["covered"] == trajectory["numel"])
    rows = trajectory[known & (trajectory["quantizer"] == quantizer)]
    rows = rows[(rows["kind"] == "bound") & (rows["null"] == "shuffled")]
    keys = ["arm", "seed", "epoch"]
    told = [
        {**dict(zip(keys, place, strict=True)), **_point(group)}
        for place, group in rows.groupby(keys, sort=False)
    ]
    return _with_beginnings(pd.DataFrame(told, columns=STORY))


def _point(rows: pd.DataFrame) -> dict[str, object]:
    """The figures of one checkpoint, of its rows by different bounds."""
    best, shuffled = (rows.sort_values(name).iloc[0] for name in ("bits", "null_bits"))
    point = {
        "bits_per_weight": best["bits"] / best["numel"],
        "estimator": best["estimator"],
        "shuffled_per_weight": shuffled["null_bits"] / shuffled["numel"],
        "shuffled_estimator": shuffled["estimator"],
        "draws": best["null_draws"],
        "zero_tail": best["zero_tail"],
        "peak": best["peak"],
    }
    tested = family_rows(rows.assign(checkpoint="", tensor=None), "shuffled")
    lead = tested[tested["lead"]]
    if lead.empty:  # nothing among these can see the order
        return {**point, "lead": "", "to_shuffled": 1.0, "to_shuffled_sd": 0.0, "p": np.nan}
    one = lead.iloc[0]
    return point | {
        "lead": one["estimator"],
        "to_shuffled": one["bits"] / one["null_bits"],
        "to_shuffled_sd": one["null_sd"] / one["null_bits"],
        "p": one["p"],
        "draws": one["null_draws"],
    }


def _with_beginnings(points: pd.DataFrame) -> pd.DataFrame:
    """Each arm from its initialization on, in the order of epochs."""
    start = points[points["arm"] == INIT]
    arms = [arm for arm in dict.fromkeys(points["arm"]) if arm != INIT]
    whole = [
        pd.concat([start.assign(arm=arm), points[points["arm"] == arm]])
        .sort_values(["seed", "epoch"])
        for arm in arms
    ]  # fmt: skip
    points = pd.concat(whole or [start], ignore_index=True)
    return points


def ends(points: pd.DataFrame) -> pd.DataFrame:
    """First and last point of each arm and seed, and what lies between them, in bits a weight.

    ``saved`` is the fall of the bits from the first to the last; ``by_values`` the fall of those of
    the shuffles, ``by_order`` the rest. All are negative for a rise.
    """
    rows = []
    for (arm, seed), run in points.groupby(["arm", "seed"], sort=False):
        first, last = run.iloc[0], run.iloc[-1]
        saved = first["bits_per_weight"] - last["bits_per_weight"]
        values = first["shuffled_per_weight"] - last["shuffled_per_weight"]
        row = {"arm": arm, "seed": seed, "saved": saved}
        row |= {"by_values": values, "by_order": saved - values}
        row |= {f"first_{name}": first[name] for name in STORY[2:]}
        rows.append(row | {f"last_{name}": last[name] for name in STORY[2:]})
    parts = ("saved", "by_values", "by_order")
    figures = [f"{end}_{name}" for end in ("first", "last") for name in STORY[2:]]
    return pd.DataFrame(rows, columns=["arm", "seed", *parts, *figures])
