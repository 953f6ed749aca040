"""kolmo curve: code length against distortion, each point a file that decodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import kolmo
from kolmo.cli.app import app, print_json
from kolmo.cli.lossy_options import Coded, Evaluated, Weighted, function
from kolmo.cli.options import Exclude, Include, Json, Threads, option
from kolmo.lossy.curve import STEPS
from kolmo.progress import progress_bar


@app.command()
def curve(
    source: Annotated[str, typer.Argument(help="A file, a directory or a URL.")],
    evaluate: Evaluated = None,
    step: Annotated[
        list[float] | None,
        option("--step", help="A step of the grids, in row sizes; one point each.", metavar="C"),
    ] = None,
    weighting: Weighted = "rows",
    output: Annotated[
        Path | None, option("--output", "-o", help="Keep the files here.", metavar="DIR")
    ] = None,
    plot: Annotated[
        Path | None, option("--plot", help="Draw the curve: .png, .svg or .pdf.", metavar="FILE")
    ] = None,
    preset: Coded = "best",
    include: Include = None,
    exclude: Exclude = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Code length against distortion, each point a file that decodes."""
    with progress_bar(True) as progress:
        found = kolmo.curve(
            source,
            steps=step or STEPS,
            evaluate=function(evaluate),
            folder=output,
            weighting=weighting,  # type: ignore[arg-type]
            include=include or (),
            exclude=exclude or (),
            preset=preset,
            threads=threads,
            progress=progress,
        )
    if plot:
        found.plot(plot)
    print_json(found.to_dict()) if json else print(found)
