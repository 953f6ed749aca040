"""Layers: a line for each tensor, in natural order, and their sums by kind of module and depth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kolmo.errors import InputError
from kolmo.pvalues import is_significant
from kolmo.report.columns import Row, is_known
from kolmo.report.module_kinds import KINDS, depth_of, kind_of
from kolmo.report.significance import family_rows
from kolmo.report.table import estimator_label, measured_rows
from kolmo.specs import unknown
from kolmo.text import natural_key

if TYPE_CHECKING:
    import pandas as pd

LAYERS = [
    *("checkpoint", "tensor", "kind", "depth", "weights", "quantizer", "bits_per_weight"),
    *("estimator", "null", "test_estimator", "of_null", "arrangement", "spread", "p", "draws"),
    *("verdict", "reason", "structure_bits", "share", "line"),
]
"""Columns of `kolmo.Report.layers`."""

GROUPS = [
    *("checkpoint", "group", "tensors", "weights", "bits_per_weight"),
    *("tested", "arrangement", "structure_bits", "share"),
]
"""Columns of `kolmo.Report.layer_groups`."""

NULLS = ("scaled", "row-shuffled", "shuffled")
"""Nulls that a tensor is tested against; the first that was drawn keeps most of it."""

_WHOLE = ("weights", "depth", "draws")


def layers(table: pd.DataFrame, quantizer: str | None = None) -> pd.DataFrame:
    """One row for each tensor; see `kolmo.Report.layers`."""
    import pandas as pd

    singles = table[(table["scope"] == "tensor") & (table["numel"] > 0)]
    if singles.empty:
        raise InputError("this report has no tensor scope: measure with scope='both' or 'tensor'")
    chosen = quantizer or _first(singles)
    best = _best(measured_rows(singles, chosen))
    tests = _tests(table, chosen)
    structure = {key: _saved_bits(_first_test(tests, key, NULLS[::-1])[1]) for key in best}
    sums: dict[str, float] = {}
    for (checkpoint, _), bits in structure.items():
        sums[checkpoint] = sums.get(checkpoint, 0.0) + (bits if is_known(bits) else 0.0)
    rows = [
        _layer(row, *_first_test(tests, key, NULLS), structure[key], sums[key[0]])
        for key, row in best.items()
    ]
    found = pd.DataFrame(rows, columns=LAYERS)
    return found.astype(dict.fromkeys(_WHOLE, "Int64"))


def _first(singles: pd.DataFrame) -> str:
    """The weights as they are, if they were measured; else the first quantizer."""
    names = singles["quantizer"].unique()
    return "native" if "native" in names else str(names[0])


Key = tuple[str, str]


def _best(rows: pd.DataFrame) -> dict[Key, Row]:
    """The shortest bound of each tensor, an estimate where there is none; tensors in natural order,
    checkpoints in theirs."""
    order = {name: place for place, name in enumerate(rows["checkpoint"].unique())}
    ranked = rows.assign(estimate=rows["kind"] != "bound").sort_values(["estimate", "bits"])
    once = ranked.drop_duplicates(["checkpoint", "tensor"])
    found = {(str(row["checkpoint"]), str(row["tensor"])): row for _, row in once.iterrows()}
    return {
        key: found[key] for key in sorted(found, key=lambda k: (order[k[0]], natural_key(k[1])))
    }


# --- tests ----------------------------------------------------------------------------------

Tests = Mapping[tuple[str, str, str], Row]


def _tests(table: pd.DataFrame, quantizer: str) -> Tests:
    """By null, checkpoint and tensor the measurement that leads: of samples where there are any,
    else of the quantizer's symbols, else of another one's."""
    found: dict[tuple[str, str, str], Row] = {}
    for null in NULLS:
        rows = family_rows(table, null)
        leads = rows[rows["lead"] & rows["tensor"].notna() & (rows["tensor"] != "")]
        rank = 2 * (leads["scope"] == "sample") + (leads["quantizer"] == quantizer)
        for _, row in leads.assign(rank=rank).sort_values("rank", kind="stable").iterrows():
            found[null, str(row["checkpoint"]), str(row["tensor"])] = row
    return found


def _first_test(tests: Tests, key: Key, nulls: Iterable[str]) -> tuple[str, Row | None]:
    """The first of these nulls that a tensor was tested against, and the test."""
    return next(((n, tests[n, *key]) for n in nulls if (n, *key) in tests), ("", None))


def _saved_bits(test: Row | None) -> float:
    """Bits that the places of a tensor's weights save, of all of them where a sample was tested; 0
    where the test found nothing, missing where there is none, or too few draws for one."""
    if test is None or not is_known(test["p"]):
        return math.nan
    saved, sampled = float(test["null_bits"] - test["bits"]), test["sampled"]
    if saved <= 0 or not is_significant(float(test["p"])):
        return 0.0
    return saved / float(sampled) if is_known(sampled) and sampled > 0 else saved


def _layer(
    row: Row, null: str, test: Row | None, structure_bits: float, all_bits: float
) -> dict[str, Any]:
    name, sides = str(row["tensor"]), sides_of(str(row["shape"]))
    found = {
        "checkpoint": row["checkpoint"],
        "tensor": name,
        "kind": kind_of(name, sides),
        "depth": depth_of(name),
        "weights": int(row["numel"]),
        "quantizer": row["quantizer"],
        "bits_per_weight": float(row["bits_per_weight"]),
        "estimator": estimator_label(row),
        **_tested(null, test),
        "structure_bits": structure_bits,
        "share": structure_bits / all_bits if all_bits else math.nan,
    }
    return {**found, "line": _line(found)}


def sides_of(shape: str) -> list[int]:
    """A shape as a table spells it; of several tensors, none."""
    return [int(side) for side in shape.split("x")] if re.fullmatch(r"[0-9x]+", shape) else []


def _tested(null: str, test: Row | None) -> dict[str, Any]:
    if test is None:
        reason = "no null was drawn of this tensor that an estimator can tell from it"
        return {"null": "", "test_estimator": "", "verdict": "no test", "reason": reason}
    drawn, p = float(test["null_bits"]) or math.nan, float(test["p"])
    saved = 1 - float(test["bits"]) / drawn
    found = {
        "null": null,
        "test_estimator": estimator_label(test),
        "of_null": float(test["bits"]) / drawn,
        "arrangement": saved,
        "spread": float(test["null_sd"]) / drawn,
        "p": p,
        "draws": int(test["null_draws"]),
    }
    if not is_known(p):
        return {**found, "verdict": "undecided", "reason": str(test["p_missing"])}
    verdict = "structure" if is_significant(p) and saved > 0 else "none"
    return {**found, "verdict": verdict, "reason": ""}


def _line(found: Mapping[str, Any]) -> str:
    """``h.3.attn.q (q, 147,456): 6.14 b/w, arrangement 1.2 % ± 0.2 (structure, p = 0.025)``."""
    name = found["tensor"].removesuffix(".weight")
    head = f"{name} ({found['kind']}, {found['weights']:,}): {found['bits_per_weight']:.4g} b/w"
    if found["verdict"] == "no test":
        return f"{head}, no test"
    spread = f" ± {100 * found['spread']:.1g}" if is_known(found["spread"]) else ""
    saved = f"arrangement {100 * found['arrangement']:.2g} %{spread}"
    p = f", p = {found['p']:.2g}" if is_known(found["p"]) else ""
    return f"{head}, {saved} ({found['verdict']}{p}, {found['null']})"


# --- groups ---------------------------------------------------------------------------------


def layer_groups(
    table: pd.DataFrame, by: str = "kind", quantizer: str | None = None
) -> pd.DataFrame:
    """Sums over the tensors of each kind, or of each depth; see `kolmo.Report.layer_groups`."""
    import pandas as pd

    if by not in ("kind", "depth"):
        raise unknown("way to group layers", by, ("kind", "depth"))
    single = layers(table, quantizer)
    rows = [
        _group(str(checkpoint), group, some)
        for checkpoint, of_one in single.groupby("checkpoint", sort=False)
        for group, some in sorted(of_one.groupby(by, dropna=False), key=_order)
    ]
    found = pd.DataFrame(rows, columns=GROUPS)
    return found.astype({"group": "Int64"}) if by == "depth" else found


def _order(group: tuple[Any, pd.DataFrame]) -> tuple[bool, int]:
    """Kinds as they are listed, depths by number; tensors without one come last."""
    name, some = group
    if some["depth"].isna().all() and not isinstance(name, str):
        return True, 0
    return False, KINDS.index(name) if isinstance(name, str) else int(name)


def _group(checkpoint: str, group: Any, some: pd.DataFrame) -> dict[str, Any]:
    weights = some["weights"].astype(float)
    tested = some["arrangement"].notna()
    arranged = (some["arrangement"] * weights)[tested].sum() / max(1.0, weights[tested].sum())
    return {
        "checkpoint": checkpoint,
        "group": group,
        "tensors": len(some),
        "weights": int(weights.sum()),
        "bits_per_weight": float((some["bits_per_weight"] * weights).sum() / weights.sum()),
        "tested": int(tested.sum()),
        "arrangement": float(arranged) if tested.any() else math.nan,
        "structure_bits": some["structure_bits"].sum(min_count=1),
        "share": some["share"].sum(min_count=1),
    }


def in_natural_order(rows: Sequence[Row]) -> list[Row]:
    """Rows of tensors in the natural order of their names, checkpoints in the order in which they
    come; the rows of one tensor stay in theirs.

    >>> [row["tensor"] for row in in_natural_order([
    ...     {"checkpoint": "m", "tensor": f"h.{n}"} for n in (10, 9, 100)])]
    ['h.9', 'h.10', 'h.100']
    """
    order = {name: place for place, name in enumerate(dict.fromkeys(r["checkpoint"] for r in rows))}
    return sorted(rows, key=lambda row: (order[row["checkpoint"]], natural_key(str(row["tensor"]))))
