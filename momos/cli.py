"""The command line: arguments in, files and tables out; no logic."""

from __future__ import annotations

import dataclasses
import json as json_module
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kolmo import __version__
from kolmo.cli import run_app
from kolmo.console import progress_bar
from kolmo.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

    from momos.lab.config import MosaicConfig

app = typer.Typer(
    help="Train networks that are a mosaic of motifs, and study how simple they are.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[str, typer.Option(help="cifar10, digits, fashion-mnist, mnist or mnist1d.")]
Folder = Annotated[
    Path | None, typer.Option(help="Of the files of a data set that is not bundled.")
]
Model = Annotated[str, typer.Option(help="cnn, mlp, resnet20 or vit-tiny.")]
Layers = Annotated[int, typer.Option(help="Linear layers of the MLP.")]
Hidden = Annotated[int, typer.Option(help="Width between them.")]
Epochs = Annotated[int, typer.Option(help="Times through the training images.")]
Batch = Annotated[int, typer.Option("--batch-size", help="Images a step.")]
Rate = Annotated[float, typer.Option("--learning-rate", help="Of AdamW.")]
Decay = Annotated[float, typer.Option("--weight-decay", help="Of AdamW.")]
BlockSize = Annotated[int | None, typer.Option(help="Weights a block: 4, or 1 of learned motifs.")]
Capacity = Annotated[float | None, typer.Option(help="Motifs as a share of the blocks.")]
Motifs = Annotated[int | None, typer.Option(help="Number of motifs, instead of a capacity.")]
ZeroMotif = Annotated[bool, typer.Option(help="Whether motif 0 is the zero block.")]
Selection = Annotated[
    str | None, typer.Option(help="Motifs by sample, kmeans or learned; learned with a rate.")
]
Price = Annotated[
    float | None,
    typer.Option("--rate", help="Learned motifs, an index's bit costing so much squared distance."),
]
Sparsity = Annotated[
    float | None, typer.Option(help="Learned motifs, so large a share of them zero.")
]
Scale = Annotated[
    str | None, typer.Option(help="Divide blocks by one scale a tensor, a channel, or none.")
]
Precision = Annotated[str, typer.Option(help="Of learned motifs: float16 or float32.")]
Include = Annotated[
    list[str] | None, typer.Option(help="Project only tensors whose name matches this glob.")
]
Exclude = Annotated[
    list[str] | None, typer.Option(help="Project no tensor whose name matches this glob.")
]
Policies = Annotated[str, typer.Option(help="Project all, no-norms or only matrices.")]
Seed = Annotated[int, typer.Option(help="Of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path(
        "out/train"
    ),
    data: Data = "digits",
    folder: Folder = None,
    model: Model = "mlp",
    layers: Layers = 5,
    hidden: Hidden = 256,
    epochs: Epochs = 60,
    batch_size: Batch = 128,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better validation.")
    ] = None,
    learning_rate: Rate = 3e-4,
    weight_decay: Decay = 1e-2,
    bits: Annotated[int | None, typer.Option(help="Quantization-aware training.")] = None,
    momos: Annotated[bool, typer.Option("--momos", help="Project onto a mosaic.")] = False,
    rate: Price = None,
    sparsity: Sparsity = None,
    scale: Scale = None,
    precision: Precision = "float16",
    optimizer: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
    schedule: Annotated[str, typer.Option(help="cosine, cosine-epochs, constant.")] = "cosine",
    block_size: BlockSize = None,
    policy: Policies = "all",
    capacity: Capacity = None,
    motifs: Motifs = None,
    zero_motif: ZeroMotif = True,
    selection: Selection = None,
    include: Include = None,
    exclude: Exclude = None,
    every: Annotated[
        int | None, typer.Option(help="Epochs or steps to the next projection, or refit.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="epoch or step; epoch of sampled motifs.")
    ] = None,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    json: Json = False,
) -> None:
    """Train a bundled model: dense, with --bits quantized, with --momos or --rate as a mosaic."""
    from momos.lab.config import TrainConfig
    from momos.lab.training import train as run

    options = {
        "selection": selection, "block_size": block_size, "motifs": motifs, "capacity": capacity,
        "zero_motif": zero_motif, "rate": rate, "sparsity": sparsity, "scale": scale,
        "precision": precision, "every": every, "unit": unit, "policy": policy,
        "include": include, "exclude": exclude,
    }  # fmt: skip
    projection = _mosaic("epoch", options)
    wanted = momos or projection.is_learned
    if not wanted and projection != _mosaic("epoch", {}):
        raise InputError("options of the projection need --momos, --rate or --sparsity")
    config = TrainConfig(
        data=data,
        folder=str(folder) if folder else None,
        model=model,  # type: ignore[arg-type]  # checked there
        layers=layers,
        hidden=hidden,
        epochs=epochs,
        batch_size=batch_size,
        patience=patience,
        schedule=schedule,  # type: ignore[arg-type]  # checked there
        optimizer=optimizer,  # type: ignore[arg-type]  # checked there
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        bits=bits,
        projection=projection if wanted else None,
        seed=seed,
    )
    with _progress() as progress:
        result = run(config, out, resume=resume, progress=progress)
    files = {name: str(path) for name, path in result.checkpoints.items()}
    if json:
        _print_json({"metrics": result.metrics, "history": result.history, "files": files})
    else:
        _print_values(result.metrics | files)


@app.command()
def study(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path(
        "out/study"
    ),
    data: Data = "digits",
    folder: Folder = None,
    model: Model = "mlp",
    layers: Layers = 5,
    hidden: Hidden = 256,
    epochs: Epochs = 60,
    every: Annotated[int, typer.Option(help="Project every so many epochs.")] = 10,
    seeds: Annotated[int, typer.Option(help="Runs of each arm, with seeds 0, 1, ...")] = 3,
    bits: Annotated[
        list[int] | None, typer.Option(help="A quantized arm each; 4 by default.")
    ] = None,
    capacity: Annotated[
        list[float] | None, typer.Option(help="A mosaic arm each; .001 .01 .05 .1 by default.")
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option(help="A learned mosaic each; .3 by default.")
    ] = None,
    zeros: Annotated[
        list[float] | None,
        typer.Option(help="A learned mosaic with that share of zeros each; none by default."),
    ] = None,
    sparsity: Annotated[
        list[float] | None, typer.Option(help="A pruned rival each; none by default.")
    ] = None,
    learning_rate: Rate = 3e-4,
    weight_decay: Decay = 1e-2,
    block_size: BlockSize = None,
    draws: Annotated[int, typer.Option(help="Shuffles that each figure is compared with.")] = 3,
    threads: Annotated[int | None, typer.Option(help="All cores by default.")] = None,
    json: Json = False,
) -> None:
    """Compare untrained, trained, quantized and mosaic models; finished runs are kept."""
    from momos.lab.config import TrainConfig
    from momos.lab.results import arm_table, arms, measurement_table, records
    from momos.lab.studies import StudyConfig
    from momos.lab.studies import study as run

    base = TrainConfig(
        data=data,
        folder=str(folder) if folder else None,
        model=model,  # type: ignore[arg-type]  # checked there
        layers=layers,
        hidden=hidden,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
    )
    if seeds < 1:
        raise InputError(f"a study needs at least one seed, not {seeds}")
    config = StudyConfig(
        base,
        tuple(range(seeds)),
        zeros=tuple(zeros or ()),
        sparsities=tuple(sparsity or ()),
        block_size=block_size or 4,
        every=every,
        draws=draws,
    )
    if rate:
        config = dataclasses.replace(config, rates=tuple(rate))
    if bits:
        config = dataclasses.replace(config, bits=tuple(bits))
    if capacity:
        config = dataclasses.replace(config, capacities=tuple(capacity))
    with _progress() as progress:
        result = run(config, out, threads=threads, progress=progress)
    files = {name: str(path) for name, path in result.paths.items()}
    if json:
        found = arms(result.table).drop(columns="points")
        measured = records(result.summary)
        _print_json({"arms": records(found), "measurements": measured, "files": files})
        return
    _print_table(measurement_table(result.summary))
    print()
    _print_table(arm_table(result.table))
    print()
    _print_values(files)


@app.command()
def fetch(
    data: Annotated[str, typer.Argument(help="cifar10, fashion-mnist or mnist.")],
    folder: Annotated[Path, typer.Option(help="Where to put the files.")],
) -> None:
    """Fetch the official files of a data set, checked by their hash; those there stay."""
    from momos.lab.datasets import fetch_dataset

    for path in fetch_dataset(data, folder):
        print(path)


@app.command()
def project(
    source: Annotated[str, typer.Argument(help="A checkpoint: file, directory or URL.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mosaic file to write.")],
    block_size: BlockSize = None,
    capacity: Capacity = None,
    motifs: Motifs = None,
    zero_motif: ZeroMotif = True,
    selection: Selection = None,
    rate: Price = None,
    sparsity: Sparsity = None,
    scale: Scale = None,
    precision: Precision = "float16",
    include: Include = None,
    exclude: Exclude = None,
    policy: Policies = "all",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Project a checkpoint's floating-point tensors onto a mosaic, and save that."""
    from momos.sampled.projection import project_checkpoint

    options = {
        "selection": selection, "block_size": block_size, "motifs": motifs, "capacity": capacity,
        "zero_motif": zero_motif, "rate": rate, "sparsity": sparsity, "scale": scale,
        "precision": precision, "policy": policy, "include": include, "exclude": exclude,
    }  # fmt: skip
    config = _mosaic("step", options)
    mosaic, stats = project_checkpoint(source, config, seed)
    path = mosaic.save(output)
    values = {
        **{field.name: getattr(stats, field.name) for field in dataclasses.fields(stats)},
        "skipped": [f"{entry.name} ({entry.reason})" for entry in stats.skipped],
        "description_length": mosaic.description_length(),
        "rac": mosaic.relative_algorithmic_compression(),
        "file_bytes": path.stat().st_size,
        "file": str(path),
    }
    if json:
        _print_json(values)
    else:
        joined = {"skipped": ", ".join(values["skipped"]) or "nothing"}
        notes = {"notes": "; ".join(stats.notes) or "none"}
        _print_values({**values, **joined, **notes})


@app.command()
def expand(
    mosaic: Annotated[Path, typer.Argument(help="A mosaic file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write.")],
    json: Json = False,
) -> None:
    """Turn a mosaic file back into an ordinary safetensors checkpoint, bit for bit."""
    from momos.mosaic.mosaic import Mosaic
    from momos.tensors import save_safetensors

    loaded = Mosaic.load(mosaic)
    path = save_safetensors(output, loaded.state_dict(), {"projected": True})
    values = {
        "tensors": len(loaded.names),
        "weights": loaded.partition.numel,
        "file_bytes": path.stat().st_size,
        "file": str(path),
    }
    _print_json(values) if json else _print_values(values)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    for package in ("torch", "safetensors", "sklearn", "pyarrow"):
        if find_spec(package) is None:
            raise MissingExtraError("momos", package, "momos")


def main() -> None:
    """The console script: runs the command line, turns errors into one line and an exit code."""
    run_app(app, "momos")


def _mosaic(unit: str, options: Mapping[str, Any]) -> MosaicConfig:
    """The configuration that the options ask for; a rate or a sparsity asks for learned motifs."""
    from momos.lab.config import MosaicConfig

    given = {name: value for name, value in options.items() if value is not None}
    learned = "rate" in given or "sparsity" in given
    given.setdefault("selection", "learned" if learned else "sample")
    given.setdefault("unit", "step" if given["selection"] == "learned" else unit)
    for name in ("include", "exclude"):
        given[name] = tuple(given.get(name, ()))
    return MosaicConfig(**given)


# --- printing ---------------------------------------------------------------------------------


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr where that is a terminal; else a line now and then."""
    if sys.stderr.isatty():
        with progress_bar() as progress:
            yield progress
        return
    told = time.monotonic()

    def tell(done: int, total: int, label: str) -> None:
        nonlocal told
        if time.monotonic() - told >= 5:
            told = time.monotonic()
            print(f"{100 * done / total:3.0f} %  {label}", file=sys.stderr, flush=True)

    yield tell


def _print_values(values: Mapping[str, Any]) -> None:
    width = max(map(len, values))
    for name, value in values.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        shown = f"{value:.6g}" if isinstance(value, float) else shown
        print(f"{name.replace('_', ' '):{width}}  {shown}")


def _print_table(rows: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows.columns:
        table.add_column(str(column), overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(Text(str(value)) for value in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=180)
    console.print(table)


def _print_json(document: Any) -> None:
    print(json_module.dumps(document, indent=1))
