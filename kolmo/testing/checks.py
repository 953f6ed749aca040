"""What a check is: a function of a subject and a case, which says what is wrong by `require`."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from kolmo.errors import ContractError, MissingExtraError

Subject = TypeVar("Subject")
Holds = Callable[[Subject, Any], None]

PATIENCE = 60.0
"""Seconds after which a call that should take milliseconds is taken to hang."""


class Broken(AssertionError):
    """What `require` raises; the check that runs adds who broke what, and for which case."""


def require(holds: bool, why: str) -> None:
    """Say what is wrong, unless it holds; never left out, as ``assert`` is under ``python -O``."""
    if not holds:
        raise Broken(why)


@dataclasses.dataclass(frozen=True)
class Check(Generic[Subject]):
    """One promise of a contract, tried on some cases; called with a subject or its spec.

    Attributes
    ----------
    name : str
        The promise, in words.
    holds : callable
        Raises where a subject breaks it for a case.
    cases : sequence
        What it is tried on, each with words of its own (``str``); one empty one where the promise
        is of the subject alone.
    find : callable
        The subject of a spec.
    """

    name: str
    holds: Holds[Subject]
    cases: Sequence[Any]
    find: Callable[[Any], Subject]

    def __call__(self, subject: Any) -> None:
        found = self.find(subject)
        for case in self.cases:
            self._try(found, case)

    def _try(self, subject: Subject, case: Any) -> None:
        try:
            self.holds(subject, case)
        except MissingExtraError:
            raise
        except Broken as error:
            self._blame(subject, case, str(error), error)
        except Exception as error:
            self._blame(subject, case, f"{type(error).__name__}: {error}", error)

    def _blame(self, subject: Subject, case: Any, why: str, error: Exception) -> NoReturn:
        name = subject_name(subject)
        raise ContractError(name, self.name, str(case), why) from error


def subject_name(subject: Any) -> str:
    """The spec of an estimator or a quantizer, the name of a code."""
    text = str(subject)
    return str(getattr(subject, "name", text)) if text.startswith("<") else text


class Suite(Generic[Subject]):
    """The checks of a contract, in order."""

    def __init__(self, find: Callable[[Any], Subject]) -> None:
        self._find = find
        self._checks: list[Check[Subject]] = []

    def check(
        self, name: str, cases: Sequence[Any] = ("",)
    ) -> Callable[[Holds[Subject]], Holds[Subject]]:
        """Decorator: make a function a check."""

        def add(holds: Holds[Subject]) -> Holds[Subject]:
            self._checks.append(Check(name, holds, cases, self._find))
            return holds

        return add

    def named(self) -> list[tuple[str, Callable[[Any], None]]]:
        """Each check with its name."""
        return [(check.name, check) for check in self._checks]

    def run(self, subject: Any) -> None:
        """All checks; the first that fails raises."""
        for check in self._checks:
            check(subject)


def without_hanging(call: Callable[[], None]) -> None:
    """Make a call on a thread of its own, which is left behind if it does not end."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    require(not thread.is_alive(), f"it has not ended after {PATIENCE:g} seconds")
    if errors:
        raise errors[0]
