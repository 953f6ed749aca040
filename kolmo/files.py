"""Output files: checks of the path, and writing whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kolmo.errors import InputError, MissingExtraError

GENEROUS = 1 << 30
"""Bytes that any file may expand to."""

EXPANSION = 1024
"""A larger file may expand to this many times its size."""


def expansion_limit(size: int) -> int:
    """Bytes that a file of this size may expand to by default.

    >>> expansion_limit(100), expansion_limit(1 << 30)
    (1073741824, 1099511627776)
    """
    return max(GENEROUS, EXPANSION * size)


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """InputError unless a file of one of these suffixes can be written there."""
    if path.suffix not in suffixes:
        raise InputError(f"{path}: the suffix must be {' or '.join(suffixes)}")
    if path.suffix == ".parquet":
        pyarrow_modules(f"writing {path}")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no directory {str(folder)!r}")
    if path.is_dir():
        raise InputError(f"{path}: is a directory")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write to a temporary file beside ``path``, then rename: readers never see half a file."""
    temporary = None
    try:
        handle, name = tempfile.mkstemp(path.suffix, ".kolmo-", path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


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
