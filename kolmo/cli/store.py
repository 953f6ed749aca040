"""kolmo store: the results that are kept, so that nothing is measured twice."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

from kolmo.cli.app import app, print_json
from kolmo.cli.examples import STORE_EXAMPLES
from kolmo.cli.help import Application
from kolmo.cli.options import Json, option
from kolmo.console import make_console
from kolmo.errors import InputError, KolmoError
from kolmo.store import default_path, open_store
from kolmo.store.upkeep import StoreContents, contents, parse_age, parse_size, prune
from kolmo.text import byte_text

store = Application(
    help="Look after the results that are kept.", examples=STORE_EXAMPLES, no_args_is_help=True
)
app.add_typer(store, name="store")

File = Annotated[
    Path | None,
    option(
        "--store",
        help="KOLMO_STORE or results.sqlite in the cache folder by default.",
        metavar="FILE",
    ),
]


@store.command()
def ls(file: File = None, json: Json = False) -> None:
    """List what is kept: measurements, results, sizes, last use."""
    found = contents(_path(file))
    if json:
        print_json(found.to_dict())
    else:
        _show(found)


@store.command("prune")
def prune_store(
    older_than: Annotated[
        str | None, option(help="What was not used for so long goes: 30d, 12h.", metavar="AGE")
    ] = None,
    max_size: Annotated[
        str | None,
        option(help="What was not used for longest goes until this: 1GB.", metavar="SIZE"),
    ] = None,
    file: File = None,
    json: Json = False,
) -> None:
    """Remove results that were not used for long; --older-than 0s removes all."""
    if older_than is None and max_size is None:
        raise InputError("say what is to go: --older-than 30d, --max-size 1GB, or both")
    path = _path(file)
    age = None if older_than is None else parse_age(older_than)
    removed = prune(path, age, None if max_size is None else parse_size(max_size))
    left = contents(path)
    if json:
        facts = {"removed": removed, "left": left.entries, "bytes": left.bytes}
        print_json({"file": str(path), **facts})
        return
    print(f"{path}: {removed:,} results removed, {left.entries:,} left, {byte_text(left.bytes)}")


@store.command()
def verify(file: File = None, json: Json = False) -> None:
    """Check every result, and remove what is damaged; exit code 1 if anything was."""
    path = _path(file)
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    with open_store(path) as opened:
        health = opened.check()
        if not opened.is_open:
            raise KolmoError(f"{path}: cannot be checked")
    moved = [str(each) for each in health.moved]
    if json:
        facts = {"whole": health.entries, "removed": health.removed, "moved": moved}
        print_json({"file": str(path), **facts})
    elif health.good:
        print(f"{path}: {health.entries:,} results, all of them whole")
    if health.good:
        return
    told = "".join(f"; the damaged file is now {each}" for each in moved)
    raise KolmoError(
        f"{path}: was damaged: {health.removed:,} results were removed{told}; "
        f"{health.entries:,} are whole and kept"
    )


def _path(file: Path | None) -> Path:
    path = file or default_path()
    if path is None:
        raise InputError("there is no store: KOLMO_STORE is off or there is no home; --store FILE")
    return path


def _show(found: StoreContents) -> None:
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("measurement", overflow="fold")
    for heading in ("results", "size", "last use"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kept in found.measurements:
        day = datetime.datetime.fromtimestamp(kept.used).date().isoformat()
        table.add_row(Text(kept.measurement), f"{kept.entries:,}", byte_text(kept.bytes), day)
    if found.measurements:
        console.print(table, "")
    text = f"{found.file}: {found.entries:,} results, {byte_text(found.bytes)}"
    console.print(text, markup=False, soft_wrap=True)
