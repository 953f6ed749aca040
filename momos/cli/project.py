"""``momos project``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kolmo.cli.app import print_json
from momos.cli.app import app
from momos.cli.options import MOSAIC, SEED, Given, Json, takes
from momos.lab.settings import asked_kind, make_mosaic

if TYPE_CHECKING:
    from momos.mosaic.mosaic import Mosaic
    from momos.mosaic.stats import ProjectionStats


@app.command()
@takes(MOSAIC.without("every", "unit"), dataclasses.replace(SEED, heading="Mosaic"))
def project(
    source: Annotated[str, typer.Argument(help="A checkpoint: file, directory or URL.")],
    given: Given,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The mosaic file to write.", rich_help_panel="Output"),
    ],
    json: Json = False,
) -> None:
    """Project a checkpoint's floating-point tensors onto a mosaic, and save that."""
    settings = dict(given)
    seed = settings.pop("seed", 0)
    config = make_mosaic({"kind": asked_kind(settings) or "sampled", **settings})
    # Here, because they need torch, which --help does not.
    from momos.checkpoint import project_checkpoint
    from momos.cli.printing import print_values

    mosaic, stats = project_checkpoint(source, config, seed)
    values = _described(mosaic, stats, mosaic.save(output))
    if json:
        print_json(values)
    else:
        skipped = ", ".join(values["skipped"]) or "nothing"
        print_values(values | {"skipped": skipped, "notes": "; ".join(stats.notes) or "none"})


def _described(mosaic: Mosaic, stats: ProjectionStats, path: Path) -> dict[str, Any]:
    return {
        **{field.name: getattr(stats, field.name) for field in dataclasses.fields(stats)},
        "skipped": [f"{entry.name} ({entry.reason})" for entry in stats.skipped],
        "description_length": mosaic.description_length(),
        "rac": mosaic.relative_algorithmic_compression(),
        "file_bytes": path.stat().st_size,
        "file": str(path),
    }
