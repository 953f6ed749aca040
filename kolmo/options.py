"""The options of a measuring run, in one place for every function that takes them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from kolmo import specs
from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import survey
from kolmo.checkpoints.selecting import DEFAULT_ROLES, choose, get_roles
from kolmo.engine.session import Each
from kolmo.errors import InputError
from kolmo.estimators.base import Estimator
from kolmo.execution import Progress
from kolmo.nulls import Null
from kolmo.progress import Wanted, progress_bar
from kolmo.quantize import Quantizer
from kolmo.store import RunMemory, open_store

CACHE = "cache"
"""The store of results in the user's cache folder, or where ``KOLMO_STORE`` says."""

AUTO = "auto"
"""In the place of nulls: the test of structure that a run makes by itself."""

Scope = Literal["tensor", "model", "both"]
SCOPES: tuple[Scope, ...] = ("tensor", "model", "both")

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Options(TypedDict, total=False):
    """The keyword arguments of `kolmo.analyze`, `compare`, `delta` and `trajectory`; the docstring
    of `kolmo.analyze` says what each is."""

    quantizers: str | Quantizer | Sequence[str | Quantizer] | None
    estimators: str | Estimator | Sequence[str | Estimator] | None
    nulls: str | Null | Sequence[str | Null] | None
    draws: int
    scope: Scope
    include: str | Sequence[str]
    exclude: str | Sequence[str]
    roles: str | Sequence[str | Role]
    seed: int
    threads: int | None
    executor: Executor | None
    store: str | Path | None
    budget: float | str | None
    progress: Wanted
    each: Each | None


@dataclasses.dataclass(frozen=True)
class Settings:
    """`Options` with their defaults, checked."""

    quantizers: Sequence[str | Quantizer] | None = None
    estimators: Sequence[str | Estimator] | None = None
    nulls: Sequence[str | Null] | None = None
    draws: int = 5
    scope: Scope = "both"
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    roles: Sequence[str | Role] = DEFAULT_ROLES
    seed: int = 0
    threads: int | None = None
    executor: Executor | None = None
    store: str | Path | None = CACHE
    budget: float | str | None = None
    progress: Wanted = None
    each: Each | None = None

    @classmethod
    def of(cls, options: Options) -> Settings:
        """The settings that these options make; InputError where one does not fit."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise specs.unknown("option", name, known)
        given: dict[str, Any] = {**options}
        return cls(**{name: _several(value, name) for name, value in given.items()})

    def __post_init__(self) -> None:
        get_roles(self.roles)
        if self.scope not in SCOPES:
            raise specs.unknown("scope", self.scope, SCOPES)
        for name, least in (("draws", 1), ("seed", 0), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} must be at least {least}, not {value}")

    @property
    def tests(self) -> bool:
        """Whether structure is tested by itself: where it is asked for, and where neither nulls nor
        estimators are named, and no time is set."""
        if self.nulls is not None:
            return list(self.nulls) == [AUTO]
        return self.estimators is None and self.budget is None

    @property
    def named_nulls(self) -> Sequence[str | Null]:
        """The nulls that every measurement is compared with."""
        return () if self.nulls is None or self.tests else self.nulls

    def progress_bar(self) -> AbstractContextManager[Progress]:
        """Where to tell how far the run has come, while it lasts."""
        return progress_bar(self.progress)

    def open_memory(self) -> RunMemory | nullcontext[None]:
        """What the run recalls and keeps; nothing if there is to be no store."""
        store = open_store(None if self.store == CACHE else self.store) if self.store else None
        return RunMemory(store) if store and store.path else nullcontext()

    def open(self, source: Any) -> Checkpoint:
        """The tensors of a source that are to be measured; InputError if there are none."""
        return choose(survey(source), self.roles, self.include, self.exclude)


_LISTS = {"quantizers", "estimators", "nulls", "include", "exclude", "roles"}


def _several(value: Any, name: str) -> Any:
    """A list where there may be several, and one was given; None for the default."""
    return specs.several(value) if name in _LISTS and value is not None else value


def takes_options(function: _Function) -> _Function:
    """Decorate a function of ``**options``: each option shows in its signature, so that help()
    and completion list them. Calls are as before."""
    own = list(inspect.signature(function).parameters.values())
    shown = [parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD]
    shown += [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default,
                          annotation=f.type)
        for f in dataclasses.fields(Settings)
    ]  # fmt: skip
    function.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return function
