"""Commands that measure: analyze, compare."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kolmo.cli.app import app, progress_bar
from kolmo.cli.options import (
    AllRows,
    Draws,
    Estimators,
    Exclude,
    Html,
    Include,
    Json,
    Nulls,
    Output,
    Quantizers,
    ScopeOption,
    Seed,
    Threads,
    gather_options,
    name_sources,
)
from kolmo.errors import InputError, KolmoError

if TYPE_CHECKING:
    from kolmo.report import Report


@app.command()
def analyze(
    sources: Annotated[list[str], typer.Argument(help="Files, directories or URLs.")],
    quantizer: Quantizers = None,
    estimator: Estimators = None,
    null: Nulls = None,
    draws: Draws = 5,
    scope: ScopeOption = "both",
    include: Include = None,
    exclude: Exclude = None,
    seed: Seed = 0,
    threads: Threads = None,
    output: Output = None,
    html: Html = None,
    json: Json = False,
    all_rows: AllRows = False,
) -> None:
    """Measure checkpoints, tensor by tensor and as a whole."""
    options = gather_options(
        quantizer, estimator, null, draws, scope, include, exclude, seed, threads
    )
    run_measurement(name_sources(sources), options, output, html, json, all_rows)


@app.command()
def compare(
    sources: Annotated[list[str], typer.Argument(help="NAME=SOURCE for each model.")],
    quantizer: Quantizers = None,
    estimator: Estimators = None,
    null: Nulls = None,
    draws: Draws = 5,
    scope: ScopeOption = "model",
    include: Include = None,
    exclude: Exclude = None,
    seed: Seed = 0,
    threads: Threads = None,
    output: Output = None,
    html: Html = None,
    json: Json = False,
    all_rows: AllRows = False,
) -> None:
    """Measure several checkpoints in the same way, in one table."""
    named: dict[str, str] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        if not equals or not name or not path or name in named:
            raise InputError(f"{source!r} is not a NAME=SOURCE with a name of its own")
        named[name] = path
    options = gather_options(
        quantizer, estimator, null, draws, scope, include, exclude, seed, threads
    )
    run_measurement(named, options, output, html, json, all_rows)


def run_measurement(
    sources: Any,
    options: dict[str, Any],
    output: Path | None,
    html: Path | None,
    json: bool,
    all_rows: bool,
    measure: Callable[..., Report] | None = None,
) -> None:
    """Measure (by `kolmo.compare`, unless told how), keep, show; then complain of problems."""
    from kolmo.analysis import Interrupted
    from kolmo.analysis import compare as compare_sources
    from kolmo.report import check_output
    from kolmo.terminal import show

    if output:
        check_output(output, (".parquet", ".csv", ".json"))
    if html:
        check_output(html, (".html", ".htm"))
    try:
        with progress_bar() as progress:
            report = (measure or compare_sources)(sources, progress=progress, **options)
    except (Interrupted, KolmoError) as error:
        if error.report is not None:
            keep(error.report, output, html)
        raise
    keep(report, output, html)
    if json:
        print(report.to_json())
    else:
        show(report, all_rows)
    problems = report.provenance["problems"]
    if problems:
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0]}{more}; everything else was measured")


def keep(report: Report, output: Path | None, html: Path | None) -> None:
    for path, write in ((output, report.save), (html, report.to_html)):
        if path:
            write(path)
            state = "" if report.provenance["complete"] else " (what was done until then)"
            print(f"wrote {path}{state}", file=sys.stderr)
