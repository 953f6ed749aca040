"""kolmo trajectory: measure a series of checkpoints, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import kolmo
from kolmo.cli.app import app
from kolmo.cli.lossy_options import BetterOption, Evaluated, Tolerated, function
from kolmo.cli.measuring_options import Measuring, takes_measuring


@app.command()
@takes_measuring("model")
def trajectory(
    sources: Annotated[
        list[str], typer.Argument(help="Checkpoints with steps in their names, a glob, a folder.")
    ],
    options: Measuring,
    metrics: Annotated[
        Path | None,
        typer.Option(
            help="To draw beside: a .csv or .parquet with a column step or epoch, or the "
            "trainer_state.json of Hugging Face's Trainer."
        ),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option(
            "--relative", help="Say percent of the first step, and percent of the own shuffle."
        ),
    ] = False,
    evaluate: Evaluated = None,
    tolerance: Tolerated = "1%",
    better: BetterOption = "lower",
) -> None:
    """Measure a series of checkpoints, step by step; `kolmo plot` draws a saved one."""
    from kolmo.cli.measuring import run_measurement  # which imports what measures

    one_or_more = sources[0] if len(sources) == 1 else sources
    told = {"evaluate": function(evaluate), "tolerance": tolerance, "better": better}
    told |= {"metrics": metrics, "relative": relative}
    run_measurement(one_or_more, options, kolmo.trajectory, **told)
