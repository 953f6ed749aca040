"""kolmo inspect: what is in a source, without measuring."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

import kolmo
from kolmo.cli import completing
from kolmo.cli.app import app, print_json
from kolmo.cli.options import CHOOSING, AllRows, Exclude, Include, Json, option
from kolmo.cli.pack import only_roles

_WIDTH = 160  # columns where there is no terminal


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(help="A file, a directory or a URL.")],
    role: Annotated[
        list[str] | None,
        option(
            help="List arrays of this role alone: weight, book-keeping, buffer, ...",
            metavar="ROLE",
            under=CHOOSING,
            autocompletion=completing.roles,
        ),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    all_rows: AllRows = False,
    json: Json = False,
) -> None:
    """List what is in a source, from its header: names, shapes, dtypes, roles, sizes."""
    chosen = {"include": include or (), "exclude": exclude or (), **only_roles(role)}
    found = kolmo.inspect(source, **chosen)
    if json:
        print_json(found.to_dict())
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH
    print(found.text(width, all_rows))
