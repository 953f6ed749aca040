"""Records of what a study has finished, each under a hash of all that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from kolmo.checkpoints.origins import sha256
from kolmo.files import read_sealed, sealed
from kolmo.provenance import versions
from momos.tensors import write_whole


def key_of(kind: str, settings: Mapping[str, Any], package: str, files: Iterable[Path] = ()) -> str:
    """A hash of everything that a result depends on: settings, files, the code that makes it."""
    parts = {
        "kind": kind,
        "settings": settings,
        "versions": versions(),
        "code": _code(package),
        "files": [sha256(str(file)) for file in files],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def _code(package: str) -> str:
    """A hash of a package's source files."""
    (folder,) = import_module(package).__path__
    files = sorted(Path(folder).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """The record that was written under this key; None without one, or where it is damaged."""
    record = read_sealed(path)
    return record if record is not None and record["key"] == key else None


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all."""
    write_whole(path, sealed(record).encode())
