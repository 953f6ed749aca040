"""Commands that measure: analyze, compare."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kolmo.cli.app import app, progress_bar
from kolmo.cli.options import Measuring, name_sources, takes_measuring
from kolmo.errors import InputError, KolmoError

if TYPE_CHECKING:
    from kolmo.report.report import Report


@app.command()
@takes_measuring()
def analyze(
    sources: Annotated[list[str], typer.Argument(help="Files, directories or URLs.")],
    options: Measuring,
) -> None:
    """Measure checkpoints, tensor by tensor and as a whole."""
    run_measurement(name_sources(sources), options)


@app.command()
@takes_measuring("model")
def compare(
    sources: Annotated[list[str], typer.Argument(help="NAME=SOURCE for each model.")],
    options: Measuring,
) -> None:
    """Measure several checkpoints in the same way, in one table."""
    named: dict[str, str] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        if not equals or not name or not path or name in named:
            raise InputError(f"{source!r} is not a NAME=SOURCE with a name of its own")
        named[name] = path
    run_measurement(named, options)


def run_measurement(
    sources: Any, options: Measuring, measure: Callable[..., Report] | None = None, **more: Any
) -> None:
    """Measure (by `kolmo.compare`, unless told how), keep, show; then complain of problems."""
    from kolmo.analysis import Interrupted
    from kolmo.analysis import compare as compare_sources
    from kolmo.files import check_output
    from kolmo.report.terminal import show

    if options.output:
        check_output(options.output, (".parquet", ".csv", ".json"))
    if options.html:
        check_output(options.html, (".html", ".htm"))
    try:
        with progress_bar() as progress:
            report = (measure or compare_sources)(
                sources, progress=progress, **options.plan, **more
            )
    except (Interrupted, KolmoError) as error:
        if error.report is not None:
            keep(error.report, options)
        raise
    keep(report, options)
    if options.json:
        print(report.to_json())
    else:
        show(report, options.all_rows)
    problems = report.provenance["problems"]
    if problems:
        others = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0]}{others}; everything else was measured")


def keep(report: Report, options: Measuring) -> None:
    for path, write in ((options.output, report.save), (options.html, report.to_html)):
        if path:
            write(path)
            state = "" if report.provenance["complete"] else " (what was done until then)"
            print(f"wrote {path}{state}", file=sys.stderr)
