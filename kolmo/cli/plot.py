"""kolmo plot: draw the figures of a saved report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

import kolmo
from kolmo.cli.app import app
from kolmo.cli.options import Overwrite, choice, option
from kolmo.errors import InputError
from kolmo.files import directory
from kolmo.report.data import ReportData
from kolmo.report.page.frame import check_page_output
from kolmo.report.saving import files_of
from kolmo.specs import unknown
from kolmo.text import printable

FORMATS = ("png", "svg", "pdf")


@app.command()
def plot(
    results: Annotated[Path, typer.Argument(help="A saved report.")],
    output: Annotated[Path, option("--output", "-o", help="A directory.", metavar="DIR")] = Path(
        "."
    ),
    format: Annotated[
        str,
        choice(
            of=FORMATS, help="Of the files: a PNG has 300 dots an inch, a PDF fonts of type 42."
        ),
    ] = "png",
    width: Annotated[
        str | None,
        option(help="column (3.25 inches), text (6.75) or a number of inches.", metavar="WIDTH"),
    ] = None,
    interactive: Annotated[
        bool, option("--interactive", help="Pages to explore instead (extra interactive).")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw the figures of a saved report."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if output.suffix in (".png", ".svg", ".pdf", ".html"):
        raise InputError(f"{output}: name a directory; --format says what the files are")
    report = kolmo.load_report(results)
    way = _explored(report) if interactive else _drawn(report, width, format)
    paths = {title: output / f"{results.stem}-{title.lower()}.{way.suffix}" for title in way.titles}
    given = {"inputs": [results, *files_of(report.provenance)], "overwrite": overwrite}
    with directory(output):
        for path in paths.values():
            way.check(path, **given)
        drawn = way.draw()
        if all(isinstance(figure, InputError) for figure in drawn.values()):
            raise InputError(f"{results}: there is no measured value in this report to draw")
        there = {t: figure for t, figure in drawn.items() if not isinstance(figure, InputError)}
        for title, figure in there.items():
            way.write(figure, paths[title], **given)
    for title, reason in drawn.items():
        if title not in there:
            print(f"no figure of {title.lower()}: {reason}", file=sys.stderr)
    for title in there:  # once all of them are written: nobody may read this
        typer.echo(printable(str(paths[title])))


class Way(NamedTuple):
    """How figures are made: what may come of it, what is asked before, what draws all of them (or
    says why there is none), what writes one, the suffix of its file."""

    titles: Sequence[str]
    check: Callable[..., None]
    draw: Callable[[], Mapping[str, Any]]
    write: Callable[..., None]
    suffix: str


def _drawn(report: ReportData, width: str | None, form: str) -> Way:
    from kolmo.report.figures.drawing import check_figure_output
    from kolmo.report.figures.plots import figure_titles, figures, save_figure  # import pandas

    draw = partial(figures, report, _inches(width))
    return Way(figure_titles(report), check_figure_output, draw, save_figure, form)


def _explored(report: ReportData) -> Way:
    from kolmo.report.interactive import interactive_figures, interactive_titles, write_figure

    draw = partial(interactive_figures, report)
    return Way(interactive_titles(report), check_page_output, draw, write_figure, "html")


def _inches(width: str | None) -> str | float | None:
    """A width by name, or in inches."""
    try:
        return float(width) if width is not None else None
    except ValueError:
        return width
