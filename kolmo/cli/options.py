"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kolmo.errors import InputError

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
        help="shuffled, row-shuffled, column-shuffled, gaussian, uniform or reference:PATH.",
    ),
]
Draws = Annotated[int, typer.Option(help="Draws of each random null; p-values need 39.")]
ScopeOption = Annotated[str, typer.Option(help="tensor, model or both.")]
Include = Annotated[
    list[str] | None, typer.Option(help="Only tensors whose name matches this glob.")
]
Exclude = Annotated[list[str] | None, typer.Option(help="No tensor whose name matches this glob.")]
Seed = Annotated[int, typer.Option(help="Of the nulls' random draws.")]
Threads = Annotated[int | None, typer.Option(help="All cores by default.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Save the report: .parquet, .csv or .json.")
]
Html = Annotated[Path | None, typer.Option(help="Write a page with figures and tables.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
AllRows = Annotated[bool, typer.Option("--all", help="Print the rows of every tensor.")]


def gather_options(
    quantizers: list[str] | None,
    estimators: list[str] | None,
    nulls: list[str] | None,
    draws: int,
    scope: str,
    include: list[str] | None,
    exclude: list[str] | None,
    seed: int,
    threads: int | None,
) -> dict[str, Any]:
    return {
        "quantizers": quantizers or None,
        "estimators": estimators or None,
        "nulls": nulls or (),
        "draws": draws,
        "scope": scope,
        "include": include or (),
        "exclude": exclude or (),
        "seed": seed,
        "threads": threads,
    }


def name_sources(sources: list[str]) -> dict[str, str]:
    """Sources by the stem of their path, or by the whole path where stems coincide."""
    twice = next((source for source in sources if sources.count(source) > 1), None)
    if twice:
        raise InputError(
            f"{twice!r} is named twice; to measure it twice: kolmo compare A=... B=..."
        )
    stems = [Path(source.rstrip("/")).name.split(".")[0] or source for source in sources]
    names = [s if stems.count(s) == 1 else source for s, source in zip(stems, sources, strict=True)]
    return dict(zip(names, sources, strict=True))
