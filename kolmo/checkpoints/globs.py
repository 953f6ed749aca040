"""Names that shell globs choose."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence


def why_left_out(name: str, include: Sequence[str], exclude: Sequence[str]) -> str | None:
    """Why a name is not chosen by these globs; None if it is."""
    for pattern in exclude:
        if fnmatch.fnmatchcase(name, pattern):
            return f"excluded by {pattern!r}"
    if include and not any(fnmatch.fnmatchcase(name, pattern) for pattern in include):
        return "matches no include pattern"
    return None
