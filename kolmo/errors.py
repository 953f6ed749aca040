"""Errors that people read: which file, which tensor, what is wrong, what to do."""

from __future__ import annotations

from typing import Any, Self

from kolmo.text import printable, without_secrets


class KolmoError(Exception):
    """A failure that a person can act on; the command line prints it as one line.

    Attributes
    ----------
    exit_code : int
        Exit code of the command line.
    report : kolmo.Report or None
        The results before the failure, if a run fails halfway.
    """

    exit_code = 1

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.report: Any = None

    def __str__(self) -> str:
        """One line, whatever names of a file are in it, without what a URL may hide."""
        return without_secrets(printable(super().__str__()))

    def with_report(self, report: Any) -> Self:
        """The same error, with the results that were measured before it."""
        self.report = report
        return self


class InputError(KolmoError, ValueError):
    """Bad input or usage: a broken file, an unknown name, a value out of range."""

    exit_code = 2


class NotApplicableError(InputError):
    """An estimator or quantizer cannot take this object; the message says why."""


class NotExpressibleError(InputError):
    """A tensor holds values, such as NaN, that a quantizer has no symbol for."""


def how_to_install(extra: str) -> str:
    """The command that installs an extra; the package index has another project named kolmo.

    >>> how_to_install("torch")
    "in a clone of kolmo, run  pip install '.[torch]'"
    """
    return f"in a clone of kolmo, run  pip install '.[{extra}]'"


class UnansweredError(InputError):
    """A server cannot be reached, or sends no answer that can be read."""


class MissingExtraError(KolmoError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""

    exit_code = 2

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs the package {package!r}: {how_to_install(extra)}")
        self._needs = what, package, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        return type(self), self._needs


class ContractError(AssertionError):
    """An estimator, a quantizer or a code breaks the contract of its interface (`kolmo.testing`).

    It is an AssertionError, which test runners show as a failure.

    Attributes
    ----------
    subject : str
        The spec or the name of the object that breaks the contract.
    check : str
        The promise that is broken.
    example : str
        The case in which it is broken; empty if it is broken in every case.
    why : str
        The observed result.
    """

    def __init__(self, subject: str, check: str, example: str, why: str) -> None:
        super().__init__(subject, check, example, why)
        self.subject, self.check, self.example, self.why = subject, check, example, why

    def __str__(self) -> str:
        example = f", for {self.example}" if self.example else ""
        return f"{self.subject} breaks {self.check!r}{example}: {self.why}"
