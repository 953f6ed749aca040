"""kolmo unpack: write the weights of a container as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import kolmo
from kolmo.cli.app import app, print_json
from kolmo.cli.options import Container, Json, MaxBytes, Overwrite, Threads, option
from kolmo.progress import progress_bar


@app.command()
def unpack(
    container: Container,
    output: Annotated[
        Path,
        option("--output", "-o", help="A .safetensors file, or a directory.", metavar="FILE|DIR"),
    ],
    symbols: Annotated[
        bool, option("--symbols", help="Write the symbols rather than the weights.")
    ] = False,
    threads: Threads = None,
    max_bytes: MaxBytes = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write the weights of a container as safetensors."""
    with progress_bar(True) as progress:
        path = kolmo.unpack(
            container,
            output,
            symbols=symbols,
            threads=threads,
            progress=progress,
            max_bytes=max_bytes,
            overwrite=overwrite,
        )
    print_json({"file": str(path), "file_bytes": path.stat().st_size}) if json else print(path)
