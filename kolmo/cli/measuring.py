"""Common steps of the commands that measure: run, save and show the report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import kolmo
from kolmo.cli.options import Measuring
from kolmo.console import progress_bar
from kolmo.errors import InputError, KolmoError
from kolmo.files import check_output

_REASONS = 3  # of one checkpoint that are told


def run_measurement(
    sources: Any,
    options: Measuring,
    measure: Callable[..., kolmo.Report] | None = None,
    **more: Any,
) -> None:
    """Measure (by `kolmo.compare` or ``measure``), save, show; then report problems as an error,
    at once where nothing was measured."""
    from kolmo.report.terminal import show  # with it comes pandas, which --help can do without

    if options.output:
        check_output(options.output, (".parquet", ".csv", ".json"))
    if options.html:
        check_output(options.html, (".html", ".htm"))
    try:
        with progress_bar() as progress:
            report = (measure or kolmo.compare)(sources, progress=progress, **options.plan, **more)
    except (kolmo.Interrupted, KolmoError) as error:
        if error.report is not None:
            keep(error.report, options)
        raise
    without = _without_figures(report)
    if len(without) == report.table["checkpoint"].nunique():
        raise InputError("; ".join(without))
    keep(report, options)
    if options.json:
        print(report.to_json())
    else:
        show(report, options.all_rows)
    problems = [*report.provenance["problems"], *without]
    if problems:
        others = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0]}{others}; everything else was measured")


def _without_figures(report: kolmo.Report) -> list[str]:
    """A line for each checkpoint of which nothing was measured, with the reasons, each once."""
    lines = []
    for name, rows in report.table.groupby("checkpoint", sort=False):
        if rows["bits"].isna().all():
            reasons = dict.fromkeys(note for note in rows["note"] if note)
            lines.append(f"{name}: nothing was measured: {'; '.join(list(reasons)[:_REASONS])}")
    return lines


def keep(report: kolmo.Report, options: Measuring) -> None:
    for path, write in ((options.output, report.save), (options.html, report.to_html)):
        if path:
            write(path)
            state = "" if report.provenance["complete"] else " (what was done until then)"
            print(f"wrote {path}{state}", file=sys.stderr)
