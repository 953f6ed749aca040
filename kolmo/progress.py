"""Progress of a long call: a bar where somebody watches, silence everywhere else.

A terminal has a bar on stderr, a notebook one under its cell; both are gone at the end. Where
neither is, as in a pipe or a test, nothing is shown unless it is asked for: then it is a line on
stderr twice a minute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

from kolmo.execution import Progress, no_progress
from kolmo.text import printable, shorten

Wanted: TypeAlias = "Progress | bool | None"
"""What a caller may ask for: a function that is told, a bar (True), none (False), or a bar where
somebody watches (None)."""

_PATIENCE = 0.5  # seconds before a bar that nobody asked for appears
_PAUSE = 0.1  # seconds between two pictures of a notebook's bar
_PLAIN_PAUSE = 30.0  # seconds between lines of progress, where there is no terminal
_LABEL = 60  # characters of a label in a notebook


def progress_bar(wanted: Wanted = None) -> AbstractContextManager[Progress]:
    """Where to tell how far a call has come, for as long as it lasts.

    >>> with progress_bar(False) as progress:
    ...     progress(1, 2, "reading")
    >>> told = []
    >>> with progress_bar(lambda *news: told.append(news)) as progress:
    ...     progress(1, 2, "reading")
    >>> told
    [(1, 2, 'reading')]
    """
    if wanted is False:
        return nullcontext(no_progress)
    if callable(wanted):
        return nullcontext(wanted)
    watched = _watched()
    if watched is None:
        return nullcontext(_plain_lines() if wanted else no_progress)
    return watched() if wanted else _patiently(watched)


_Begin: TypeAlias = Callable[[], AbstractContextManager[Progress]]


def _watched() -> _Begin | None:
    """The bar of the notebook or the terminal that somebody watches."""
    if display := _notebook():
        return partial(_notebook_bar, display)
    return _terminal_bar if sys.stderr is not None and sys.stderr.isatty() else None


@contextmanager
def _patiently(begin: _Begin) -> Iterator[Progress]:
    """A bar that appears with the first news after a while, so that short calls show none."""
    began = time.monotonic()
    bar: Progress | None = None
    with ExitStack() as opened:

        def report(done: int, total: int, label: str) -> None:
            nonlocal bar
            if bar is None and time.monotonic() - began >= _PATIENCE:
                bar = opened.enter_context(begin())
            if bar is not None:
                bar(done, total, label)

        yield report


@contextmanager
def _terminal_bar() -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console

    with rich_progress.Progress(
        rich_progress.TextColumn("{task.percentage:3.0f} %"),
        rich_progress.BarColumn(24),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("reading", total=None)

        def report(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total, description=printable(label))

        yield report


def _plain_lines() -> Progress:
    shown = time.monotonic()

    def report(done: int, total: int, label: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PLAIN_PAUSE:
            shown = time.monotonic()
            share = 100 * done / max(total, 1)
            print(f"{share:3.0f} % {printable(label)}", file=sys.stderr, flush=True)

    return report


# --- notebooks ------------------------------------------------------------------------------


def _notebook() -> Callable[..., Any] | None:
    """IPython's `display`, if a kernel runs that shows what it is given; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):  # of a terminal
        return None
    found: Callable[..., Any] = import_module("IPython.display").display
    return found


@contextmanager
def _notebook_bar(display: Callable[..., Any]) -> Iterator[Progress]:
    """A bar that is drawn anew in its place, in every front end, without widgets."""
    handle, shown = display(_Bar(0, 1, "reading"), display_id=True), time.monotonic()

    def report(done: int, total: int, label: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PAUSE:
            shown = time.monotonic()
            handle.update(_Bar(done, total, label))

    try:
        yield report
    finally:
        handle.update(_Bar(1, 1, ""))


class _Bar:
    """A picture of progress; empty at the end."""

    def __init__(self, done: int, total: int, label: str) -> None:
        self._share = done / max(total, 1)
        self._label = shorten(printable(label), _LABEL)

    def __repr__(self) -> str:
        return f"{100 * self._share:3.0f} % {self._label}" if self._label else ""

    def _repr_html_(self) -> str:
        if not self._label:
            return ""
        from html import escape

        return (
            f'<progress value="{self._share:.4f}" max="1"></progress> '
            f"{100 * self._share:.0f} % {escape(self._label)}"
        )
