"""Common steps of the commands that measure: run, save and show the report."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import compress
from typing import Any

import kolmo
from kolmo.analysis import plan_of
from kolmo.checkpoints.opening import inputs_of
from kolmo.cli.app import print_json
from kolmo.cli.documents import report_document
from kolmo.cli.measuring_options import Measuring
from kolmo.console import make_console
from kolmo.errors import InputError, KolmoError
from kolmo.estimators.base import CodeLength
from kolmo.measure import Measurement
from kolmo.outcomes import Result
from kolmo.progress import progress_bar
from kolmo.report.columns import Row, is_known
from kolmo.report.conditions import Condition
from kolmo.report.page.frame import check_page_output
from kolmo.report.saving import check_report_output
from kolmo.report.terminal import show
from kolmo.text import printable

_REASONS = 3  # of one checkpoint, or rows of one condition, that are told


def run_measurement(
    sources: Any,
    options: Measuring,
    measure: Callable[..., kolmo.Report] | None = None,
    **more: Any,
) -> None:
    """Measure (by `kolmo.compare` or ``measure``), save, show; then report problems as an error,
    at once where nothing was measured."""
    check_outputs(sources, options, more)
    conditions = [Condition.of(text) for text in options.fail_if or ()]
    try:
        with _running(options) as running:
            report = (measure or kolmo.compare)(sources, **{**options.plan, **running}, **more)
    except (kolmo.Interrupted, KolmoError) as error:
        if error.report is not None:
            keep(error.report, options)
        if isinstance(error, kolmo.Interrupted):
            _show_partial(error, options)
        raise
    without = _without_figures(report)
    if len(without) == len(set(report.rows["checkpoint"])):
        raise KolmoError("; ".join(without))
    keep(report, options)
    if options.json:
        print_json(report_document(report))
    else:
        show(report, options.all_rows)
        if options.layers:
            _show_layers(report)
    _judge([*report.provenance["problems"], *without], conditions, report)


def check_outputs(sources: Any, options: Measuring, more: Mapping[str, Any]) -> None:
    """InputError unless report and page can be written, and are nothing that is read."""
    inputs = [*_named(sources), *filter(None, [more.get("metrics")])]
    inputs += [null.partition(":")[2] for null in options.null or () if ":" in null]
    paths = [path for each in inputs for path in _found(os.fspath(each))]
    if options.output:
        check_report_output(options.output, _read(paths, options), options.overwrite)
    if options.html:
        check_page_output(options.html, _read(paths, options), options.overwrite)


def _read(paths: list[str], options: Measuring) -> Iterable[str]:
    """The files that are read; checkpoints are opened for it where any other may be replaced."""
    return inputs_of(*paths) if options.overwrite else paths


def _named(sources: Any) -> list[str]:
    if isinstance(sources, Mapping):
        return list(sources.values())
    return [sources] if isinstance(sources, str) else list(sources)


def _found(source: str) -> Iterator[str]:
    """The paths that a source stands for, which may be a glob, or NAME=SOURCE."""
    for path in (source, source.partition("=")[2]):
        yield from (path, *glob.iglob(path, recursive=True)) if path else ()


def _judge(problems: list[str], conditions: list[Condition], report: kolmo.Report) -> None:
    """Raise what is wrong with a run whose results are out: problems of the input, what failed,
    then conditions that hold."""
    failed = [line for condition in conditions for line in _failed(condition, report)]
    failures = report.provenance.get("failures", [])
    if wrong := [*problems, *failures]:
        others = f" (and {len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
        told = "; ".join([f"{wrong[0]}{others}; everything else was measured", *failed])
        raise InputError(told) if problems else KolmoError(told)
    if failed:
        raise KolmoError("; ".join(failed))


def _failed(condition: Condition, report: kolmo.Report) -> Iterator[str]:
    """A line that names the rows of which a condition is true, each once."""
    named = dict.fromkeys(
        f"{_row_name(row)} ({condition.values(row)})" for row in condition.holding(report.rows)
    )
    if named:
        more = f" and {len(named) - _REASONS} more" if len(named) > _REASONS else ""
        yield f"--fail-if {condition.text!r}: {'; '.join(list(named)[:_REASONS])}{more}"


def _row_name(row: Row) -> str:
    parts = (row["checkpoint"], row["tensor"], row["quantizer"], row["estimator"], row["null"])
    return " ".join(str(part) for part in parts if part)


def show_plan(sources: list[str], options: Measuring) -> None:
    """Print what would be measured, and read nothing but headers."""
    from kolmo.planning import plan_text

    outlooks = plan_of(sources, **options.plan)
    if options.json:
        print_json({name: outlook.to_dict() for name, outlook in outlooks.items()})
        return
    for name, outlook in outlooks.items():
        print(f"{printable(name)}\n{plan_text(outlook, make_console().width)}\n")


@contextmanager
def _running(options: Measuring) -> Iterator[dict[str, Any]]:
    """How the work is done and shown: on which machines, with a progress bar, line by line."""
    with ExitStack() as opened:
        running: dict[str, Any] = {"progress": opened.enter_context(progress_bar(True))}
        if options.lines:
            running["each"] = _tell
        if options.dask:
            from kolmo.engine.cluster import dask_executor  # which loads Dask, if it is there

            running["executor"] = opened.enter_context(dask_executor(options.dask))
        yield running


def _tell(checkpoint: str, tensor: str, results: Mapping[Measurement, Result]) -> None:
    """A line on stderr with a tensor's figures."""
    figures = (
        f"{m.estimator} of {m.quantizer} {result.outcome.bits_per_weight:.4g}"
        for m, result in results.items()
        if isinstance(result.outcome, CodeLength)
    )
    line = ", ".join(figures)
    if line:
        print(printable(f"{checkpoint}: {tensor}: bits/weight {line}"), file=sys.stderr, flush=True)


def _show_layers(report: kolmo.Report) -> None:
    """A line for each layer, in natural order."""
    found = report.layers()
    several = found["checkpoint"].nunique() > 1
    print("Layers:")
    for checkpoint, line in zip(found["checkpoint"], found["line"], strict=True):
        print(printable(f"  {checkpoint}: {line}" if several else f"  {line}"))


def _show_partial(error: kolmo.Interrupted, options: Measuring) -> None:
    """What was measured before an interruption, and how to go on."""
    if options.json:
        print_json(report_document(error.report))
    elif len(error.report.rows):
        show(error.report, options.all_rows)
    if error.wanted:
        print(f"{error.done:,} of {error.wanted:,} figures were measured", file=sys.stderr)
    if error.kept:
        print(f"they are kept in {error.kept}: the same command goes on there", file=sys.stderr)


def _without_figures(report: kolmo.Report) -> list[str]:
    """A line for each checkpoint of which nothing was measured, with the reasons, each once."""
    rows = report.rows
    measured = set(compress(rows["checkpoint"], map(is_known, rows["bits"])))
    lines = []
    for name in dict.fromkeys(rows["checkpoint"]):
        if name not in measured:
            notes = (row["note"] for row in rows.records(checkpoint=name) if row["note"])
            reasons = list(dict.fromkeys(notes))[:_REASONS]
            lines.append(f"{name}: nothing was measured: {'; '.join(reasons)}")
    return lines


def keep(report: kolmo.Report, options: Measuring) -> None:
    for path, write in ((options.output, report.save), (options.html, report.to_html)):
        if path:
            write(path, overwrite=options.overwrite)
            state = "" if report.provenance["finished"] else " (what was done until then)"
            print(f"wrote {path}{state}", file=sys.stderr)
