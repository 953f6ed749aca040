"""A delta in words: the bits that fine-tuning added, in sentences with their figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kolmo.report.data import ReportData
from kolmo.report.quoting import quote_p, quote_z
from kolmo.report.table import model_rows, remarks

if TYPE_CHECKING:
    import pandas as pd


def delta_lines(report: ReportData) -> Iterator[str]:
    """For each quantizer the bits of the tuned weights given the base, and comparisons."""
    for name, rows in report.plain.groupby("checkpoint", sort=False):
        base = report.provenance["base"]["source"]
        yield f"{name}, once {base} is known:"
        coded = rows[rows["estimator"].isin(("delta", "alone"))]
        for quantizer, group in model_rows(coded).groupby("quantizer", sort=False):
            yield from (f"  {line}" for line in _quantizer_lines(str(quantizer), group))
        for _, row in rows[~rows.index.isin(coded.index)].iterrows():
            yield f"  {_function_line(row)}"


def _function_line(row: pd.Series) -> str:
    """What it takes to do the same, to within a tolerance."""
    told = json.loads(row["details"])
    return (
        f"to do the same, at most {row['bits']:,.0f} bits are needed, {row['bits_per_weight']:.4g} "
        f"bits per weight (bound, {row['estimator']}: {told['form']}); its metric is "
        f"{told['value']:.6g}, tuned {told['original']:.6g}, of the base {told['before']:.6g} "
        f"(tolerance {told['tolerance']})"
    )


def _quantizer_lines(quantizer: str, rows: pd.DataFrame) -> Iterator[str]:
    """Sentences on the whole model, or, if it was not measured, on the sum of its tensors."""
    known, alone = (rows[rows["estimator"] == name] for name in ("delta", "alone"))
    missing = known[known["bits"].isna()]
    if len(missing):
        yield f"{quantizer}: delta is missing: {missing.iloc[0]['note']}"
        return
    bits, covered = float(known["bits"].sum()), int(known["covered"].sum())
    each = f", {bits / covered:.4g} bits per weight" if covered else ""
    yield (
        f"{quantizer}: tuning added at most {bits:,.0f} bits{each}{_against(known, alone)} "
        f"(bound, delta)"
    )
    yield f"codes: {_codes(known)}"
    null = float(known["null_bits"].sum(skipna=False))
    if null > 0:
        shown = _tested(known.iloc[0]) if len(known) == 1 else ""
        yield f"that is {100 * bits / null:.2f} % of the same differences at random places{shown}"
    for remark in dict.fromkeys(part for _, row in known.iterrows() for part in remarks(row)):
        yield f"[{remark}]"


def _tested(row: pd.Series) -> str:
    """z and p, where there are any."""
    z = f", z = {quote_z(row)}" if math.isfinite(row["z"]) else ""
    return z + (f", {quote_p(row['p'], 'shuffled')}" if math.isfinite(row["p"]) else "")


def _against(delta: pd.DataFrame, alone: pd.DataFrame) -> str:
    """The delta as a share of the bits of the same weights alone; empty if the weights differ."""
    bits, covered = float(alone["bits"].sum()), float(alone["covered"].sum())
    if not bits or covered != delta["covered"].sum():
        return ""
    return f", {100 * float(delta['bits'].sum()) / bits:.3g} % of what they cost alone"


def _codes(rows: pd.DataFrame) -> str:
    """The number of tensors for which each code is the shortest."""
    times: dict[str, int] = {}
    for text in rows["details"]:
        details = json.loads(text)
        for code, count in details.get("tensors", {details.get("code", ""): 1}).items():
            times[code] = times.get(code, 0) + count
    ordered = sorted(times.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{code} ({count})" for code, count in ordered)
