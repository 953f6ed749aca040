"""``momos study``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kolmo.cli.app import print_json
from kolmo.errors import InputError
from kolmo.execution import cores
from kolmo.progress import progress_bar
from momos.cli.app import app
from momos.cli.options import (
    DATA,
    MODEL,
    OPTIMIZATION,
    ConfigFile,
    Given,
    Group,
    Json,
    Out,
    Overwrite,
    takes,
)
from momos.lab.arms import StudyConfig
from momos.lab.settings import train_config

if TYPE_CHECKING:
    from momos.lab.outcome import StudyResult

ARMS = Group(
    "Arms",
    (StudyConfig,),
    {
        "bits": "A quantized arm for each.",
        "capacities": "An arm of sampled mosaics for each.",
        "rates": "An arm of learned mosaics for each.",
        "grids": "An arm of learned grids for each: what 1,000 bits cost of the loss.",
        "grid_bits": "Bits of the levels of these.",
        "zeros": "An arm of learned mosaics with this share of zeros for each.",
        "sparsities": "A pruned rival for each.",
    },
    {"capacities": "--capacity", "rates": "--rate", "grids": "--grid", "sparsities": "--sparsity"},
)
SAMPLED = Group(
    "Mosaic",
    (StudyConfig,),
    {
        "every": "Epochs from one projection of sampled mosaics to the next.",
        "block_size": "Weights a block of sampled mosaics.",
    },
)
MEASURING = Group(
    "Measuring",
    (StudyConfig,),
    {
        "draws": "Shuffles at the start and the end of training; p-values need 39.",
        "save_every": "Epochs between the checkpoints that are measured along training.",
        "quantizer": "What the weights are seen through first.",
    },
    defaults={"save_every": "a sixth of them"},
)

_PROCESSES = 8  # that train by default: each holds a torch of its own


@app.command()
@takes(DATA, MODEL, OPTIMIZATION, ARMS, SAMPLED, MEASURING)
def study(
    given: Given,
    config: ConfigFile = None,
    seeds: Annotated[
        int, typer.Option(help="Runs of each arm, with seeds 0, 1, ...", rich_help_panel="Arms")
    ] = 3,
    out: Out = Path("out/study"),
    overwrite: Overwrite = False,
    json: Json = False,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads that measure, and processes that train; all cores by default.",
            rich_help_panel="Measuring",
        ),
    ] = None,
) -> None:
    """Compare untrained, trained, quantized and mosaic models; finished runs are kept."""
    settings = _study_config(config, given, seeds)
    # Here, because it needs torch, which --help does not.
    from momos.lab.folder import OF_STUDY, refuse_inputs
    from momos.lab.studies import study as run

    if config:
        refuse_inputs([config], out, OF_STUDY)
    with progress_bar(True) as progress:
        workers = threads or min(cores(), _PROCESSES)
        result = run(
            settings, out, threads=threads, workers=workers, overwrite=overwrite, progress=progress
        )
    _show(result, json)


def _study_config(config: Path | None, given: Given, seeds: int) -> StudyConfig:
    if seeds < 1:
        raise InputError(f"a study needs at least one seed, not {seeds}")
    names = {name for group in (ARMS, SAMPLED, MEASURING) for name in group.helps}
    own: dict[str, Any] = {name: given[name] for name in given if name in names}
    train = train_config(config, {name: given[name] for name in given if name not in names})
    return StudyConfig(train, tuple(range(seeds)), **own)


def _show(result: StudyResult, json: bool) -> None:
    # Here, because they need torch, which --help does not.
    from momos.cli.printing import json_rows, print_table, print_values
    from momos.lab.results import arm_table, arms, measurement_table

    files = {name: str(path) for name, path in result.paths.items()}
    if json:
        by_arm = json_rows(arms(result.table).drop(columns="points"))
        document = {"findings": result.findings, "arms": by_arm}
        print_json({**document, "measurements": json_rows(result.summary), "files": files})
        return
    print_table(measurement_table(result.summary))
    print()
    print_table(arm_table(result.table))
    print()
    for line in result.findings:
        print(f"- {line}")
    print()
    print_values(files)
