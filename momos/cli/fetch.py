"""``momos fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kolmo.cli.app import print_json
from momos.cli.app import app
from momos.cli.options import Json, Overwrite
from momos.lab.datasets import fetch_dataset


@app.command()
def fetch(
    data: Annotated[str, typer.Argument(help="cifar10, fashion-mnist or mnist.")],
    folder: Annotated[Path, typer.Option(help="Where to put the files.")],
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Fetch the official files of a data set, checked by their hash; those there stay."""
    files = [str(path) for path in fetch_dataset(data, folder, overwrite=overwrite)]
    print_json({"files": files}) if json else print("\n".join(files))
