"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kolmo.cli import completing

MEASURING, CHOOSING, RUNNING, SHOWING = "Measurement", "Selection", "Running", "Output"
"""Headings of the options in the help of a command that has many."""


def option(*names: str, help: str, metavar: str = "", under: str | None = None, **more: Any) -> Any:
    """An option, its help, what stands for its value, and the heading it is under."""
    return typer.Option(*names, help=help, metavar=metavar or None, rich_help_panel=under, **more)


def choice(*names: str, of: Sequence[str], help: str, under: str | None = None) -> Any:
    """An option that is one of a few words, which its help shows and a shell offers."""
    offered, shown = completing.one_of(of), f"[{'|'.join(of)}]"
    return option(*names, help=help, metavar=shown, under=under, autocompletion=offered)


Quantizers = Annotated[
    list[str] | None,
    option(
        "--quantizer", "-q",
        help="native, sign, symmetric:B, affine:B, codebook:K, nmse:D; see `kolmo estimators`.",
        metavar="SPEC", under=MEASURING, autocompletion=completing.quantizers,
    ),
]  # fmt: skip
Estimators = Annotated[
    list[str] | None,
    option(
        "--estimator", "-e",
        help="An estimator's spec, such as kt or zstd:19@shuffle; see `kolmo estimators`.",
        metavar="SPEC", under=MEASURING, autocompletion=completing.estimators,
    ),
]  # fmt: skip
Nulls = Annotated[
    list[str] | None,
    option(
        "--null",
        help="shuffled, row-shuffled, column-shuffled, scaled, signs, gaussian, uniform, "
        "inits:GLOB, inits:RECIPE,N or reference:PATH; auto, the default, tests structure on a "
        "sample; none.",
        metavar="SPEC", under=MEASURING, autocompletion=completing.nulls,
    ),
]  # fmt: skip
Draws = Annotated[
    int,
    option(help="Draws of each random null; p-values need 39.", metavar="N", under=MEASURING),
]
ScopeOption = Annotated[
    str,
    choice(
        of=("tensor", "model", "both"), help="Single tensors, the whole, or both.", under=MEASURING
    ),
]
Include = Annotated[
    list[str] | None,
    option(help="Only tensors whose name matches this glob.", metavar="GLOB", under=CHOOSING),
]
Exclude = Annotated[
    list[str] | None,
    option(help="No tensor whose name matches this glob.", metavar="GLOB", under=CHOOSING),
]
Roles = Annotated[
    list[str] | None,
    option(
        "--role",
        help="Arrays of this role (weight by default): weight, book-keeping, buffer, "
        "optimizer, copy or other.",
        metavar="ROLE", under=CHOOSING, autocompletion=completing.roles,
    ),
]  # fmt: skip
PackedRoles = Annotated[
    list[str] | None,
    option(
        "--role",
        help="Arrays of this role; what a model is loaded from by default: weight, "
        "book-keeping, buffer, copy.",
        metavar="ROLE", under=CHOOSING, autocompletion=completing.roles,
    ),
]  # fmt: skip
Seed = Annotated[int, option(help="Of the nulls' random draws.", metavar="N", under=MEASURING)]
Threads = Annotated[int | None, option(help="All cores by default.", metavar="N", under=RUNNING)]
Budget = Annotated[
    str | None,
    option(
        help="A time such as 30s, 5m or 1h: what fits it is measured whole, the rest on samples "
        "with their errors, or left out.",
        metavar="TIME", under=RUNNING,
    ),
]  # fmt: skip
StoreFile = Annotated[
    Path | None,
    option(
        "--store",
        help="The store of results; by default in the user's cache folder.",
        metavar="FILE", under=RUNNING,
    ),
]  # fmt: skip
NoStore = Annotated[
    bool,
    option(
        "--no-store", help="Look nothing up in a store of results, keep nothing.", under=RUNNING
    ),
]
Dask = Annotated[
    str | None,
    option(
        help="Measure on a Dask cluster: a scheduler's address, or local:N processes.",
        metavar="ADDRESS", under=RUNNING,
    ),
]  # fmt: skip
Lines = Annotated[
    bool,
    option(
        "--lines", help="Print a line for each tensor as soon as it is measured.", under=SHOWING
    ),
]
Output = Annotated[
    Path | None,
    option(
        "--output", "-o",
        help="Save the report: .parquet, .csv or .json.", metavar="FILE", under=SHOWING,
    ),
]  # fmt: skip
Html = Annotated[
    Path | None,
    option(help="Write a page with figures and tables.", metavar="FILE", under=SHOWING),
]
Overwrite = Annotated[
    bool,
    option(
        "--overwrite",
        help="Replace another file at the output; one that is read never is.",
        under=SHOWING,
    ),
]
FailIf = Annotated[
    list[str] | None,
    option(
        "--fail-if",
        help="Exit with code 1 if a row of the table is so, of whole models unless the condition "
        "names scope or tensor: 'bits_per_weight > 8', 'kind == bound and bits > null_bits'.",
        metavar="CONDITION", under=SHOWING,
    ),
]  # fmt: skip
Json = Annotated[
    bool, option("--json", help="Print one JSON document, nothing else.", under=SHOWING)
]
Container = Annotated[
    str, typer.Argument(help="A container that kolmo pack wrote, or its URL.", metavar="FILE.kmo")
]
MaxBytes = Annotated[
    int | None,
    option(
        help="What it may expand to; 1,024 times its size by default, at least 256 MiB.",
        metavar="BYTES", under=RUNNING,
    ),
]  # fmt: skip
Layers = Annotated[
    bool,
    option("--layers", help="Print a line for each layer: kind, bits, verdict.", under=SHOWING),
]
AllRows = Annotated[bool, option("--all", help="Print the rows of every tensor.", under=SHOWING)]
