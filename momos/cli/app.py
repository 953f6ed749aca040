"""The application itself."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from kolmo import __version__
from kolmo.cli import run_app
from kolmo.cli.help import Application
from kolmo.errors import MissingExtraError

EXAMPLES = {
    "expand": ("momos expand run/weights.mosaic -o weights.safetensors",),
    "fetch": ("momos fetch cifar10 --folder sets",),
    "project": (
        "momos project model.safetensors -o model.mosaic",
        "momos project model.safetensors -o model.mosaic --rate 0.2 --motifs 16 --scale channel",
    ),
    "study": ("momos study -o out/study", "momos study --seeds 1 --epochs 3 -o out/quick"),
    "train": (
        "momos train --rate 1 -o out/run",
        "momos train --momos --capacity 0.05 -o out/sampled",
        "momos train --data cifar10 --folder sets --model resnet20 -o out/cifar",
        "momos train --config out/run/config.toml --seed 1 -o out/again",
    ),
}
"""Examples of every command, which its help ends with."""

app = Application(
    help="Train networks that are a mosaic of motifs, and study how simple they are.",
    examples=EXAMPLES,
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
