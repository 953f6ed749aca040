"""Errors that people read: which file, which tensor, what is wrong, what to do."""

from __future__ import annotations

from typing import Any


class KolmoError(Exception):
    """A failure that a person can act on; the command line prints it as one line.

    Its ``exit_code`` is what the command line exits with. ``report`` holds what was measured
    before the failure, where a run fails halfway.
    """

    exit_code = 1
    report: Any = None


class InputError(KolmoError, ValueError):
    """Bad input or usage: a broken file, an unknown name, a value out of range."""

    exit_code = 2


class NotApplicableError(InputError):
    """An estimator or quantizer cannot take this object; the message says why."""


class NotExpressibleError(InputError):
    """A tensor holds values, such as NaN, that a quantizer has no symbol for."""


class MissingExtraError(KolmoError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""

    exit_code = 2

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}: in a clone of kolmo, run  "
            f"pip install '.[{extra}]'"
        )
