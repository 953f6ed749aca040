"""kolmo plot: draw the figures of a saved report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import kolmo
from kolmo.cli.app import app, make_directory
from kolmo.cli.options import choice, option
from kolmo.errors import InputError
from kolmo.specs import unknown

_FORMATS = ("png", "svg", "pdf")


@app.command()
def plot(
    results: Annotated[Path, typer.Argument(help="A saved report.")],
    output: Annotated[Path, option("--output", "-o", help="A directory.", metavar="DIR")] = Path(
        "."
    ),
    format: Annotated[str, choice(of=_FORMATS, help="Of the files.")] = "png",
) -> None:
    """Draw the figures of a saved report."""
    from kolmo.report.figures.plots import figures, save_figure  # which import pandas

    if format not in _FORMATS:
        raise unknown("format", format, _FORMATS)
    if output.suffix in (".png", ".svg", ".pdf"):
        raise InputError(f"{output}: name a directory; --format says what the files are")
    drawn = figures(kolmo.load_report(results))
    if all(isinstance(figure, InputError) for figure in drawn.values()):
        raise InputError(f"{results}: there is no measured value in this report to draw")
    make_directory(output)
    for title, figure in drawn.items():
        if isinstance(figure, InputError):
            print(f"no figure of {title.lower()}: {figure}", file=sys.stderr)
            continue
        path = output / f"{results.stem}-{title.lower()}.{format}"
        save_figure(figure, path)
        typer.echo(str(path))
