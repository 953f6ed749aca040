"""kolmo calibrate: measure the estimators themselves, on objects of known complexity."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import kolmo
from kolmo.cli import completing
from kolmo.cli.app import app
from kolmo.cli.options import RUNNING, SHOWING, Json, Overwrite, Seed, option
from kolmo.console import make_console
from kolmo.errors import KolmoError
from kolmo.execution import cores
from kolmo.progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from kolmo.calibration import CalibrationResult


@app.command()
def calibrate(
    estimator: Annotated[
        list[str] | None,
        option(
            "--estimator",
            "-e",
            help="All by default.",
            metavar="SPEC",
            autocompletion=completing.estimators,
        ),
    ] = None,
    null: Annotated[
        list[str] | None,
        option(
            help="Of which false positives are counted; all by default.",
            metavar="SPEC",
            autocompletion=completing.nulls,
        ),
    ] = None,
    family: Annotated[
        list[str] | None,
        option(help="Of objects of known complexity; all by default.", metavar="NAME"),
    ] = None,
    quick: Annotated[
        bool, option("--quick", help="Seconds, with few trials, rather than minutes.")
    ] = False,
    seed: Seed = 0,
    workers: Annotated[
        int | None, option(help="Processes; all cores by default.", metavar="N", under=RUNNING)
    ] = None,
    output: Annotated[
        list[Path] | None,
        option(
            "--output",
            "-o",
            help="Save: .csv, .parquet or .json, a page as .md, a figure as .png, .svg or .pdf.",
            metavar="FILE",
            under=SHOWING,
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Which estimator sees what: measure them on objects of known complexity.

    With -o every step is kept beside the first file, so that a run that is cut goes on.
    """
    from kolmo.calibration.result import check_calibration_output  # which imports pandas

    for path in output or ():
        check_calibration_output(path, overwrite)
    journal = Path(f"{output[0]}.journal") if output else None
    with _announce_journal(journal), progress_bar(True) as progress:
        result = kolmo.calibrate(
            estimator or None,
            nulls=null or None,
            families=family or None,
            effort="quick" if quick else "full",
            seed=seed,
            workers=cores() if workers is None else workers,
            journal=journal,
            progress=progress,
        )
    for path in output or ():
        result.save(path, overwrite=overwrite)
        print(f"wrote {path}", file=sys.stderr)
    if json:
        print(result.to_json())
    else:
        show(result)
    failed = result.settings.get("failed")
    if failed:
        raise KolmoError(f"{', '.join(failed)} failed; everything else was calibrated")


@contextmanager
def _announce_journal(journal: Path | None) -> Iterator[None]:
    """Print which journal a run continues, and which one keeps the work of an interrupted run."""
    if journal and journal.exists():
        print(f"going on from {journal}", file=sys.stderr)
    try:
        yield
    finally:  # a finished run leaves no journal
        if journal and journal.exists():
            print(f"{journal} keeps what is done; the same command goes on", file=sys.stderr)


def show(result: CalibrationResult) -> None:
    """Print which estimator sees what, then the summary."""
    console = make_console()
    console.print(_table(result))
    legend = "✓ told from its null, – at times, ✗ never; the figure is bits / known bits"
    console.print(f"\n{legend}\n", result.summary(), sep="\n", markup=False, soft_wrap=True)


def _table(result: CalibrationResult) -> Table:
    from rich.table import Table

    from kolmo.calibration.words import grid  # which imports pandas

    cells = grid(result)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("estimator", no_wrap=True)
    for family in cells.columns:
        table.add_column(str(family), no_wrap=True)
    for name, row in cells.iterrows():
        table.add_row(str(name), *map(str, row))
    return table
