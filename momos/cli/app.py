"""The application itself."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from kolmo import __version__
from kolmo.cli import run_app
from kolmo.errors import MissingExtraError

app = typer.Typer(
    help="Train networks that are a mosaic of motifs, and study how simple they are.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",  # groups the options in --help
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    for package in ("torch", "safetensors", "sklearn", "pyarrow"):
        if find_spec(package) is None:
            raise MissingExtraError("momos", package, "momos")


def main() -> None:
    """The console script: runs the command line, turns errors into one line and an exit code."""
    run_app(app, "momos")
