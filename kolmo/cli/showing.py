"""Commands that show: the estimators there are, the figures of a saved report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kolmo.cli.app import app, make_directory, print_json
from kolmo.cli.options import Json
from kolmo.errors import InputError
from kolmo.specs import unknown


@app.command()
def estimators(json: Json = False) -> None:
    """List the estimators and quantizers."""
    from rich.table import Table

    from kolmo.estimators import estimator_class, estimator_names
    from kolmo.quantize import quantizer_class, quantizer_names
    from kolmo.report.terminal import make_console

    found = [(name, estimator_class(name)) for name in estimator_names()]
    if json:
        rows = [{"name": n, "kind": c.kind, "summary": c.summary} for n, c in found]
        quantizers = [{"name": n, "summary": quantizer_class(n).summary} for n in quantizer_names()]
        print_json({"estimators": rows, "quantizers": quantizers})
        return
    table = Table("estimator", "kind", "what it is", box=None)
    for name, cls in found:
        table.add_row(name, cls.kind, cls.summary)
    quantizer_table = Table("quantizer", "what it is", box=None)
    for name in quantizer_names():
        quantizer_table.add_row(name, quantizer_class(name).summary)
    console = make_console()
    console.print(table, "", quantizer_table)
    console.print(
        "\nSpecs: name[:value][,key=value...][@layout], as in zstd:19@shuffle or bdm,ndim=2; "
        "layouts are bytes, shuffle, packed, bitplanes.",
        markup=False,
    )


@app.command()
def plot(
    results: Annotated[Path, typer.Argument(help="A saved report.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A directory.")] = Path("."),
    format: Annotated[str, typer.Option(help="png, svg or pdf.")] = "png",
) -> None:
    """Draw the figures of a saved report."""
    from kolmo.report.figures.plots import figures, save_figure
    from kolmo.report.report import load_report

    if format not in ("png", "svg", "pdf"):
        raise unknown("format", format, ("png", "svg", "pdf"))
    if output.suffix in (".png", ".svg", ".pdf"):
        raise InputError(f"{output}: name a directory; --format says what the files are")
    drawn = figures(load_report(results))
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
