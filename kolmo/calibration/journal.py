"""The journal of a calibration: finished rows, so that an interrupted run can go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kolmo.calibration.trials import Piece, Row
from kolmo.errors import InputError
from kolmo.files import check_standing, marked
from kolmo.provenance import versions


class Journal:
    """A file with one JSON line for each finished piece; without a path nothing is written.

    The key of a piece is all that it depends on: its experiment, estimators, seed and trials, and
    the versions of the packages. A last line that was cut off is ignored.

    Raises
    ------
    InputError
        If another file is there.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        if path:
            check_standing(path, own=_is_journal)
        self._rows = _read(path) if path and path.exists() else {}

    def find(self, piece: Piece) -> list[Row] | None:
        """The rows of a piece that was finished before, else None."""
        return self._rows.get(_key(piece))

    def keep(self, piece: Piece, rows: Sequence[Row]) -> None:
        """Write the rows of a finished piece."""
        if self._path is None:
            return
        line = json.dumps({"piece": _key(piece), "rows": rows})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}")  # after the newline, so that half a line spoils no other
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from None

    def close(self) -> None:
        """Remove the file: everything is in the result."""
        if self._path:
            self._path.unlink(missing_ok=True)


_is_journal = marked(rb'\A\s*\{"piece": ')


def _key(piece: Piece) -> str:
    return f"{piece} {json.dumps(versions())}"


def _read(path: Path) -> dict[str, list[Row]]:
    pieces: dict[str, list[Row]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    for line in lines:
        try:
            kept: dict[str, Any] = json.loads(line)
            pieces[kept["piece"]] = kept["rows"]
        except (ValueError, LookupError, TypeError):
            continue
    return pieces
