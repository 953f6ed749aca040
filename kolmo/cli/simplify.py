"""kolmo simplify: the smallest file of a network that still does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import kolmo
from kolmo.cli.app import app, print_json
from kolmo.cli.lossy_options import (
    BetterOption,
    Coded,
    Evaluated,
    Inputs,
    Tolerated,
    Weighted,
    function,
    with_inputs,
)
from kolmo.cli.options import Exclude, Include, Json, Overwrite, Threads, option
from kolmo.progress import progress_bar


@app.command()
def simplify(
    source: Annotated[str, typer.Argument(help="A file, a directory or a URL.")],
    output: Annotated[Path, option("--output", "-o", help="The container.", metavar="FILE.kmo")],
    evaluate: Evaluated = None,
    tolerance: Tolerated = "1%",
    better: BetterOption = "lower",
    distortion: Annotated[
        float | None,
        option(help="Instead: the relative squared error allowed.", metavar="D"),
    ] = None,
    inputs: Inputs = None,
    weighting: Weighted = "rows",
    preset: Coded = "best",
    include: Include = None,
    exclude: Exclude = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write the smallest file of a network that still does the same, to within a tolerance."""
    subject, given = with_inputs(source, inputs)
    with progress_bar(True) as progress:
        found = kolmo.simplify(
            subject,
            output,
            evaluate=function(evaluate),
            tolerance=tolerance,
            better=better,
            distortion=distortion,
            weighting=weighting,
            include=include or (),
            exclude=exclude or (),
            preset=preset,
            threads=threads,
            overwrite=overwrite,
            progress=progress,
            **given,
        )
    print_json(found.to_dict()) if json else print(found)
