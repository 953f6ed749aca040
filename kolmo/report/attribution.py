"""Where the bits of a model go: residual, structure and marginal; bit-plane by bit-plane.

::

    raw bits ─┬─ marginal      raw − shuffled: what the values alone save, wherever they stand
              ├─ structure     shuffled − actual: what their places save besides
              └─ residual      actual: what the best bound leaves over

The residual is the shortest bound of the weights, the structure the shortest bound of their
shuffles less that: each may be of another code. They add up to the raw bits. The residual is no
floor: a code that sees more leaves less over. The marginal is negative where a code costs more than
it saves; the structure where codes do worse on the weights as they are than on their shuffles.
Where every bound costs the same in every draw, structure cannot be seen, and is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.estimators.planes import plane_p_values
from kolmo.pvalues import holm, is_significant
from kolmo.report.table import whole_rows
from kolmo.spoken import option

if TYPE_CHECKING:
    import pandas as pd

OBJECT = ["checkpoint", "scope", "tensor", "quantizer"]
"""What a figure is of, as the table's columns name it."""

PARTS = ("residual", "structure", "marginal")

ATTRIBUTION = [
    *("checkpoint", "scope", "tensor", "quantizer", "estimator", "layout", "null_estimator"),
    *("numel", "raw_bits", *PARTS, "structure_sd", *(f"{part}_per_weight" for part in PARTS)),
    *("null_draws", "p", "effective_bits", "note"),
]

BITPLANES = [
    *("checkpoint", "scope", "tensor", "quantizer", "dtype", "plane", "part", "numel"),
    *("bits", "saved", "context", "p", "p_holm", "differs"),
]


def attribution(table: pd.DataFrame) -> pd.DataFrame:
    """The parts of every object's raw bits; see `kolmo.Report.attribution`."""
    import pandas as pd

    shuffled = table[table["null"] == "shuffled"]
    if shuffled.empty:
        raise InputError(
            f"attribution needs shuffles to compare with: measure with "
            f"{option('nulls', 'shuffled')}"
        )
    planes = _effective(table)
    rows = []
    for key, group in shuffled.groupby(OBJECT, sort=False, dropna=False):
        rows.append({**_parts(group), "effective_bits": planes.get(_hashable(key), np.nan)})
    return pd.DataFrame(rows, columns=ATTRIBUTION)


def best_bound(rows: pd.DataFrame) -> pd.Series | None:
    """The row of the shortest bound that describes the whole object; None without such a bound."""
    bounds = _bounds(rows)
    return None if bounds.empty else least(bounds, bounds["bits"])


def least(rows: pd.DataFrame, figures: pd.Series) -> pd.Series:
    """The row of the least of the figures, the first of equal ones."""
    return rows.iloc[int(np.argmin(figures.to_numpy()))]


def _parts(group: pd.DataFrame) -> dict[str, Any]:
    first = group.iloc[0]
    described = {column: first[column] for column in [*OBJECT, "numel"]}
    bounds = _bounds(group[group["null_bits"].notna()])
    if bounds.empty:
        return {**described, "note": _why(group)}
    actual, drawn = least(bounds, bounds["bits"]), least(bounds, bounds["null_bits"])
    parts = {
        "residual": actual["bits"],
        "structure": drawn["null_bits"] - actual["bits"],
        "marginal": actual["raw_bits"] - drawn["null_bits"],
    }
    unseen = bool(is_blind(bounds).all())
    if unseen:
        parts["structure"] = np.nan
    numel = first["numel"] or np.nan
    return {
        **described,
        **parts,
        **{f"{part}_per_weight": bits / numel for part, bits in parts.items()},
        **{c: actual[c] for c in ("estimator", "layout", "raw_bits", "null_draws", "note")},
        "p": actual["p"] if unseen else _p(bounds, actual),
        "null_estimator": drawn["estimator"],
        "structure_sd": np.nan if unseen else drawn["null_sd"],
        **({"note": UNSEEN} if unseen else {}),
    }


UNSEEN = "structure cannot be seen: every bound costs the same in every draw"


def _p(bounds: pd.DataFrame, actual: pd.Series) -> float:
    """That of the shortest bound, or where no draw moves it, of the shortest of the others."""
    moved = bounds[~is_blind(bounds)]
    is_moved = actual["null_sd"] != 0 or actual["bits"] != actual["null_bits"]
    return float((actual if is_moved else least(moved, moved["bits"]))["p"])


def is_blind(rows: pd.DataFrame) -> pd.Series:
    """Which figures are the same in every draw."""
    return (rows["null_sd"] == 0) & (rows["bits"] == rows["null_bits"])


def _bounds(rows: pd.DataFrame) -> pd.DataFrame:
    return whole_rows(rows[(rows["kind"] == "bound") & rows["bits"].notna()])


def _why(group: pd.DataFrame) -> str:
    """Why an object has no parts."""
    bounds = group[group["kind"] == "bound"]
    if len(bounds):
        return str(bounds.iloc[0]["note"])
    missing = group[group["bits"].isna()]
    return str(missing.iloc[0]["note"]) if len(missing) else "no bound was measured"


# --- bit-planes -----------------------------------------------------------------------------


def bitplanes(table: pd.DataFrame) -> pd.DataFrame:
    """What every bit-plane costs; see `kolmo.Report.bitplanes`."""
    import pandas as pd

    rows = [row for measured, details in _planes(table) for row in _plane_rows(measured, details)]
    if not rows:
        raise InputError(
            f"bit-planes are measured by the estimator planes: {option('estimators', 'planes')}"
        )
    return pd.DataFrame(rows, columns=BITPLANES)


def _planes(table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every measurement by `planes`, and its details for each dtype."""
    chosen = table[(table["estimator"] == "planes") & (table["details"] != "")]
    for _, row in chosen.drop_duplicates(OBJECT).iterrows():
        details = json.loads(row["details"])
        each = details.get("dtypes", {row["dtype"]: details})  # of several dtypes, each its own
        for dtype, found in each.items():
            yield {**{column: row[column] for column in OBJECT}, "dtype": dtype}, found


def _plane_rows(row: dict[str, Any], details: dict[str, Any]) -> Iterator[dict[str, Any]]:
    numel, costs = details["numel"], details["planes"]
    p = plane_p_values(costs, numel)
    parts = _part_names(row["dtype"], row["quantizer"], len(costs))
    for number, adjusted in enumerate(holm(p).tolist()):
        yield {
            **{column: row[column] for column in [*OBJECT, "dtype"]},
            "plane": len(costs) - 1 - number,
            "part": parts[number],
            "numel": numel,
            "bits": costs[number],
            "saved": 1 - costs[number] / numel,
            "context": details["contexts"][number],
            "p": p[number],
            "p_holm": adjusted,
            "differs": is_significant(adjusted),
        }


def _part_names(dtype: str, quantizer: str, planes: int) -> list[str]:
    """Sign, exponent or mantissa of native floats; of other symbols nothing."""
    import ml_dtypes

    try:
        mantissa = int(ml_dtypes.finfo(dtype).nmant)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        return [""] * planes
    if quantizer != "native":
        return [""] * planes
    return ["sign", *["exponent"] * (planes - 1 - mantissa), *["mantissa"] * mantissa]


def _effective(table: pd.DataFrame) -> dict[tuple[Any, ...], float]:
    """By object: planes that differ from noise; the mean over weights where dtypes differ."""
    found: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    for row, details in _planes(table):
        key = _hashable(tuple(row[column] for column in OBJECT))
        found.setdefault(key, []).append((details["effective_bits"], details["numel"]))
    return {
        key: sum(bits * numel for bits, numel in each) / sum(numel for _, numel in each)
        for key, each in found.items()
    }


def _hashable(key: Any) -> tuple[Any, ...]:
    """A key of groupby, whose missing values are not equal to each other, with None for them."""
    return tuple(None if value is None or value != value else value for value in key)
