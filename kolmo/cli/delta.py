"""kolmo delta: what a tuned checkpoint costs once its base is known."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import kolmo
from kolmo.cli.app import app
from kolmo.cli.lossy_options import BetterOption, Evaluated, Tolerated, function
from kolmo.cli.measuring_options import Measuring, takes_measuring
from kolmo.cli.options import MEASURING, option


@app.command()
@takes_measuring()
def delta(
    base: Annotated[str, typer.Argument(help="What is known: a file, a directory or a URL.")],
    tuned: Annotated[str, typer.Argument(help="What was made of it.")],
    options: Measuring,
    thorough: Annotated[
        bool, option("--thorough", help="Try every code on all weights: slow.", under=MEASURING)
    ] = False,
    evaluate: Evaluated = None,
    tolerance: Tolerated = "1%",
    better: BetterOption = "lower",
) -> None:
    """Measure what a tuned checkpoint costs once its base is known (--null shuffled)."""
    from kolmo.cli.measuring import run_measurement  # which imports what measures

    told = {"evaluate": function(evaluate), "tolerance": tolerance, "better": better}
    sources = {"base": base, "tuned": tuned}
    run_measurement(sources, options, _difference, thorough=thorough, **told)


def _difference(sources: dict[str, str], **options: Any) -> kolmo.Report:
    from kolmo.checkpoints.many import short_names

    (name,) = short_names([sources["tuned"]])
    return kolmo.delta(sources["base"], sources["tuned"], name=name, **options)
