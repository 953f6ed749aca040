"""kolmo simplify: the smallest file of a network that still does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import kolmo
from kolmo.cli.app import app, print_json
from kolmo.cli.lossy_options import Coded, Evaluated, Inputs, Weighted, function, with_inputs
from kolmo.cli.options import Exclude, Include, Json, Threads, choice, option
from kolmo.progress import progress_bar


@app.command()
def simplify(
    source: Annotated[str, typer.Argument(help="A file, a directory or a URL.")],
    output: Annotated[Path, option("--output", "-o", help="The container.", metavar="FILE.kmo")],
    evaluate: Evaluated = None,
    tolerance: Annotated[
        str,
        option(help="How much worse the number may get: 1%, or an amount.", metavar="SHARE"),
    ] = "1%",
    better: Annotated[
        str, choice(of=("lower", "higher"), help="Which numbers are better.")
    ] = "lower",
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
            progress=progress,
            **given,
        )
    print_json(found.to_dict()) if json else print(found)
