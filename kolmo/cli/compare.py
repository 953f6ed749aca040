"""kolmo compare: measure several checkpoints in the same way, in one table."""

from __future__ import annotations

from typing import Annotated

import typer

from kolmo.cli.app import app
from kolmo.cli.measuring_options import Measuring, takes_measuring


@app.command()
@takes_measuring("model")
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Checkpoints, globs such as 'runs/*/step*.safetensors'; NAME=SOURCE.",
            metavar="SOURCE",
        ),
    ],
    options: Measuring,
) -> None:
    """Measure several checkpoints in the same way, in one table."""
    from kolmo.cli.measuring import run_measurement  # which imports what measures

    run_measurement(sources, options)
