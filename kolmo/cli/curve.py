"""kolmo curve: code length against distortion, each point a file that decodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import kolmo
from kolmo.checkpoints.opening import inputs_of
from kolmo.cli.app import app, print_json
from kolmo.cli.lossy_options import Coded, Evaluated, Inputs, Weighted, function, with_inputs
from kolmo.cli.options import Exclude, Include, Json, Overwrite, Threads, option
from kolmo.lossy.curve import STEPS
from kolmo.progress import progress_bar
from kolmo.report.figures.drawing import check_figure_output, save_figure


@app.command()
def curve(
    source: Annotated[str, typer.Argument(help="A file, a directory or a URL.")],
    evaluate: Evaluated = None,
    step: Annotated[
        list[float] | None,
        option("--step", help="A step of the grids, in row sizes; one point each.", metavar="C"),
    ] = None,
    inputs: Inputs = None,
    weighting: Weighted = "rows",
    output: Annotated[
        Path | None, option("--output", "-o", help="Keep the files here.", metavar="DIR")
    ] = None,
    plot: Annotated[
        Path | None, option("--plot", help="Draw the curve: .png, .svg or .pdf.", metavar="FILE")
    ] = None,
    shuffled: Annotated[
        bool, option("--shuffled", help="Describe the weights at random places too.")
    ] = False,
    metric: Annotated[
        bool, option("--metric", help="Draw the metric against bits, not bits against distortion.")
    ] = False,
    preset: Coded = "best",
    include: Include = None,
    exclude: Exclude = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Code length against distortion, each point a file that decodes."""
    if plot:
        check_figure_output(plot, inputs_of(source), overwrite)
    subject, given = with_inputs(source, inputs)
    with progress_bar(True) as progress:
        found = kolmo.curve(
            subject,
            steps=step or STEPS,
            evaluate=function(evaluate),
            folder=output,
            shuffled=shuffled,
            weighting=weighting,
            include=include or (),
            exclude=exclude or (),
            preset=preset,
            threads=threads,
            overwrite=overwrite,
            progress=progress,
            **given,
        )
    if plot:
        figure = found.plot(metric=metric)
        save_figure(figure, plot, inputs=inputs_of(source), overwrite=overwrite)
    print_json(found.to_dict()) if json else print(found)
