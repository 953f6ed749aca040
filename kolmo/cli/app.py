"""The application itself: errors become one line and an exit code, progress goes to stderr."""

from __future__ import annotations

import os
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from kolmo import __version__
from kolmo.errors import InputError, KolmoError
from kolmo.text import printable

app = typer.Typer(
    help="How complex is a neural network, in bits?",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_INTERRUPTED = 130

# The base of all usage errors; typer carries a click of its own and exports only a subclass.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The console script: runs the command line, turns errors into one line and an exit code."""
    run_app(app, "kolmo")


def run_app(application: typer.Typer, name: str) -> None:
    """Run a command line so that every error and every warning is one line on stderr, and exit."""
    warnings.formatwarning = lambda message, *_: f"{name}: warning: {printable(str(message))}\n"
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack a character that a name has
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = application(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()  # a closed pipe shows here, not when Python exits
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except _USAGE_ERROR as error:
        _complain(name, error.format_message())
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KolmoError as error:
        _complain(name, str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        _complain(name, str(error))
        sys.exit(1)
    except Exception as error:
        if os.environ.get("KOLMO_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        _complain(name, f"internal failure, {what} (KOLMO_DEBUG=1 shows where)")
        sys.exit(1)
    if code == _INTERRUPTED:  # typer turns Ctrl-C into this, or raises Abort
        _complain(name, "interrupted")
    sys.exit(code if isinstance(code, int) else 0)


def _complain(name: str, message: str) -> None:
    print(f"{name}: error: {printable(' '.join(message.split()))}", file=sys.stderr)


def print_json(document: Any) -> None:
    import json

    print(json.dumps(document, indent=1))


def make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be a directory ({error.strerror})") from None
