"""kolmo analyze: measure checkpoints, tensor by tensor and as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from kolmo.cli.app import app
from kolmo.cli.measuring_options import Measuring, takes_measuring
from kolmo.cli.options import MEASURING, option


@app.command()
@takes_measuring()
def analyze(
    sources: Annotated[
        list[str],
        typer.Argument(help="Files, directories, URLs, globs; or NAME=SOURCE.", metavar="SOURCE"),
    ],
    options: Measuring,
    plan: Annotated[
        bool,
        option(
            "--plan",
            help="Only tell what would be measured, in which time, memory and bytes.",
            under=MEASURING,
        ),
    ] = False,
) -> None:
    """Measure checkpoints, tensor by tensor and as a whole."""
    from kolmo.cli.measuring import run_measurement, show_plan  # which import what measures

    show_plan(sources, options) if plan else run_measurement(sources, options)
