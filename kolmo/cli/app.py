"""The application itself: errors become one line and an exit code, progress goes to stderr."""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from kolmo import __version__
from kolmo.cli.coercing import coerce_plainly
from kolmo.cli.examples import EXAMPLES
from kolmo.cli.help import Application, told
from kolmo.cli.signals import Ending, orderly
from kolmo.cli.streams import prepare_streams
from kolmo.errors import KolmoError
from kolmo.execution import rare_collections
from kolmo.spoken import in_shell
from kolmo.text import printable

COMMANDS = {
    "analyze": "Measure checkpoints, tensor by tensor and as a whole.",
    "calibrate": "Which estimator sees what: measure them on known objects.",
    "compare": "Measure several checkpoints in the same way, in one table.",
    "curve": "Code length against distortion, each point a file that decodes.",
    "delta": "Measure what a tuned checkpoint costs once its base is known.",
    "demo": "Measure three small networks that come with kolmo.",
    "estimators": "List the estimators and quantizers.",
    "inspect": "List what is in a source, from its header.",
    "pack": "Write a checkpoint as the shortest file, checked by decoding it.",
    "plot": "Draw the figures of a saved report.",
    "simplify": "Write the smallest file of a network that still does the same.",
    "store": "Look after the results that are kept.",
    "trajectory": "Measure a series of checkpoints, step by step.",
    "unpack": "Write the weights of a container as safetensors.",
    "verify": "Check a container by decoding it, and against its source.",
}
"""The commands, by the names of their modules, which are imported when they are called."""


_HELP = "How complex is a neural network, in bits?"

app = Application(help=_HELP, examples=EXAMPLES)

_INTERRUPTED = 130

# The base of all usage errors; typer carries a click of its own and exports only a subclass.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]

_TOLD: Any = (_USAGE_ERROR, KolmoError, OSError, MemoryError, Warning)  # one, where they are errors


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The console script: runs the command line, turns errors into one line and an exit code."""
    with rare_collections():  # what is imported stays
        run_app(_application(_words()), "kolmo")


def _words() -> list[str]:
    """The words of the command line; those typed so far where a shell asks what may follow."""
    typed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return typed.split()[1:] if "_KOLMO_COMPLETE" in os.environ else sys.argv[1:]


def _application(words: Iterable[str]) -> Application:
    """The application with the command that is called imported; if none is, one that knows no more
    of each than its name and what it is for."""
    called = next((word for word in words if not word.startswith("-")), None)
    if called in COMMANDS:
        import_module(f"kolmo.cli.{called}")
        return app
    listing = Application(help=_HELP, examples={})
    listing.callback(invoke_without_command=True)(root)
    for name, line in COMMANDS.items():
        listing.command(name, help=line)(_named_only)
    return listing


def _named_only() -> None:
    """Stands for a command that is listed, not called."""


def run_app(application: typer.Typer, name: str) -> None:
    """Run a command line so that every error and every warning is one line on stderr, and exit."""
    atexit.register(gc.freeze)  # a process that ends need not search all it holds for garbage
    warnings.formatwarning = lambda message, *_: f"{name}: warning: {printable(str(message))}\n"
    with orderly() as ending:
        code = _code_of(application, name, ending)
    sys.exit(code)


def _code_of(application: typer.Typer, name: str, ending: Ending) -> int:
    """The exit code of the command line, once it has run."""
    try:
        prepare_streams()
        command: Any = typer.main.get_command(application)
        coerce_plainly(command)
        arguments = sys.argv[1:] or ["--help"]
        with in_shell():
            code = command(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()  # a closed pipe or a full disk shows here, not when Python exits
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except Exception as error:
        if os.environ.get("KOLMO_DEBUG") and not isinstance(error, _TOLD):
            raise
        if not (ending.came and isinstance(error, OSError)):  # of a terminal that is gone
            return _failed(name, error)
        code = _INTERRUPTED
    if code == _INTERRUPTED:  # typer turns Ctrl-C into this, or raises Abort
        _complain(name, ending.word)
        return ending.code
    return code if isinstance(code, int) else 0


def _failed(name: str, error: Exception) -> int:
    """Say what is wrong, in one line; gives the exit code."""
    if isinstance(error, _USAGE_ERROR):
        _complain(name, told(error))
        return 2
    if isinstance(error, OSError) and error.filename is None:  # that of the output
        _drop_output()
    if isinstance(error, BrokenPipeError):  # whoever reads has read enough
        return 1
    if isinstance(error, MemoryError):
        told_of = f": {error}" if str(error) else ""
        _complain(name, f"memory ran out{told_of}; give the process more, or measure less at once "
                        "(--threads 1, --include)")  # fmt: skip
    elif isinstance(error, _TOLD):
        _complain(name, str(error))
    else:
        what = f"{type(error).__name__}: {error}"
        _complain(name, f"internal failure, {what} (KOLMO_DEBUG=1 shows where)")
    return error.exit_code if isinstance(error, KolmoError) else 1


def _drop_output() -> None:
    """Let what is still to be printed go nowhere, so that Python's exit tells no second error."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:  # of a stream without a descriptor
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _complain(name: str, message: str) -> None:
    print(f"{name}: error: {printable(' '.join(message.split()))}", file=sys.stderr)


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=1))
