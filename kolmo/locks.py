"""Locks of files and folders among processes, which go with the process however it ends."""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":
    import fcntl


def lock(descriptor: int) -> bool:
    """Lock what is open for this process; whether no other one has it.

    A system or a file system without such locks keeps nobody out.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     lock(file.fileno())
    True
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def open_folder(path: str | os.PathLike[str]) -> int | None:
    """A descriptor of a folder, for `lock`; None where a folder cannot be opened."""
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return None
