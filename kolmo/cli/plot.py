"""kolmo plot: draw the figures of a saved report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

import kolmo
from kolmo.cli.app import app
from kolmo.cli.options import Overwrite, choice, option
from kolmo.errors import InputError
from kolmo.files import make_directory
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
    drawn, way = _explored(report) if interactive else _drawn(report, width, format)
    if all(isinstance(figure, InputError) for figure in drawn.values()):
        raise InputError(f"{results}: there is no measured value in this report to draw")
    paths = {title: output / f"{results.stem}-{title.lower()}.{way.suffix}" for title in drawn}
    inputs = [results, *files_of(report.provenance)]
    for title, figure in drawn.items():
        if isinstance(figure, InputError):
            print(f"no figure of {title.lower()}: {figure}", file=sys.stderr)
        elif paths[title].parent.is_dir():
            way.check(paths[title], inputs, overwrite)
    make_directory(output)
    for title, figure in drawn.items():
        if not isinstance(figure, InputError):
            way.write(figure, paths[title], inputs=inputs, overwrite=overwrite)
            typer.echo(printable(str(paths[title])))


class Way(NamedTuple):
    """How figures are written: what is asked before, what writes one, the suffix of its file."""

    check: Callable[..., None]
    write: Callable[..., None]
    suffix: str


Figures = Mapping[str, Any]
"""Figures by title, or why there is none."""


def _drawn(report: ReportData, width: str | None, form: str) -> tuple[Figures, Way]:
    from kolmo.report.figures.drawing import check_figure_output
    from kolmo.report.figures.plots import figures, save_figure  # which import pandas

    return figures(report, _inches(width)), Way(check_figure_output, save_figure, form)


def _explored(report: ReportData) -> tuple[Figures, Way]:
    from kolmo.report.interactive import interactive_figures, write_figure

    return interactive_figures(report), Way(check_page_output, write_figure, "html")


def _inches(width: str | None) -> str | float | None:
    """A width by name, or in inches."""
    try:
        return float(width) if width is not None else None
    except ValueError:
        return width
