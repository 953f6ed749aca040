"""Texts of the command line into numbers and paths, without what typer would import for it.

Typer, from version 0.29 on, has pydantic check every argument: to import it takes longer than all
else before a small checkpoint is opened. The arguments here are texts, integers, paths and flags.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import typer

_MAKERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    int: (int, "integer"),
    Path: (Path, "path"),
    bool: (bool, "flag"),
}


def coerce_plainly(command: Any) -> None:
    """Let the parameters of a command, and of those below it, coerce what is given themselves;
    those of other types are left to typer, and all of them in its older versions."""
    for parameter in _parameters(command):
        descriptor = getattr(parameter, "type_descriptor", None)
        annotation = getattr(descriptor, "annotation", None)
        inner = next(iter(get_args(annotation)), annotation)
        if inner in _MAKERS and annotation in (inner, list[inner]):  # type: ignore[valid-type]
            parameter._runtime_param = _Plain(*_MAKERS[inner])


def _parameters(command: Any) -> Iterator[Any]:
    yield from command.get_params(typer.Context(command, **command.context_settings))  # and --help
    for below in getattr(command, "commands", {}).values():
        yield from _parameters(below)


@dataclasses.dataclass(frozen=True)
class _Plain:
    """What typer asks for the value of a parameter."""

    make: Callable[[str], Any]
    noun: str

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """A value, or a list of values; typer's own error for one that cannot be made."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        try:
            return [self.make(each) for each in value] if several else self.make(value)
        except ValueError:
            text = f"{value!r} is not a valid {self.noun}"
            raise typer.BadParameter(text, ctx=ctx, param=param) from None
