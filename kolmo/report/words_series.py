"""A series in words: complexity and metrics from the first step to the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kolmo.report.columns import is_known
from kolmo.report.data import ReportData
from kolmo.report.quoting import quote_p
from kolmo.report.table import estimator_labels, model_rows, remarks, whole_rows

if TYPE_CHECKING:
    import pandas as pd


SHUFFLED = "shuffled"
"""The null that a relative series is set against: the own weights in random order."""


def series_lines(report: ReportData) -> Iterator[str]:
    """Sentences on the change from first step to last: complexity, metrics, missing values."""
    series = report.series
    names = list(series["steps"])
    yield f"{len(names)} checkpoints, {_ends(names)}"
    every = model_rows(report.plain)
    every = every.assign(label=estimator_labels(every))
    rows = every.drop_duplicates(["checkpoint", "tensor", "quantizer", "label"])
    if (rows["scope"] == "model").all():
        for (quantizer, label), group in rows.groupby(["quantizer", "label"], sort=False):
            yield f"  {quantizer}: {_change(group, str(label))}"
            shuffled = every[(every["quantizer"] == quantizer) & (every["label"] == label)]
            if series.get("relative"):
                yield from _of_shuffle(shuffled[shuffled["null"] == SHUFFLED])
    yield from _metric_lines(series)


def _ends(names: list[str]) -> str:
    return f"{names[0]} to {names[-1]}" if len(names) > 1 else names[0]


def _change(rows: pd.DataFrame, label: str) -> str:
    known = whole_rows(rows[rows["bits_per_weight"].notna()])
    if known.empty:
        return f"{label} is missing: {'; '.join(remarks(rows.iloc[0]))}"
    first, last = (float(known["bits_per_weight"].iloc[place]) for place in (0, -1))
    share = f" ({100 * (last / first - 1):+.1f} %)" if first else ""
    kind, gaps = known["kind"].iloc[0], len(rows) - len(known)
    missing = f"; missing at {gaps} of {len(rows)} steps" if gaps else ""
    return f"{first:.4g} → {last:.4g} bits per weight{share} ({kind}, {label}{missing})"


def _of_shuffle(rows: pd.DataFrame) -> Iterator[str]:
    """The bits in percent of those of the own shuffle, first and last, and the last p."""
    known = whole_rows(rows[rows["bits"].notna() & (rows["null_bits"] > 0)])
    if known.empty:
        return
    first, last = known.iloc[0], known.iloc[-1]
    shares = [f"{100 * row['bits'] / row['null_bits']:.2f}" for row in (first, last)]
    told = f", {quote_p(last['p'], SHUFFLED)} at the last" if is_known(last["p"]) else ""
    yield f"    of its own shuffle {shares[0]} → {shares[1]} %{told}"


def _metric_lines(series: Mapping[str, Any]) -> Iterator[str]:
    unit, metrics = series["unit"], series["metrics"]
    for name, values in metrics.items():
        known = [value for value in values if value is not None]
        if name != unit and len(known) > 1:
            yield f"  {name}: {known[0]:.4g} → {known[-1]:.4g}"
    if series["metrics_source"]:
        yield f"  metrics: {series['metrics_source']}"
    if series["without_metrics"]:
        missing = ", ".join(f"{step:,}" for step in series["without_metrics"])
        yield f"  no metrics at {unit} {missing}"
    for name in series["left_out"]:
        yield f"  left out: {name}"
