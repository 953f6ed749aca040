"""The terminal: a console of its width, and progress on stderr that is erased at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kolmo.execution import Progress
from kolmo.text import printable

if TYPE_CHECKING:
    from rich.console import Console

_NO_TERMINAL, _LEAST = 160, 60  # columns
_PLAIN_PAUSE = 30.0  # seconds between lines of progress, where there is no terminal


def make_console() -> Console:
    """The console of stdout; 160 columns where that is no terminal, and no fewer than 60, which a
    narrower one wraps: a column of a table that finds no room is lost."""
    from rich.console import Console

    # No text is markup: names and specs may hold brackets.
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain)
    width = console.width if console.is_terminal else _NO_TERMINAL
    return Console(**plain, width=max(width, _LEAST))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on stderr if it is a terminal; else a plain line twice a minute."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress()
        return
    from rich import progress as rich_progress

    with rich_progress.Progress(
        rich_progress.TextColumn("{task.percentage:3.0f} %"),
        rich_progress.BarColumn(24),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("reading", total=None)

        def report(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total, description=printable(label))

        yield report


def _plain_progress() -> Progress:
    shown = time.monotonic()

    def report(done: int, total: int, label: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PLAIN_PAUSE:
            shown = time.monotonic()
            share = 100 * done / max(total, 1)
            print(f"{share:3.0f} % {printable(label)}", file=sys.stderr, flush=True)

    return report
