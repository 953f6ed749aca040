"""The command line: arguments in, tables out; no logic."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kolmo import __version__
from kolmo.errors import InputError, KolmoError
from kolmo.specs import unknown
from kolmo.text import printable

if TYPE_CHECKING:
    from kolmo.report import Report

app = typer.Typer(
    help="How complex is a neural network, in bits?",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_INTERRUPTED = 130
_PLAIN_PAUSE = 30.0  # seconds between lines of progress, where there is no terminal

# The base of all usage errors; typer carries a click of its own and exports only a subclass.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]

Quantizers = Annotated[
    list[str] | None,
    typer.Option("--quantizer", "-q", help="native, sign, symmetric:B, affine:B, codebook:K."),
]
Estimators = Annotated[
    list[str] | None,
    typer.Option("--estimator", "-e", help="An estimator's spec; see `kolmo estimators`."),
]
Nulls = Annotated[
    list[str] | None,
    typer.Option("--null", help="shuffled, gaussian, uniform or reference:PATH."),
]
Draws = Annotated[int, typer.Option(help="Draws of each random null.")]
ScopeOption = Annotated[str, typer.Option(help="tensor, model or both.")]
Include = Annotated[
    list[str] | None, typer.Option(help="Only tensors whose name matches this glob.")
]
Exclude = Annotated[list[str] | None, typer.Option(help="No tensor whose name matches this glob.")]
Seed = Annotated[int, typer.Option(help="Of the nulls' random draws.")]
Threads = Annotated[int | None, typer.Option(help="All cores by default.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Save the report: .parquet, .csv or .json.")
]
Html = Annotated[Path | None, typer.Option(help="Write a page with figures and tables.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
AllRows = Annotated[bool, typer.Option("--all", help="Print the rows of every tensor.")]


@app.command()
def analyze(
    sources: Annotated[list[str], typer.Argument(help="Files, directories or URLs.")],
    quantizer: Quantizers = None,
    estimator: Estimators = None,
    null: Nulls = None,
    draws: Draws = 5,
    scope: ScopeOption = "both",
    include: Include = None,
    exclude: Exclude = None,
    seed: Seed = 0,
    threads: Threads = None,
    output: Output = None,
    html: Html = None,
    json: Json = False,
    all_rows: AllRows = False,
) -> None:
    """Measure checkpoints, tensor by tensor and as a whole."""
    options = _options(quantizer, estimator, null, draws, scope, include, exclude, seed, threads)
    _run(_name_sources(sources), options, output, html, json, all_rows)


@app.command()
def compare(
    sources: Annotated[list[str], typer.Argument(help="NAME=SOURCE for each model.")],
    quantizer: Quantizers = None,
    estimator: Estimators = None,
    null: Nulls = None,
    draws: Draws = 5,
    scope: ScopeOption = "model",
    include: Include = None,
    exclude: Exclude = None,
    seed: Seed = 0,
    threads: Threads = None,
    output: Output = None,
    html: Html = None,
    json: Json = False,
    all_rows: AllRows = False,
) -> None:
    """Measure several checkpoints in the same way, in one table."""
    named: dict[str, str] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        if not equals or not name or not path or name in named:
            raise InputError(f"{source!r} is not a NAME=SOURCE with a name of its own")
        named[name] = path
    options = _options(quantizer, estimator, null, draws, scope, include, exclude, seed, threads)
    _run(named, options, output, html, json, all_rows)


@app.command()
def estimators(json: Json = False) -> None:
    """List the estimators and quantizers."""
    from rich.table import Table

    from kolmo.estimators import estimator_class, estimator_names
    from kolmo.quantize import quantizer_class, quantizer_names
    from kolmo.terminal import make_console

    found = [(name, estimator_class(name)) for name in estimator_names()]
    if json:
        rows = [{"name": n, "kind": c.kind, "summary": c.summary} for n, c in found]
        quantizers = [{"name": n, "summary": quantizer_class(n).summary} for n in quantizer_names()]
        _print_json({"estimators": rows, "quantizers": quantizers})
        return
    table = Table("estimator", "kind", "what it is", box=None)
    for name, cls in found:
        table.add_row(name, cls.kind, cls.summary)
    quantizer_table = Table("quantizer", "what it is", box=None)
    for name in quantizer_names():
        quantizer_table.add_row(name, quantizer_class(name).summary)
    console = make_console()
    console.print(table, "", quantizer_table)
    console.print(
        "\nSpecs: name[:value][,key=value...][@layout], as in zstd:19@shuffle or bdm,ndim=2; "
        "layouts are bytes, shuffle, packed, bitplanes.",
        markup=False,
    )


@app.command()
def plot(
    results: Annotated[Path, typer.Argument(help="A saved report.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A directory.")] = Path("."),
    format: Annotated[str, typer.Option(help="png, svg or pdf.")] = "png",
) -> None:
    """Draw the figures of a saved report."""
    from kolmo.plots import figures, save_figure
    from kolmo.report import load_report

    if format not in ("png", "svg", "pdf"):
        raise unknown("format", format, ("png", "svg", "pdf"))
    if output.suffix in (".png", ".svg", ".pdf"):
        raise InputError(f"{output}: name a directory; --format says what the files are")
    drawn = figures(load_report(results))
    if all(isinstance(figure, InputError) for figure in drawn.values()):
        raise InputError(f"{results}: there is no measured value in this report to draw")
    _make_directory(output)
    for title, figure in drawn.items():
        if isinstance(figure, InputError):
            print(f"no figure of {title.lower()}: {figure}", file=sys.stderr)
            continue
        path = output / f"{results.stem}-{title.lower()}.{format}"
        save_figure(figure, path)
        typer.echo(str(path))


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be a directory ({error.strerror})") from None


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
    """Run a command line so that every error is one line on stderr, and exit."""
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


# --- running --------------------------------------------------------------------------------


def _options(
    quantizers: list[str] | None,
    estimators: list[str] | None,
    nulls: list[str] | None,
    draws: int,
    scope: str,
    include: list[str] | None,
    exclude: list[str] | None,
    seed: int,
    threads: int | None,
) -> dict[str, Any]:
    return {
        "quantizers": quantizers or None,
        "estimators": estimators or None,
        "nulls": nulls or (),
        "draws": draws,
        "scope": scope,
        "include": include or (),
        "exclude": exclude or (),
        "seed": seed,
        "threads": threads,
    }


def _name_sources(sources: list[str]) -> dict[str, str]:
    """Sources by the stem of their path, or by the whole path where stems coincide."""
    twice = next((source for source in sources if sources.count(source) > 1), None)
    if twice:
        raise InputError(
            f"{twice!r} is named twice; to measure it twice: kolmo compare A=... B=..."
        )
    stems = [Path(source.rstrip("/")).name.split(".")[0] or source for source in sources]
    names = [s if stems.count(s) == 1 else source for s, source in zip(stems, sources, strict=True)]
    return dict(zip(names, sources, strict=True))


def _run(
    sources: dict[str, str],
    options: dict[str, Any],
    output: Path | None,
    html: Path | None,
    json: bool,
    all_rows: bool,
) -> None:
    from kolmo.analysis import Interrupted
    from kolmo.analysis import compare as measure
    from kolmo.report import check_output
    from kolmo.terminal import show

    if output:
        check_output(output, (".parquet", ".csv", ".json"))
    if html:
        check_output(html, (".html", ".htm"))
    try:
        with progress_bar() as progress:
            report = measure(sources, progress=progress, **options)
    except (Interrupted, KolmoError) as error:
        if error.report is not None:
            _keep(error.report, output, html)
        raise
    _keep(report, output, html)
    if json:
        print(report.to_json())
    else:
        show(report, all_rows)
    problems = report.provenance["problems"]
    if problems:
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0]}{more}; everything else was measured")


def _keep(report: Report, output: Path | None, html: Path | None) -> None:
    for path, write in ((output, report.save), (html, report.to_html)):
        if path:
            write(path)
            state = "" if report.provenance["complete"] else " (what was done until then)"
            print(f"wrote {path}{state}", file=sys.stderr)


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr where that is a terminal; else a plain line twice a minute."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress()
        return
    with Progress(
        TextColumn("{task.percentage:3.0f} %"),
        BarColumn(24),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("reading", total=None)

        def report(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total, description=printable(label))

        yield report


def _plain_progress() -> Callable[[int, int, str], None]:
    shown = time.monotonic()

    def report(done: int, total: int, label: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PLAIN_PAUSE:
            shown = time.monotonic()
            share = 100 * done / max(total, 1)
            print(f"{share:3.0f} % {printable(label)}", file=sys.stderr, flush=True)

    return report


def _print_json(document: Any) -> None:
    import json

    print(json.dumps(document, indent=1))
