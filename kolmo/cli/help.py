"""The help of commands: as wide as the terminal, options in groups, examples at the end.

Both command lines have it. Options that name no metavar get one by their type; what may be given
several times says so, and nothing is cut off.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import typer
from typer.core import TyperCommand, TyperGroup

_FEW = 12  # parameters of a command whose options are in one group
_LEAST = 20  # columns that a help takes at least

_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
_BY_NAME = {"integer": "N", "float": "X", "text": "TEXT", "path": "PATH"}

Function = TypeVar("Function", bound=Callable[..., Any])

SETTINGS = {"help_option_names": ["-h", "--help"]}


class Application(typer.Typer):
    """An application whose commands have this help, ``-h``, and examples by their names."""

    def __init__(self, *, help: str, examples: Mapping[str, Sequence[str]], **more: Any) -> None:
        super().__init__(
            cls=Commands,
            help=help,
            context_settings=SETTINGS,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            **more,
        )
        self._examples = examples

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Decorator: a command, by default of the function's name."""

        def decorate(function: Function) -> Function:
            called = name or function.__name__.replace("_", "-")
            epilog = "\n".join(self._examples.get(called, ()))
            settings = {"cls": Command, "context_settings": SETTINGS, "epilog": epilog, **options}
            typer.Typer.command(self, called, **settings)(function)
            return function

        return decorate


class _Told:
    """What commands and groups of commands have in common."""

    def get_help(self: Any, ctx: Any) -> str:
        ctx.terminal_width = max(_LEAST, shutil.get_terminal_size().columns - 1)
        return str(super().get_help(ctx))  # type: ignore[misc]

    def collect_usage_pieces(self: Any, ctx: Any) -> list[str]:
        arguments = [p for p in self.get_params(ctx) if p.param_type_name == "argument"]
        return ["[OPTIONS]", *(_name(p) if p.required else f"[{_name(p)}]" for p in arguments)]

    def format_options(self: Any, ctx: Any, formatter: Any) -> None:
        """Arguments, then the groups of options in the order in which they come, the nameless and
        ``-h`` last; few options are one group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        shown = [p for p in self.get_params(ctx) if not getattr(p, "hidden", False)]
        for parameter in shown:
            heading = _heading(parameter, grouped=len(shown) > _FEW)
            groups.setdefault(heading, []).append(_row(parameter, ctx))
        groups["Options"] = groups.pop("Options", [])
        for heading, rows in groups.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def format_epilog(self: Any, ctx: Any, formatter: Any) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.epilog.splitlines()))


class Command(_Told, TyperCommand):
    """A command with this help."""


class Commands(_Told, TyperGroup):
    """A group of commands with this help, which tells what each is for, whatever its length."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "COMMAND ..."]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first(one.help)) for name, one in found.items() if one])


def _first(text: str | None) -> str:
    """The first paragraph, in one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


# --- parameters -----------------------------------------------------------------------------


def _heading(parameter: Any, grouped: bool) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    named = getattr(parameter, "rich_help_panel", None) if grouped else None
    return named or "Options"


def _row(parameter: Any, ctx: Any) -> tuple[str, str]:
    """A parameter and what it does, with what may be known of it besides in brackets."""
    text = parameter.help or ""
    if parameter.param_type_name == "argument":
        return _name(parameter), text
    marks = [*_default(parameter, ctx)]
    marks += ["repeatable"] if parameter.multiple else []
    marks += ["required"] if parameter.required else []
    return _flags(parameter), f"{text}  [{'; '.join(marks)}]" if marks else text


def _name(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper()
    return f"{name}..." if argument.nargs == -1 else name


def _flags(option: Any) -> str:
    """``-o, --output FILE``; ``--x / --no-x``."""
    shown = " / ".join(", ".join(o) for o in (_sorted(option.opts), option.secondary_opts) if o)
    return shown if option.is_flag else f"{shown} {metavar(option)}"


def _sorted(flags: Sequence[str]) -> list[str]:
    return sorted(flags, key=lambda flag: flag.startswith("--"))


def metavar(option: Any) -> str:
    """What stands for the value of an option in its help."""
    annotation = getattr(getattr(option, "type_descriptor", None), "annotation", None)
    inner = next(iter(get_args(annotation)), annotation)
    named = getattr(getattr(option, "type", None), "name", "")  # as older versions of typer tell
    shown = str(option.metavar or _METAVARS.get(inner) or _BY_NAME.get(named, "VALUE"))
    return f"[{shown}]" if "|" in shown and not shown.startswith("[") else shown


def _default(option: Any, ctx: Any) -> list[str]:
    shown = option.show_default
    value = shown if isinstance(shown, str) else option.get_default(ctx, call=False)
    if not shown or value is None or value in ((), []) or option.is_flag:
        return []
    each = value if isinstance(value, (list, tuple)) else [value]
    return [f"default: {', '.join(map(str, each))}"]


# --- mistakes -------------------------------------------------------------------------------


def told(error: Any) -> str:
    """What a mistake in usage was, in a line; of an option that is not there, close ones."""
    name = getattr(error, "option_name", None)
    if name is None or not hasattr(error, "possibilities"):
        return str(error.format_message())
    context = error.ctx
    known = (
        [flag for p in context.command.get_params(context) for flag in p.opts] if context else []
    )
    close = _close(name, [flag for flag in known if flag.startswith("--")])
    return f"no such option: {name}; {close or '-h lists those that there are'}"


def _close(name: str, known: Sequence[str]) -> str:
    """``did you mean --include?``; empty if none is close, by their letters alone."""
    bare = {flag.lstrip("-"): flag for flag in known}
    given = name.lstrip("-")
    begins = [
        flag for letters, flag in bare.items() if len(given) > 1 and letters.startswith(given)
    ]
    found = begins or [bare[b] for b in difflib.get_close_matches(given, bare, n=2, cutoff=0.65)]
    return f"did you mean {' or '.join(found)}?" if found else ""
