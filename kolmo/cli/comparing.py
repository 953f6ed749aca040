"""Commands that measure checkpoints against each other: delta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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
    name_sources,
)

if TYPE_CHECKING:
    from kolmo.report import Report


@app.command()
def delta(
    base: Annotated[str, typer.Argument(help="What is known: a file, a directory or a URL.")],
    tuned: Annotated[str, typer.Argument(help="What was made of it.")],
    quantizer: Quantizers = None,
    estimator: Estimators = None,
    null: Nulls = None,
    draws: Draws = 5,
    scope: ScopeOption = "both",
    include: Include = None,
    exclude: Exclude = None,
    seed: Seed = 0,
    threads: Threads = None,
    output: Output = None,
    html: Html = None,
    json: Json = False,
    all_rows: AllRows = False,
) -> None:
    """Measure what a tuned checkpoint costs once its base is known (--null shuffled)."""
    options = gather_options(
        quantizer, estimator, null, draws, scope, include, exclude, seed, threads
    )
    sources = {"base": base, "tuned": tuned}
    run_measurement(sources, options, output, html, json, all_rows, _difference)


def _difference(sources: dict[str, str], **options: Any) -> Report:
    from kolmo.difference.delta import delta as measure

    name = next(iter(name_sources([sources["tuned"]])))
    return measure(sources["base"], sources["tuned"], name=name, **options)
