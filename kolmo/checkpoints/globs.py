"""Names that shell globs choose."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from kolmo.errors import InputError


def check_globs(include: Sequence[str], exclude: Sequence[str]) -> None:
    """InputError if a pattern is a bare string rather than a list of them."""
    if isinstance(include, str) or isinstance(exclude, str):
        raise InputError("include and exclude are lists of globs, such as ['*.weight']")


def why_left_out(name: str, include: Sequence[str], exclude: Sequence[str]) -> str | None:
    """Why a name is not chosen by these globs; None if it is."""
    for pattern in exclude:
        if fnmatch.fnmatchcase(name, pattern):
            return f"excluded by {pattern!r}"
    if include and not any(fnmatch.fnmatchcase(name, pattern) for pattern in include):
        return "matches no include pattern"
    return None
