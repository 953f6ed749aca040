"""``momos train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
) -> None:
    """Train a bundled model: dense, with --bits quantized, with --momos or --rate as a mosaic."""
    settings = train_config(config, {**given, "momos": True} if momos else given)
    if print_config:
        print(to_toml(settings), end="")
        return
    # Here, because it needs torch, which --help and --print-config do not.
    from momos.cli.printing import print_values
    from momos.lab.training import train as run

    with progress_bar(True) as progress:
        result = run(settings, out, resume=resume, progress=progress)
    files = {name: str(path) for name, path in result.checkpoints.items()}
    if json:
        print_json({"metrics": result.metrics, "history": result.history, "files": files})
    else:
        print_values(result.metrics | files)
