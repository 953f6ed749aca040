"""Locks of files and folders among processes, which go with the process however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def lock(descriptor: int, sure: bool = False) -> bool:
    """Lock what is open for this process; whether no other one has it.

    A system or a file system without such locks keeps nobody out, unless one must be ``sure``.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     lock(file.fileno(), sure=True)
    True
    """
    if sys.platform == "win32":
        return not sure
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return not sure
    return True


@contextmanager
def held_folder(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Whether no other run holds the folder, which then is this process's while this lasts.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, held_folder(folder) as first:
    ...     with held_folder(folder) as second:
    ...         first, second, holds_folder(folder)
    (True, False, True)
    """
    descriptor = _opened(path)
    if descriptor is None:
        yield True
        return
    if is_ours := lock(descriptor):
        _held.add(_inode(descriptor))
    try:
        yield is_ours
    finally:
        if is_ours:
            _held.discard(_inode(descriptor))
        os.close(descriptor)


def holds_folder(path: str | os.PathLike[str]) -> bool:
    """Whether this process holds the folder."""
    status = os.stat(path)
    return (status.st_dev, status.st_ino) in _held


_held: set[tuple[int, int]] = set()


def _inode(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _opened(path: str | os.PathLike[str]) -> int | None:
    """A descriptor of a folder; None where a folder cannot be opened."""
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return None
