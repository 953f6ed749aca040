"""The table in words: sentences that a person can quote, each with its figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from kolmo.report import Report


def summarize(report: Report) -> str:
    """For each checkpoint and quantizer the best bound and the estimates, then what limits them."""
    lines: list[str] = []
    for name, rows in report.table.groupby("checkpoint", sort=False):
        lines.append(f"{name}: {_size(report, str(name))}")
        lines += [f"  {line}" for line in _checkpoint_lines(rows)]
    lines += _saturation(report.table)
    lines.append(coverage_line(report.coverage))
    if not report.provenance.get("complete", True):
        lines.append("The run was not finished: the table holds what was measured until then.")
    return "\n".join(lines)


def coverage_line(coverage: pd.DataFrame) -> str:
    """``1,000 of 1,010 weights measured; skipped: b (excluded by 'b', 10 weights)``."""
    whole, done = int(coverage["numel"].sum()), coverage["measured"].astype(bool)
    measured = int(coverage.loc[done, "numel"].sum())
    line = f"{measured:,} of {whole:,} weights measured"
    missed = coverage[~done]
    if missed.empty:
        return line
    shown = [
        f"{r.tensor} ({r.reason}; {_weights(int(str(r.numel)))})"
        for r in missed.head(5).itertuples()
    ]
    more = f" and {len(missed) - 5} more" if len(missed) > 5 else ""
    return f"{line}; {len(missed)} skipped: {', '.join(shown)}{more}"


def model_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that describe the whole model; where there are none, those of the tensors."""
    rows = table[table["scope"] == "model"]
    return rows if len(rows) else table[table["scope"] == "tensor"]


def _saturation(table: pd.DataFrame) -> Iterator[str]:
    """Where BDM has seen nearly all blocks there are, and so says little."""
    once = table.drop_duplicates(["checkpoint", "scope", "tensor", "quantizer", "estimator"])
    for estimator, rows in once.groupby("estimator", sort=False):
        share = int(rows["note"].str.startswith("saturated").sum())
        if share:
            yield (
                f"{estimator} is saturated in {share} of {len(rows)} measurements: it saw nearly "
                f"every block there is, and hardly tells objects apart there; ctm and "
                f"bdm,window=N do not saturate"
            )


def _size(report: Report, name: str) -> str:
    own = report.coverage[report.coverage["checkpoint"] == name]
    measured = own[own["measured"].astype(bool)]
    return f"{int(measured['numel'].sum()):,} weights in {len(measured)} tensors"


def _checkpoint_lines(rows: pd.DataFrame) -> Iterator[str]:
    whole = rows[rows["scope"] == "model"]
    if whole.empty:
        return
    for quantizer, group in whole.groupby("quantizer", sort=False):
        known = group[group["bits"].notna()]
        bounds = known[known["kind"] == "bound"]
        if len(bounds):
            best = bounds.sort_values("bits_per_weight", kind="stable").iloc[0]
            raw = best["raw_bits"] / best["numel"]
            yield (
                f"{quantizer}: at most {_bits(best)} (bound, {_name(best)}), "
                f"{100 * best['bits_per_weight'] / raw:.1f} % of its {raw:g} raw bits{_null(best)}"
            )
        for _, row in known[known["kind"] == "estimate"].drop_duplicates("estimator").iterrows():
            yield f"{quantizer}: {_bits(row)} (estimate, {_name(row)}){_null(row)}{_caveat(row)}"
        for _, row in group[group["bits"].isna()].drop_duplicates("estimator").iterrows():
            yield f"{quantizer}: {row['estimator']} is missing: {row['note']}"


def _bits(row: pd.Series) -> str:
    error = row["standard_error"]
    spread = f" ± {error / row['numel']:.2g}" if pd.notna(error) and row["numel"] else ""
    return f"{row['bits_per_weight']:.4g}{spread} bits per weight"


def _name(row: pd.Series) -> str:
    layout = row["layout"]
    return f"{row['estimator']}@{layout}" if isinstance(layout, str) else str(row["estimator"])


def _null(row: pd.Series) -> str:
    if pd.isna(row["null_bits"]) or not row["null_bits"]:
        return ""
    ratio = 100 * row["bits"] / row["null_bits"]
    z = f", z = {row['z']:.1f}" if pd.notna(row["z"]) and math.isfinite(row["z"]) else ""
    return f"; {ratio:.2f} % of its {row['null']} null{z}"


def _caveat(row: pd.Series) -> str:
    notes = [row["note"]] if isinstance(row["note"], str) and row["note"] else []
    if pd.notna(row["sampled"]) and row["sampled"] < 1:
        notes.append(f"a sample of {100 * row['sampled']:.1f} %")
    return f" [{'; '.join(notes)}]" if notes else ""


def _weights(count: int) -> str:
    return f"{count:,} weight" + ("" if count == 1 else "s")
