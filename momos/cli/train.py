"""``momos train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from kolmo.cli.app import print_json
from kolmo.progress import progress_bar
from momos.cli.app import app
from momos.cli.options import (
    DATA,
    MODEL,
    MOSAIC,
    OPTIMIZATION,
    QUANTIZATION,
    SEED,
    ConfigFile,
    Given,
    Json,
    Out,
    takes,
)
from momos.config import Unit
from momos.lab.settings import to_toml, train_config


@app.command()
@takes(DATA, MODEL, OPTIMIZATION, SEED, MOSAIC, QUANTIZATION)
def train(
    given: Given,
    config: ConfigFile = None,
    momos: Annotated[
        bool, typer.Option("--momos", help="Sample a mosaic.", rich_help_panel="Mosaic")
    ] = False,
    out: Out = Path("out/train"),
    json: Json = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as TOML, and train nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a stopped run.", rich_help_panel="Output")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Delete another run's files there.", rich_help_panel="Output"
        ),
    ] = False,
    save_every: Annotated[
        int | None,
        typer.Option(
            help="Save a checkpoint to OUT/steps every so many epochs, for kolmo trajectory OUT.",
            rich_help_panel="Output",
        ),
    ] = None,
    save_unit: Annotated[
        str,
        typer.Option(
            help="What --save-every counts.", metavar="epoch|step", rich_help_panel="Output"
        ),
    ] = "epoch",
) -> None:
    """Train a bundled model: dense, with --bits quantized, with --momos or --rate as a mosaic."""
    settings = train_config(config, {**given, "momos": True} if momos else given)
    if print_config:
        print(to_toml(settings), end="")
        return
    # Here, because it needs torch, which --help and --print-config do not.
    from momos.cli.printing import print_values
    from momos.lab.folder import CONFIG, OF_RUN, refuse_inputs
    from momos.lab.training import train as run

    if config:
        refuse_inputs([config], out, (*OF_RUN, CONFIG) if overwrite else OF_RUN)
    with progress_bar(True) as progress:
        result = run(
            settings,
            out,
            save_every=save_every,
            save_unit=cast(Unit, save_unit),  # which `train` checks
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    files = {name: str(path) for name, path in result.checkpoints.items()}
    if json:
        print_json({"metrics": result.metrics, "history": result.history, "files": files})
    else:
        print_values(result.metrics | files)
