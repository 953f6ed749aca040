"""``momos project``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kolmo.checkpoints.opening import inputs_of
from kolmo.cli.app import print_json
from kolmo.files import check_standing
from kolmo.progress import progress_bar
from momos.cli.app import app
from momos.cli.options import MOSAIC, SEED, Given, Json, Overwrite, takes
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
    bits: Annotated[
        float | None,
        typer.Option(
            help="Learn a mosaic whose indices take about so many bits a weight, with a scale a "
            "channel and motifs enough, unless these are given.",
            rich_help_panel="Mosaic",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Project a checkpoint's floating-point tensors onto a mosaic, and save that."""
    # Here, because they need torch, which --help does not.
    from momos.checkpoint import motifs_for, project_checkpoint
    from momos.cli.printing import print_table, print_values, tensors_by_error
    from momos.mosaic.files import is_mosaic

    check_standing(output, own=is_mosaic, inputs=inputs_of(source), overwrite=overwrite)
    settings = dict(given)
    seed = settings.pop("seed", 0)
    kind = asked_kind(settings) or ("sampled" if bits is None else "learned")
    if bits is not None:
        motifs = {} if "capacity" in settings else {"motifs": motifs_for(bits)}
        settings = {**motifs, "scale": "channel", **settings}
    config = make_mosaic({"kind": kind, **settings})
    with progress_bar(True) as progress:
        mosaic, stats = project_checkpoint(source, config, seed, bits=bits, progress=progress)
        progress(0, 1, "coding")
        path = mosaic.save(output, overwrite=overwrite)
    values = _described(mosaic, stats, path)
    if json:
        print_json(values)
        return
    values["skipped"] = ", ".join(values["skipped"]) or "nothing"
    values["notes"] = "; ".join(stats.notes) or "none"
    del values["relative_errors"]
    print_values(values)
    print()
    print_table(tensors_by_error(mosaic.partition.shapes, stats.relative_errors))


def _described(mosaic: Mosaic, stats: ProjectionStats, path: Path) -> dict[str, Any]:
    """What was done, and what the file is: its bytes are all that it takes, dense tensors too."""
    size, raw = path.stat().st_size, sum(array.nbytes for array in mosaic.arrays().values())
    weights = mosaic.partition.numel + sum(array.size for array in mosaic.dense.values())
    return {
        **{field.name: getattr(stats, field.name) for field in dataclasses.fields(stats)},
        "skipped": [f"{entry.name} ({entry.reason})" for entry in stats.skipped],
        "description_length": mosaic.description_length(),
        "rac": mosaic.relative_algorithmic_compression(),
        "file_bytes": size,
        "file_rac": raw / size,
        "file_bits_per_weight": 8 * size / weights,
        "file": str(path),
    }
