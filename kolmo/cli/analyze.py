"""kolmo analyze: measure checkpoints, tensor by tensor and as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from kolmo.cli.app import app
from kolmo.cli.measuring import run_measurement
from kolmo.cli.options import Measuring, name_sources, takes_measuring


@app.command()
@takes_measuring()
def analyze(
    sources: Annotated[list[str], typer.Argument(help="Files, directories or URLs.")],
    options: Measuring,
) -> None:
    """Measure checkpoints, tensor by tensor and as a whole."""
    run_measurement(name_sources(sources), options)
