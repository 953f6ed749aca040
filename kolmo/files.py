"""Files: which may be read and which written, and what a small one may expand to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kolmo.errors import InputError, MissingExtraError
from kolmo.replacing import (
    is_stream,
    kind_of,
    standing,
    status_of,
    target_of,
    write_atomically,
)
from kolmo.spoken import option

GENEROUS = 1 << 28
"""Bytes that any file may expand to."""

EXPANSION = 1024
"""A larger file may expand to this many times its size."""

Paths = Iterable[str | os.PathLike[str]]

Own = Callable[[Path], bool]
"""Whether a file is of those that a writer makes, by its contents, and so may be written anew."""

_MARK = 4096  # bytes at a file's begin and at its end that tell what it is


def expansion_limit(size: int) -> int:
    """Bytes that a file of this size may expand to by default.

    >>> expansion_limit(100), expansion_limit(1 << 30)
    (268435456, 1099511627776)
    """
    return max(GENEROUS, EXPANSION * size)


# --- read -----------------------------------------------------------------------------------


def check_readable(path: str | os.PathLike[str]) -> None:
    """InputError unless it is a file, or a link to one: of a pipe nothing can be read twice."""
    status = status_of(Path(path), "read")
    if status is None:
        raise InputError(f"{path}: cannot be read: there is no such file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{path}: is {kind_of(status)}, not a file; save what it gives to a file, and name that"
        )


# --- written --------------------------------------------------------------------------------


def foreign(_: Path) -> bool:
    """Of no file it is known who made it: a checkpoint may be anybody's."""
    return False


def marked(pattern: bytes) -> Own:
    """Tells the files by which a pattern is found near their begin, or their end."""
    mark = re.compile(pattern, re.S)

    def is_marked(path: Path) -> bool:
        with suppress(OSError), path.open("rb") as file:
            head = file.read(_MARK)
            file.seek(-min(_MARK, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return bool(mark.search(head) or mark.search(file.read()))
        return False

    return is_marked


def check_output(
    path: Path,
    suffixes: tuple[str, ...] = (),
    *,
    own: Own = foreign,
    inputs: Paths = (),
    overwrite: bool = False,
) -> None:
    """InputError unless a file of one of these suffixes (of any, without) can be written there,
    and none is lost for it; see `check_standing`."""
    if suffixes and path.suffix not in suffixes:
        raise InputError(f"{path}: the suffix must be {' or '.join(suffixes)}")
    if path.suffix == ".parquet":
        pyarrow_modules(f"writing {path}")
    check_standing(path, own=own, inputs=inputs, overwrite=overwrite)
    folder = target_of(path).parent
    if not folder.is_dir():
        raise InputError(f"{path}: cannot be written: there is no directory {str(folder)!r}")
    if is_stream(path):
        return
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def check_standing(
    path: Path, *, own: Own = foreign, inputs: Paths = (), overwrite: bool = False
) -> None:
    """InputError if a file that stands there would be lost.

    What is read never is replaced, by whatever name it goes: a link to it, another path. Any other
    file is, if it is empty, if it is the writer's ``own``, or if the user asks to ``overwrite`` it.

    Parameters
    ----------
    inputs : iterable of paths
        The files that are read; and folders, of whose files an output may be none but its own. They
        are looked at where something stands.
    """
    status = standing(path)
    if status is None:
        return
    is_file = stat.S_ISREG(status.st_mode)
    is_own = is_file and own(path)
    read = next((each for each in inputs if _holds(each, status, is_own)), None)
    if read is not None:
        raise InputError(f"{path}: is what is read, {str(read)!r}: name another output")
    if is_file and status.st_size and not (is_own or overwrite or is_stream(path)):
        raise InputError(
            f"{path}: another file is there already: name another output, or have it replaced "
            f"with {option('overwrite', True)}"
        )


def _holds(source: str | os.PathLike[str], status: os.stat_result, is_own: bool) -> bool:
    """Whether a file is this source, or lies in this folder and is nothing of our own."""
    if _is_same(source, status):
        return True
    if is_own or not os.path.isdir(source):
        return False
    return any(
        _is_same(os.path.join(folder, name), status)
        for folder, _, names in os.walk(source)
        for name in names
    )


def _is_same(path: str | os.PathLike[str], status: os.stat_result) -> bool:
    with suppress(OSError, ValueError):  # a URL, for one
        return os.path.samestat(os.stat(path), status)
    return False


@contextmanager
def directory(path: Path) -> Iterator[None]:
    """Make a directory, and those above it, where it is not there; those that were made go again
    if nothing comes of it."""
    made = [each for each in (path, *path.parents) if not each.exists()]
    make_directory(path)
    try:
        yield
    except BaseException:
        for each in made:
            with suppress(OSError):  # there is something in it
                each.rmdir()
        raise


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, where it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be a directory ({error.strerror})") from None


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


_SEAL = ', "checksum": "'


def sealed(values: Mapping[str, Any]) -> str:
    """Values as an object of JSON in one line, the last of them a checksum of the others.

    >>> unsealed(sealed({"step": 3}))
    {'step': 3}
    >>> unsealed(sealed({"step": 3}).replace("3", "4", 1)) is None
    True
    """
    body = json.dumps(values).removesuffix("}")
    return f'{body}{_SEAL}{hashlib.sha256(body.encode()).hexdigest()}"}}'


def unsealed(text: str) -> dict[str, Any] | None:
    """The values that were sealed; None of a text that is another one: cut off, damaged, changed.

    What is not whole is not even parsed.
    """
    body, _, checksum = text.rpartition(_SEAL)
    if checksum != f'{hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()}"}}':
        return None
    values: dict[str, Any] = json.loads(f"{body}}}")
    return values


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The values that were sealed in a file; None without one, or where it is not whole."""
    try:
        return unsealed(path.read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return None


def pyarrow_modules(what: str) -> tuple[Any, Any]:
    """``pyarrow.parquet`` and ``pyarrow``; MissingExtraError, which names what needs them."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError(what, "pyarrow", "parquet") from None
    return parquet, pyarrow
