"""The journal of a calibration: finished rows, so that an interrupted run can go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kolmo.calibration.trials import Piece, Row
from kolmo.errors import InputError
from kolmo.files import sealed, unsealed
from kolmo.provenance import versions


class Journal:
    """A file with one JSON line for each finished piece; without a path nothing is written.

    The key of a piece is all that it depends on: its experiment, estimators, seed and trials, and
    the versions of the packages. Each line has its checksum: one that was cut off, or is damaged,
    is as good as none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._rows = _read(path) if path and path.exists() else {}

    def find(self, piece: Piece) -> list[Row] | None:
        """The rows of a piece that was finished before, else None."""
        return self._rows.get(_key(piece))

    def keep(self, piece: Piece, rows: Sequence[Row]) -> None:
        """Write the rows of a finished piece."""
        if self._path is None:
            return
        line = sealed({"piece": _key(piece), "rows": rows})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}")  # after the newline, so that half a line spoils no other
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from None

    def close(self) -> None:
        """Remove the file: everything is in the result."""
        if self._path:
            self._path.unlink(missing_ok=True)


def _key(piece: Piece) -> str:
    return f"{piece} {json.dumps(versions())}"


def _read(path: Path) -> dict[str, list[Row]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    whole = [kept for kept in map(unsealed, lines) if kept is not None]
    return {kept["piece"]: kept["rows"] for kept in whole}
