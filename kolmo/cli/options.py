"""Options that several commands share."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from kolmo.checkpoints.selecting import DEFAULT_ROLES
from kolmo.errors import InputError
from kolmo.options import CACHE

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


@dataclasses.dataclass(frozen=True)
class Measuring:
    """The options of every command that measures checkpoints."""

    quantizer: Quantizers = None
    estimator: Estimators = None
    null: Nulls = None
    draws: Draws = 5
    scope: ScopeOption = "both"
    include: Include = None
    exclude: Exclude = None
    role: Roles = None
    seed: Seed = 0
    threads: Threads = None
    dask: Dask = None
    budget: Budget = None
    store: StoreFile = None
    no_store: NoStore = False
    lines: Lines = False
    output: Output = None
    html: Html = None
    json: Json = False
    all_rows: AllRows = False

    @property
    def plan(self) -> dict[str, Any]:
        """What is to be measured, as `kolmo.analyze` takes it."""
        return {
            "quantizers": self.quantizer or None,
            "estimators": self.estimator or None,
            "nulls": self.null or (),
            "draws": self.draws,
            "scope": self.scope,
            "include": self.include or (),
            "exclude": self.exclude or (),
            "roles": self.role or DEFAULT_ROLES,
            "seed": self.seed,
            "threads": self.threads,
            "store": self._store,
            "budget": self.budget,
        }

    @property
    def _store(self) -> str | None:
        if self.no_store and self.store:
            raise InputError("--store names a store, and --no-store forbids one")
        return None if self.no_store else str(self.store or CACHE)


Command = Callable[..., None]


def takes_measuring(scope: str = "both") -> Callable[[Command], Command]:
    """Decorate a command: all of `Measuring` on the command line becomes its ``options``."""
    fields, hints = dataclasses.fields(Measuring), get_type_hints(Measuring, include_extras=True)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            shared = {field.name: given.pop(field.name) for field in fields}
            command(**given, options=Measuring(**shared))

        own = inspect.signature(command, eval_str=True).parameters.values()
        keyword_only = inspect.Parameter.KEYWORD_ONLY
        parameters = [p.replace(kind=keyword_only) for p in own if p.name != "options"]
        for field in fields:
            default = scope if field.name == "scope" else field.default
            annotation = hints[field.name]
            parameters.append(
                inspect.Parameter(field.name, keyword_only, default=default, annotation=annotation)
            )
        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


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
