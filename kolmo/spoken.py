"""How a reader is told to set an option: as an argument of a function, or on a command line.

The command line says so once, for the process (`in_shell`); everywhere else it is Python that is
spoken. Texts that are kept, such as the notes of a table, name options by their bare names, which
are the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SINGULAR = {"quantizers": "quantizer", "estimators": "estimator", "nulls": "null", "roles": "role"}
"""Lists in Python; options that are given several times in a shell."""

_is_shell = False


@contextmanager
def in_shell() -> Iterator[None]:
    """While this lasts, options are spelled as on a command line.

    >>> with in_shell():
    ...     option("draws", 39)
    '--draws 39'
    """
    global _is_shell
    before, _is_shell = _is_shell, True
    try:
        yield
    finally:
        _is_shell = before


def is_shell() -> bool:
    """Whether it is a command line that is spoken to."""
    return _is_shell


def option(name: str, value: Any = None) -> str:
    """An option with its value, as the reader of this process writes it.

    Parameters
    ----------
    name : str
        The keyword of the Python function.
    value : optional
        Any that prints as one word; True of a switch, None to name the option alone.

    Examples
    --------
    >>> option("draws", 39), option("nulls", "shuffled"), option("exclude")
    ('draws=39', 'nulls="shuffled"', 'exclude')
    >>> with in_shell():
    ...     option("nulls", "shuffled"), option("exclude"), option("thorough", True)
    ('--null shuffled', '--exclude', '--thorough')
    """
    if _is_shell:
        flag = f"--{_SINGULAR.get(name, name).replace('_', '-')}"
        return flag if value is None or value is True else f"{flag} {value}"
    shown = f'"{value}"' if isinstance(value, str) else value
    return name if value is None else f"{name}={shown}"


def options(**values: Any) -> str:
    """Several options with their values.

    >>> options(nulls="shuffled", draws=39)
    'nulls="shuffled", draws=39'
    >>> with in_shell():
    ...     options(nulls="shuffled", draws=39)
    '--null shuffled --draws 39'
    """
    parts = (option(name, value) for name, value in values.items())
    return (" " if _is_shell else ", ").join(parts)


def command(name: str, package: str = "kolmo") -> str:
    """A function of a package, or the command of the same name.

    >>> command("trajectory")
    'kolmo.trajectory'
    >>> with in_shell():
    ...     command("trajectory")
    'kolmo trajectory'
    """
    return f"{package} {name}" if _is_shell else f"{package}.{name}"
