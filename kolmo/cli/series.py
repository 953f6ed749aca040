"""The command for a series of checkpoints: trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kolmo.cli.app import app
from kolmo.cli.measuring import run_measurement
from kolmo.cli.options import (
    AllRows,
    Draws,
    Estimators,
    Exclude,
    Html,
    Include,
    Json,
    Nulls,
    Output,
    Quantizers,
    ScopeOption,
    Seed,
    Threads,
    gather_options,
)


@app.command()
def trajectory(
    sources: Annotated[
        list[str], typer.Argument(help="Checkpoints with steps in their names, a glob, a folder.")
    ],
    metrics: Annotated[
        Path | None,
        typer.Option(help="A .csv or .parquet with a column step or epoch, to draw beside."),
    ] = None,
    quantizer: Quantizers = None,
    estimator: Estimators = None,
    null: Nulls = None,
    draws: Draws = 5,
    scope: ScopeOption = "model",
    include: Include = None,
    exclude: Exclude = None,
    seed: Seed = 0,
    threads: Threads = None,
    output: Output = None,
    html: Html = None,
    json: Json = False,
    all_rows: AllRows = False,
) -> None:
    """Measure a series of checkpoints, step by step; `kolmo plot` draws a saved one."""
    from kolmo.series import trajectory as measure

    options = gather_options(
        quantizer, estimator, null, draws, scope, include, exclude, seed, threads
    )
    options["metrics"] = metrics
    one_or_more = sources[0] if len(sources) == 1 else sources
    run_measurement(one_or_more, options, output, html, json, all_rows, measure)
