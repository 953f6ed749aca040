"""The terminal: a console of its width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> Console:
    """The console of stdout; 160 columns where that is no terminal."""
    from rich.console import Console

    # No text is markup: names and specs may hold brackets.
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain)
    return console if console.is_terminal else Console(**plain, width=160)
