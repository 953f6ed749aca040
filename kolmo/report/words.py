"""The table in words: sentences that a person can quote, each with its figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from kolmo.checkpoints.files import plural
from kolmo.report.columns import Row, TableRows, grouped, is_known
from kolmo.report.coverage import coverage_line
from kolmo.report.data import Kind, ReportData
from kolmo.report.distortion import distortion_lines
from kolmo.report.ledger import ledger_lines
from kolmo.report.quoting import quote_p, quote_z
from kolmo.report.table import error_width, estimator_label, is_partial, remarks
from kolmo.report.verdicts import verdict_lines
from kolmo.report.words_budget import budget_lines
from kolmo.report.words_delta import delta_lines
from kolmo.report.words_series import series_lines
from kolmo.text import bit_text, printable, raised


def summarize(report: ReportData) -> str:
    """For each checkpoint and quantizer the best bound and the estimates, then the verdicts."""
    lines = [*measured_lines(report), *_section("Verdicts", found_lines(report))]
    return "\n".join([*lines, *_section("What the weights are", weights_lines(report))])


def measured_lines(report: ReportData) -> list[str]:
    """What was measured, and of what."""
    lines = [*_BODIES[report.kind](report), coverage_line(report.entries.records(), report.sources)]
    lines += budget_lines(report.provenance.get("settings", {}).get("budget"))
    if not report.finished:
        lines.append("The run was not finished: the table holds what was measured until then.")
    elif not report.complete:
        lines.append(
            "The table is not complete: some tensors have no figure, the coverage says why."
        )
    return _shown(lines)


def found_lines(report: ReportData) -> list[str]:
    """The verdicts, and what to know when reading the figures; none of a delta, which has a single
    measurement, compared in its own lines."""
    if report.kind == "delta":
        return []
    found = (verdict_lines(report), distortion_lines(report.rows), _saturation(report.rows))
    return _shown(line for lines in found for line in lines)


def weights_lines(report: ReportData) -> list[str]:
    """What the weights are, by the ledger of their trivial facts."""
    if report.kind == "delta":
        return []
    return _shown(ledger_lines(report.provenance))


def _shown(lines: Iterable[str]) -> list[str]:
    """Sentences, whatever names of metrics, sources or tensors are in them."""
    return [printable(line) for line in lines]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []


_MEASURED = ("checkpoint", "scope", "tensor", "quantizer", "layout", "estimator")
_OF: dict[Kind, str] = {"measurement": "Report", "trajectory": "Trajectory", "delta": "Delta"}


def one_line(report: ReportData) -> str:
    """``Report of 2 checkpoints, 216,586 weights, 33 measurements: complete``"""
    rows = report.rows
    whole = (row for scope in ("model", "tensor") for row in rows.records(scope=scope))
    told = {tuple(row[name] for name in _MEASURED) for row in whole if is_known(row["bits"])}
    weights = sum(entry["numel"] for entry in report.entries.records(measured=True))
    state = "complete" if report.complete else "not complete"
    names = report.sources or set(rows["checkpoint"])
    return (
        f"{_OF[report.kind]} of {plural(len(names), 'checkpoint')}, "
        f"{weights:,} weights, {plural(len(told), 'measurement')}: "
        f"{state if report.finished else 'not finished'}"
    )


def _measurement_lines(report: ReportData) -> Iterator[str]:
    whole = grouped(report.rows.records(scope="model"), "checkpoint")
    sizes = grouped(report.entries.records(measured=True), "checkpoint")
    for name in dict.fromkeys(report.rows["checkpoint"]):
        numbers = [row["numel"] for row in sizes.get((name,), ())]
        yield f"{name}: {sum(numbers):,} weights in {len(numbers)} tensors"
        yield from (f"  {line}" for line in _checkpoint_lines(whole.get((name,), [])))


_BODIES: dict[Kind, Callable[[ReportData], Iterator[str]]] = {
    "measurement": _measurement_lines,
    "trajectory": series_lines,
    "delta": delta_lines,
}


def _saturation(rows: TableRows) -> Iterator[str]:
    """Where BDM has seen nearly all blocks there are, and so says little."""
    if not any(rows["saturated"]):
        return
    each = ("checkpoint", "scope", "tensor", "quantizer", "estimator")
    once = [group[0] for group in grouped(rows.records(), *each).values()]
    for (estimator,), measured in grouped(once, "estimator").items():
        share = sum(row["saturated"] for row in measured)
        if share:
            yield (
                f"{estimator} is saturated in {share} of {len(measured)} measurements: it saw "
                f"nearly every block there is, can hardly distinguish objects and is no evidence; "
                f"ctm and bdm,window=N do not saturate"
            )


def _checkpoint_lines(whole: list[Row]) -> Iterator[str]:
    if not whole:
        yield "measured tensor by tensor; a figure for the whole needs the model scope"
    for (quantizer,), group in grouped(whole, "quantizer").items():
        known = list(_measurements(row for row in group if is_known(row["bits_per_weight"])))
        partial = [rows[0] for rows in known if is_partial(rows[0])]
        known = [rows for rows in known if not is_partial(rows[0])]
        bounds = [rows for rows in known if rows[0]["kind"] == "bound"]
        if bounds:
            best = min(bounds, key=lambda rows: float(rows[0]["bits_per_weight"]))
            row = best[0]
            yield (
                f"{quantizer}: at most {_up(row['bits_per_weight'])} bits per weight "
                f"({_kind(row)}), {_share(row)}{_nulls(best)}{_caveat(row)}"
            )
        for estimate in known:
            row = estimate[0]
            if row["kind"] == "estimate":
                told = f"{_bits(row)} ({_kind(row)}), {bit_text(row['bits'])}"
                yield f"{quantizer}: {told}{_nulls(estimate)}{_caveat(row)}"
        for row in partial:
            yield f"{quantizer}: {_bits(row)} ({_kind(row)}){_caveat(row)}"
        for missing in _measurements(row for row in group if not is_known(row["bits"])):
            row = missing[0]
            yield f"{quantizer}: {estimator_label(row)} is missing: {row['note']}"


def _measurements(rows: Iterable[Row]) -> Iterable[list[Row]]:
    """The rows of each measurement: one, or one for each null."""
    return grouped(rows, "estimator", "layout").values()


def _up(value: float) -> str:
    """Four digits, rounded up, so that "at most" stays true."""
    return f"{raised(value, 4):.4g}"


def _kind(row: Row) -> str:
    return f"{row['kind']}, {estimator_label(row)}"


def _share(row: Row) -> str:
    raw, size = row["raw_bits"] / row["covered"], bit_text(row["bits"], up=True)
    return f"{size}, {100 * row['bits_per_weight'] / raw:.1f} % of its {raw:.4g} raw bits"


def _bits(row: Row) -> str:
    known = is_known(row["standard_error"]) and row["covered"]
    spread = f" ± {error_width(row):.2g}" if known else ""
    return f"{row['bits_per_weight']:.4g}{spread} bits per weight"


def _nulls(rows: list[Row]) -> str:
    return "".join(map(_null, rows))


def _null(row: Row) -> str:
    if not is_known(row["null_bits"]) or not row["null_bits"]:
        return ""
    ratio = 100 * row["bits"] / row["null_bits"]
    z = f", z = {quote_z(row)}" if math.isfinite(row["z"]) else ""
    p = f", {quote_p(row['p'], row['null'])}" if is_known(row["p"]) else ""
    return f"; {ratio:.2f} % of its {row['null']} null{z}{p}"


def _caveat(row: Row) -> str:
    found = remarks(row)
    return f" [{'; '.join(found)}]" if found else ""
