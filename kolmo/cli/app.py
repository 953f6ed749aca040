"""The application itself: errors become one line and an exit code, progress goes to stderr."""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from kolmo import __version__
from kolmo.cli.coercing import coerce_plainly
from kolmo.cli.examples import EXAMPLES
from kolmo.cli.help import Application, told
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
    _end_as_interrupted()
    warnings.formatwarning = lambda message, *_: f"{name}: warning: {printable(str(message))}\n"
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack a character that a name has
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        command: Any = typer.main.get_command(application)
        coerce_plainly(command)
        arguments = sys.argv[1:] or ["--help"]
        with in_shell():
            code = command(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()  # a closed pipe shows here, not when Python exits
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except _USAGE_ERROR as error:
        _complain(name, told(error))
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


def _end_as_interrupted() -> None:
    """End on SIGTERM, which containers and batch systems send, as on Ctrl-C: nothing half-written
    stays, and what is done is kept."""
    owner = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a worker that this process has forked
            os._exit(128 + number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)


def _complain(name: str, message: str) -> None:
    print(f"{name}: error: {printable(' '.join(message.split()))}", file=sys.stderr)


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=1))
