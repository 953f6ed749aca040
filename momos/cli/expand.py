"""``momos expand``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kolmo.cli.app import print_json
from kolmo.files import check_standing
from momos.cli.app import app
from momos.cli.options import Json, Overwrite


@app.command()
def expand(
    mosaic: Annotated[str, typer.Argument(help="A mosaic file, or its URL.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write.")],
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn a mosaic file back into an ordinary safetensors checkpoint, bit for bit."""
    # Here, because they need torch, which --help does not.
    from momos.cli.printing import print_values
    from momos.mosaic.mosaic import Mosaic
    from momos.tensors import save_safetensors

    check_standing(output, inputs=[mosaic], overwrite=overwrite)
    loaded = Mosaic.load(mosaic)
    path = save_safetensors(output, loaded.state_dict(), {"projected": True})
    values = {
        "tensors": len(loaded.names),
        "weights": loaded.partition.numel,
        **({"absent": ", ".join(loaded.absent)} if loaded.absent else {}),
        "file_bytes": path.stat().st_size,
        "file": str(path),
    }
    print_json(values) if json else print_values(values)
