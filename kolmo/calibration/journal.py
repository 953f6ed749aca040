"""The journal of a calibration: finished rows, so that an interrupted run can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from kolmo.calibration.trials import Piece, Row
from kolmo.errors import InputError
from kolmo.files import check_standing, marked, sealed, unsealed
from kolmo.locks import lock
from kolmo.provenance import versions


class Journal:
    """A file with one JSON line for each finished piece, of this process alone until it is closed;
    without a path nothing is written.

    The key of a piece is all that it depends on: its experiment, estimators, seed and trials, and
    the versions of the packages. Each line has its checksum: one that was cut off, or is damaged,
    is as good as none.

    Raises
    ------
    InputError
        If another file is there.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path:
            check_standing(path, own=_is_journal)
        self._path, self._file = path, _own(path) if path else None
        self._rows = _read(path) if path else {}

    def find(self, piece: Piece) -> list[Row] | None:
        """The rows of a piece that was finished before, else None."""
        return self._rows.get(_key(piece))

    def keep(self, piece: Piece, rows: Sequence[Row]) -> None:
        """Write the rows of a finished piece."""
        if self._file is None:
            return
        line = sealed({"piece": _key(piece), "rows": rows})
        try:
            self._file.write(f"\n{line}".encode())  # so that half a line spoils no other
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from None

    def remove(self) -> None:
        """Remove the file: everything is in the result."""
        self.close()
        if self._path:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others have the file; an empty one goes."""
        if self._path is None or self._file is None or self._file.closed:
            return
        is_empty = not os.fstat(self._file.fileno()).st_size
        self._file.close()
        if is_empty:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _own(path: Path) -> IO[bytes]:
    """The file, open at its end, that no other process has."""
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    if lock(file.fileno()):
        return file
    file.close()
    raise InputError(f"{path}: another calibration writes there: wait, or name another output")


_is_journal = marked(rb'\A\s*\{"piece": ')


def _key(piece: Piece) -> str:
    return f"{piece} {json.dumps(versions())}"


def _read(path: Path) -> dict[str, list[Row]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    whole = [kept for kept in map(unsealed, lines) if kept is not None]
    return {kept["piece"]: kept["rows"] for kept in whole}
