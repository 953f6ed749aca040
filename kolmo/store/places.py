"""Where results are kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

OFF = "off"
"""The value of ``KOLMO_STORE`` that means: no store."""


def default_path() -> Path | None:
    """Where results are kept; None where ``KOLMO_STORE`` is ``off``, or there is no home."""
    chosen = os.environ.get("KOLMO_STORE")
    if chosen:
        return None if chosen == OFF else Path(chosen)
    return own_path()


def own_path() -> Path | None:
    """A file in the user's cache folder; None without a home."""
    try:
        folder = platformdirs.user_cache_path("kolmo", appauthor=False)
    except (OSError, RuntimeError, KeyError):
        return None
    return folder / "results.sqlite" if folder.is_absolute() else None
