"""kolmo compare: measure several checkpoints in the same way, in one table."""

from __future__ import annotations

from typing import Annotated

import typer

from kolmo.cli.app import app
from kolmo.cli.measuring import run_measurement
from kolmo.cli.options import Measuring, takes_measuring
from kolmo.errors import InputError


@app.command()
@takes_measuring("model")
def compare(
    sources: Annotated[list[str], typer.Argument(help="NAME=SOURCE for each model.")],
    options: Measuring,
) -> None:
    """Measure several checkpoints in the same way, in one table."""
    named: dict[str, str] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        if not equals or not name or not path or name in named:
            raise InputError(f"{source!r} is not a NAME=SOURCE with a name of its own")
        named[name] = path
    run_measurement(named, options)
