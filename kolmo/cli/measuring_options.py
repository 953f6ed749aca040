"""The options of the commands that measure checkpoints."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from kolmo.cli.options import (
    AllRows,
    Budget,
    Dask,
    Draws,
    Estimators,
    Exclude,
    FailIf,
    Html,
    Include,
    Json,
    Layers,
    Lines,
    NoStore,
    Nulls,
    Output,
    Overwrite,
    Quantizers,
    Roles,
    ScopeOption,
    Seed,
    StoreFile,
    Threads,
)
from kolmo.errors import InputError


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
    overwrite: Overwrite = False
    fail_if: FailIf = None
    json: Json = False
    all_rows: AllRows = False
    layers: Layers = False

    @property
    def plan(self) -> dict[str, Any]:
        """What is to be measured, as `kolmo.analyze` takes it: what is given, no defaults."""
        given: dict[str, Any] = {
            "quantizers": self.quantizer or None,
            "estimators": self.estimator or None,
            "nulls": self._nulls,
            "draws": self.draws,
            "scope": self.scope,
            "include": self.include or None,
            "exclude": self.exclude or None,
            "roles": self.role or None,
            "seed": self.seed,
            "threads": self.threads,
            "budget": self.budget,
        }
        known = {name: value for name, value in given.items() if value is not None}
        return {**known, **self._store}

    @property
    def _nulls(self) -> list[str] | None:
        """What `kolmo.analyze` takes; None where nothing is named."""
        alone = next((null for null in self.null or () if null in ("none", "auto")), None)
        if self.null and alone and len(self.null) > 1:
            raise InputError(f"--null {alone} takes no other null beside it")
        return [] if alone == "none" else self.null or None

    @property
    def _store(self) -> dict[str, str | None]:
        if self.no_store and self.store:
            raise InputError("--store names a store, and --no-store forbids one")
        if self.no_store:
            return {"store": None}
        return {"store": str(self.store)} if self.store else {}


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
