"""Writing files whole or not at all: made under another name, then given their own at once.

A process that is killed halfway leaves its file's other name, which the next file that is made in
the folder removes: who makes one holds a lock on it, which the system lets go with the process. One
that is interrupted removes it: a signal may come between any two steps, so that what is being made
is written down before it is there, and looked for once more at the end.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from kolmo.errors import InputError
from kolmo.locks import holds_folder, lock

Write = Callable[[Path], Any]
"""Writes a file under the name that it is given."""

_OTHER_NAME = re.compile(r"\.kolmo-[0-9a-f]{16}")
_DESCRIPTOR = re.compile(r"/(?:proc/self|dev)/fd/(\d+)")  # /dev/stdout leads to one
_LINKS = 40  # that Linux follows, one after the other
_PLAIN = os.O_RDWR | getattr(os, "O_BINARY", 0)


def write_atomically(path: Path, write: Write) -> None:
    """Make a file under another name beside ``path``, then rename it: readers see the old file or
    the new one, also after a loss of power.

    A new file has the mode that the umask leaves; one that replaces another its mode, and its
    owner where that is allowed. A link is followed. A pipe or a device is written to.
    """
    write_together({path: write})


def write_together(writes: Mapping[Path, Write]) -> None:
    """Files that belong together: all are made, then all get their names, those of one process
    after those of another."""
    with ExitStack() as made:
        there = [(path, made.enter_context(_made(path, write))) for path, write in writes.items()]
        if len(there) > 1:
            made.enter_context(_one_at_a_time(there[0][0]))
        for path, take_name in there:
            with _told(path):
                take_name()


def status_of(path: Path, what: str = "written") -> os.stat_result | None:
    """What stands there, links followed; None if nothing does.

    Raises
    ------
    InputError
        If that cannot be told, or no file can have the name: it cannot be ``what``.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be {what} ({error.strerror})") from None
    except ValueError:
        raise InputError(f"{path}: cannot be {what} (no name may hold a NUL)") from None


def kind_of(status: os.stat_result) -> str:
    """What is no ordinary file, for people."""
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(status.st_mode), "a device")


def is_stream(path: Path) -> bool:
    """Whether bytes go through it, as through a pipe, a device, /dev/stdout: nothing is kept in a
    place that another file could take."""
    status = status_of(path)
    passes = status and (stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode))
    return bool(passes) or _descriptor(path) is not None


def standing(path: Path) -> os.stat_result | None:
    """The file that stands there, links followed; None without one.

    Raises
    ------
    InputError
        If it is no file.
    """
    status = status_of(path)
    if status and not (stat.S_ISREG(status.st_mode) or is_stream(path)):
        raise InputError(f"{path}: is {kind_of(status)}: name a file")
    return status


def target_of(path: Path) -> Path:
    """The file itself, where this is a link to it."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _descriptor(path: Path) -> int | None:
    """The open file of this process that a path names, as /dev/stdout and /dev/fd/3 do."""
    place = os.path.abspath(path)
    for _ in range(_LINKS):
        found = _DESCRIPTOR.fullmatch(place)
        if found or not os.path.islink(place):
            return int(found[1]) if found else None
        place = os.path.normpath(os.path.join(os.path.dirname(place), os.readlink(place)))
    return None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system says becomes an InputError that names the output."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


# --- made under another name ----------------------------------------------------------------


@contextmanager
def _made(path: Path, write: Write) -> Iterator[Callable[[], None]]:
    """A file that is made, and what then gives it its name; it is gone if that is not called."""
    if is_stream(path):
        with tempfile.TemporaryDirectory(prefix="kolmo-") as folder:
            whole = Path(folder) / "output"
            with _told(path):
                write(whole)
            yield lambda: _pass_on(whole, path)
        return
    with _told(path):
        target = target_of(path)
        before = standing(target)
        _remove_left(target.parent)
        temporary, held = _created(target.parent, 0o600 if before else 0o666)
    try:
        with _told(path):
            write(temporary)
            if before:
                _give(temporary, before)
            _settle(held.fileno())
        yield lambda: _rename(temporary, held, target)
    finally:
        held.close()
        temporary.unlink(missing_ok=True)
        _being_made.discard((os.getpid(), temporary))


def _pass_on(whole: Path, path: Path) -> None:
    number = _descriptor(path)
    with open(whole, "rb") as source, open(path if number is None else os.dup(number), "wb") as out:
        shutil.copyfileobj(source, out)


def _rename(temporary: Path, held: FileIO, target: Path) -> None:
    if sys.platform == "win32":  # where no open file is renamed
        held.close()
    temporary.replace(target)
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):  # a folder that cannot be read, or a system that has no such thing
            folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _give(temporary: Path, before: os.stat_result) -> None:
    """The mode and, where that is allowed, the owner of the file that is replaced."""
    mode = stat.S_IMODE(before.st_mode)
    if hasattr(os, "chown"):
        try:
            os.chown(temporary, before.st_uid, before.st_gid)
        except OSError:
            mode &= ~stat.S_IRWXG  # which were of another group
    temporary.chmod(mode)


def _settle(descriptor: int) -> None:
    """Have the file on the disk, where it is one."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


# --- those that were left -------------------------------------------------------------------

_being_made: set[tuple[int, Path]] = set()
"""Processes, of which one may have been forked from another, and the files that they make."""


@atexit.register
def remove_unfinished() -> None:
    """Remove what this process makes and will not finish."""
    for process, path in tuple(_being_made):
        if process == os.getpid():
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _created(folder: Path, mode: int) -> tuple[Path, FileIO]:
    """A new file, and what holds it for this process."""
    while True:
        path = folder / f".kolmo-{secrets.token_hex(8)}"
        _being_made.add((os.getpid(), path))
        held = FileIO(os.open(path, _PLAIN | os.O_CREAT | os.O_EXCL, mode), "r+b")
        if lock(held.fileno()) and os.fstat(held.fileno()).st_nlink:
            return path, held
        held.close()  # another process took it for one that was left, and removes it


def _remove_left(folder: Path) -> None:
    """Remove files of processes that are no more: nobody holds them."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _OTHER_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _remove_unheld(entry.path)


def _remove_unheld(path: str) -> None:
    descriptor = os.open(path, _PLAIN)
    try:
        if lock(descriptor, sure=True):
            os.unlink(path)
    finally:
        os.close(descriptor)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process gives names in the folder, where the system has such locks."""
    place = target_of(path).parent
    if sys.platform == "win32" or holds_folder(place):
        yield
        return
    from fcntl import LOCK_EX, flock

    with ExitStack() as opened:
        with suppress(OSError):
            folder = os.open(place, os.O_RDONLY)
            opened.callback(os.close, folder)
            flock(folder, LOCK_EX)
        yield
