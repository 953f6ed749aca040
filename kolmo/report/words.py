"""The table in words: sentences that a person can quote, each with its figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pandas as pd

from kolmo.report.coverage import coverage_line
from kolmo.report.data import Kind, ReportData
from kolmo.report.table import error_width, estimator_label, is_partial, remarks
from kolmo.report.verdicts import quote_p, quote_z, verdicts
from kolmo.report.words_budget import budget_lines
from kolmo.report.words_delta import delta_lines
from kolmo.report.words_series import series_lines


def summarize(report: ReportData) -> str:
    """For each checkpoint and quantizer the best bound and the estimates, then the verdicts."""
    lines = [*_BODIES[report.kind](report), coverage_line(report.coverage, report.sources)]
    lines += budget_lines(report.provenance.get("settings", {}).get("budget"))
    if not report.finished:
        lines.append("The run was not finished: the table holds what was measured until then.")
    elif not report.complete:
        lines.append(
            "The table is not complete: some tensors have no figure, the coverage says why."
        )
    if report.kind == "delta":  # which has a single measurement, compared in its own lines
        return "\n".join(lines)
    found = [*verdicts(report.table), *_saturation(report.table)]
    return "\n".join([*lines, *(["Verdicts:"] if found else []), *(f"  {v}" for v in found)])


def _measurement_lines(report: ReportData) -> Iterator[str]:
    for name, rows in report.table.groupby("checkpoint", sort=False):
        yield f"{name}: {_size(report, str(name))}"
        yield from (f"  {line}" for line in _checkpoint_lines(rows))


_BODIES: dict[Kind, Callable[[ReportData], Iterator[str]]] = {
    "measurement": _measurement_lines,
    "trajectory": series_lines,
    "delta": delta_lines,
}


def _saturation(table: pd.DataFrame) -> Iterator[str]:
    """Where BDM has seen nearly all blocks there are, and so says little."""
    once = table.drop_duplicates(["checkpoint", "scope", "tensor", "quantizer", "estimator"])
    for estimator, rows in once.groupby("estimator", sort=False):
        share = int(rows["saturated"].sum())
        if share:
            yield (
                f"{estimator} is saturated in {share} of {len(rows)} measurements: it saw nearly "
                f"every block there is, can hardly distinguish objects and is no evidence; ctm "
                f"and bdm,window=N do not saturate"
            )


def _size(report: ReportData, name: str) -> str:
    own = report.coverage[report.coverage["checkpoint"] == name]
    measured = own[own["measured"].astype(bool)]
    return f"{int(measured['numel'].sum()):,} weights in {len(measured)} tensors"


def _checkpoint_lines(rows: pd.DataFrame) -> Iterator[str]:
    whole = rows[rows["scope"] == "model"]
    if whole.empty:
        yield "measured tensor by tensor; a figure for the whole needs the model scope"
    for quantizer, group in whole.groupby("quantizer", sort=False):
        known = list(_measurements(group[group["bits_per_weight"].notna()]))
        partial = [rows for rows in known if is_partial(rows.iloc[0])]
        known = [rows for rows in known if not is_partial(rows.iloc[0])]
        bounds = [rows for rows in known if rows.iloc[0]["kind"] == "bound"]
        if bounds:
            best = min(bounds, key=lambda rows: float(rows.iloc[0]["bits_per_weight"]))
            row = best.iloc[0]
            yield (
                f"{quantizer}: at most {_up(row['bits_per_weight'])} bits per weight "
                f"({_kind(row)}), {_share(row)}{_nulls(best)}{_caveat(row)}"
            )
        for estimate in known:
            row = estimate.iloc[0]
            if row["kind"] == "estimate":
                yield f"{quantizer}: {_bits(row)} ({_kind(row)}){_nulls(estimate)}{_caveat(row)}"
        for row in (rows.iloc[0] for rows in partial):
            yield f"{quantizer}: {_bits(row)} ({_kind(row)}){_caveat(row)}"
        for missing in _measurements(group[group["bits"].isna()]):
            row = missing.iloc[0]
            yield f"{quantizer}: {estimator_label(row)} is missing: {row['note']}"


def _measurements(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of each measurement: one, or one for each null."""
    for _, group in rows.groupby(["estimator", "layout"], sort=False, dropna=False):
        yield group


def _up(value: float) -> str:
    """Four digits, rounded up, so that "at most" stays true."""
    if not value > 0:
        return f"{value:.4g}"
    scale = 10.0 ** (3 - math.floor(math.log10(value)))
    return f"{math.ceil(value * scale) / scale:.4g}"


def _kind(row: pd.Series) -> str:
    return f"{row['kind']}, {estimator_label(row)}"


def _share(row: pd.Series) -> str:
    raw = row["raw_bits"] / row["covered"]
    return f"{100 * row['bits_per_weight'] / raw:.1f} % of its {raw:.4g} raw bits"


def _bits(row: pd.Series) -> str:
    known = pd.notna(row["standard_error"]) and row["covered"]
    spread = f" ± {error_width(row):.2g}" if known else ""
    return f"{row['bits_per_weight']:.4g}{spread} bits per weight"


def _nulls(rows: pd.DataFrame) -> str:
    return "".join(_null(row) for _, row in rows.iterrows())


def _null(row: pd.Series) -> str:
    if pd.isna(row["null_bits"]) or not row["null_bits"]:
        return ""
    ratio = 100 * row["bits"] / row["null_bits"]
    z = f", z = {quote_z(row)}" if math.isfinite(row["z"]) else ""
    p = f", {quote_p(row['p'], row['null'])}" if pd.notna(row["p"]) else ""
    return f"; {ratio:.2f} % of its {row['null']} null{z}{p}"


def _caveat(row: pd.Series) -> str:
    found = remarks(row)
    return f" [{'; '.join(found)}]" if found else ""
