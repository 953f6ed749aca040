"""The terminal: a console of its width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


_NO_TERMINAL, _LEAST = 160, 60  # columns


def make_console() -> Console:
    """The console of stdout; 160 columns where that is no terminal, and no fewer than 60, which a
    narrower one wraps: a column of a table that finds no room is lost."""
    from rich.console import Console

    # No text is markup: names and specs may hold brackets.
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain)
    width = console.width if console.is_terminal else _NO_TERMINAL
    return Console(**plain, width=max(width, _LEAST))
