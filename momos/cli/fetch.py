"""``momos fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from momos.cli.app import app
from momos.lab.datasets import fetch_dataset


@app.command()
def fetch(
    data: Annotated[str, typer.Argument(help="cifar10, fashion-mnist or mnist.")],
    folder: Annotated[Path, typer.Option(help="Where to put the files.")],
) -> None:
    """Fetch the official files of a data set, checked by their hash; those there stay."""
    for path in fetch_dataset(data, folder):
        print(path)
