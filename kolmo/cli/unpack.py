"""kolmo unpack: write the weights of a container as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import kolmo
from kolmo.cli.app import app, make_directory
from kolmo.cli.options import Container, MaxBytes, Threads
from kolmo.progress import progress_bar


@app.command()
def unpack(
    container: Container,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .safetensors file, or a directory.")
    ],
    symbols: Annotated[
        bool, typer.Option("--symbols", help="Write the symbols rather than the weights.")
    ] = False,
    threads: Threads = None,
    max_bytes: MaxBytes = None,
) -> None:
    """Write the weights of a container as safetensors."""
    if output.suffix != ".safetensors":
        make_directory(output)
    with progress_bar(True) as progress:
        path = kolmo.unpack(
            container,
            output,
            symbols=symbols,
            threads=threads,
            progress=progress,
            max_bytes=max_bytes,
        )
    typer.echo(str(path))
