"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quantizers = Annotated[
    list[str] | None,
    typer.Option("--quantizer", "-q", help="native, sign, symmetric:B, affine:B, codebook:K."),
]
Estimators = Annotated[
    list[str] | None,
    typer.Option("--estimator", "-e", help="An estimator's spec; see `kolmo estimators`."),
]
Nulls = Annotated[
    list[str] | None,
    typer.Option(
        "--null",
        help="shuffled, row-shuffled, column-shuffled, scaled, signs, gaussian, uniform, "
        "inits:GLOB, inits:RECIPE,N or reference:PATH.",
    ),
]
Draws = Annotated[int, typer.Option(help="Draws of each random null; p-values need 39.")]
ScopeOption = Annotated[str, typer.Option(help="tensor, model or both.")]
Include = Annotated[
    list[str] | None, typer.Option(help="Only tensors whose name matches this glob.")
]
Exclude = Annotated[list[str] | None, typer.Option(help="No tensor whose name matches this glob.")]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        help="Measure arrays of this role (weight by default): weight, book-keeping, buffer, "
        "optimizer, copy or other.",
    ),
]
PackedRoles = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        help="Pack arrays of this role; what a model is loaded from by default: weight, "
        "book-keeping, buffer, copy.",
    ),
]
Seed = Annotated[int, typer.Option(help="Of the nulls' random draws.")]
Threads = Annotated[int | None, typer.Option(help="All cores by default.")]
Budget = Annotated[
    str | None,
    typer.Option(
        help="A time such as 30s, 5m or 1h: what fits it is measured whole, the rest on samples "
        "with their errors, or left out."
    ),
]
StoreFile = Annotated[
    Path | None,
    typer.Option("--store", help="The store of results; by default in the user's cache folder."),
]
NoStore = Annotated[
    bool, typer.Option("--no-store", help="Look nothing up in a store of results, keep nothing.")
]
Dask = Annotated[
    str | None,
    typer.Option(help="Measure on a Dask cluster: a scheduler's address, or local:N processes."),
]
Lines = Annotated[
    bool, typer.Option("--lines", help="Print a line for each tensor as soon as it is measured.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Save the report: .parquet, .csv or .json.")
]
Html = Annotated[Path | None, typer.Option(help="Write a page with figures and tables.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
Container = Annotated[Path, typer.Argument(help="A container that kolmo pack wrote.")]
MaxBytes = Annotated[
    int | None,
    typer.Option(help="What it may expand to; 1,024 times its size by default, at least 1 GiB."),
]
AllRows = Annotated[bool, typer.Option("--all", help="Print the rows of every tensor.")]
