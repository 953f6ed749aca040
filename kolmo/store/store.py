"""A store of results: what was measured once is looked up the next time.

It never stands in the way of a run. Where nothing can be kept (no home, a full disk, a folder or a
file that cannot be written, another process that holds it for too long) one warning says so and the
run goes on; a damaged file is moved aside, and a new one begun.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import platformdirs

from kolmo.errors import InputError
from kolmo.outcomes import Missing, Result
from kolmo.store.database import Database, Row, WrongSchema, is_damage, is_whole, move_aside
from kolmo.store.keys import ResultKey
from kolmo.store.rows import read_result, write_result

CAP = 2_000_000_000
"""Bytes that a store takes by default; what was not used for longest goes first."""

OFF = "off"
"""The value of ``KOLMO_STORE`` that means: no store."""

_TIMEOUT = 20.0  # seconds to wait for another process that writes
_DAY = 86_400
_FULL = 0.9  # of the cap is what remains when it is reached

_Found = TypeVar("_Found")


class Store:
    """Results in a file, by `ResultKey`; any number of processes and threads may share it.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    cap : int
        Bytes at most.
    timeout : float
        Seconds to wait for another process that writes, before going on without it.

    Attributes
    ----------
    path : Path or None
    damaged : int
        Rows that were not whole, and were removed.
    moved : list of Path
        Where damaged files are now.

    Examples
    --------
    >>> import tempfile
    >>> from kolmo.outcomes import Missing
    >>> key = ResultKey(bytes(32), bytes(32), "kt of sign")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open_store(Path(folder, "results.sqlite")) as store:
    ...         store.put({key: Result(Missing("no blocks"), 0.5)})
    ...     with open_store(Path(folder, "results.sqlite")) as store:
    ...         store.get([key])[key].outcome
    Missing(reason='no blocks', problem=False)
    """

    def __init__(self, path: Path | None, cap: int = CAP, timeout: float = _TIMEOUT) -> None:
        self.path, self._cap, self._timeout = path, cap, timeout
        self.damaged = 0
        self.moved: list[Path] = []
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._keeps = path is not None  # whether anything more can be written
        self._touched: set[bytes] = set()
        self._file: tuple[int, int] | None = None
        if path is not None:
            self._open(path)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def get(self, keys: Iterable[ResultKey]) -> dict[ResultKey, Result]:
        """Those of these results that are kept; none that is damaged."""
        wanted = list(dict.fromkeys(keys))
        found = self._get({key.content: key for key in wanted})
        missing = [key for key in wanted if key not in found]
        return {**found, **self._get({key.named: key for key in missing})}

    def put(self, results: Mapping[ResultKey, Result]) -> None:
        """Keep these results, all or none of them."""
        texts = {}
        for key, result in results.items():
            try:
                text = write_result(result)
            except ValueError:
                continue  # it could not be restored, and is measured anew
            is_missing = isinstance(result.outcome, Missing)
            texts[key.named if is_missing else key.content] = key.label, text
        with self._lock:
            touched, self._touched = self._touched, set()
            if (texts or touched) and self._keeps:
                self._try(lambda database: database.write(texts, touched), writing=True)
                self._try(self._keep_small, writing=True)

    def close(self) -> None:
        """Write what is left to write, and close the file."""
        self.put({})
        with self._lock:
            self._stop()

    # --- reading ----------------------------------------------------------------------------

    def _get(self, by_bytes: Mapping[bytes, ResultKey]) -> dict[ResultKey, Result]:
        with self._lock:
            rows = self._try(lambda database: list(database.find(list(by_bytes)))) or []
            found = {}
            for row in rows:
                result = self._believe(row)
                if result is not None:
                    found[by_bytes[row[0]]] = result
            return found

    def _believe(self, row: Row) -> Result | None:
        """The result in a row; a row that is not whole is removed."""
        try:
            if not is_whole(row):
                raise ValueError("its checksum is wrong")
            result = read_result(row[2])
        except ValueError:
            self.damaged += 1
            self._try(lambda database: database.remove([row[0]]), writing=True)
            return None
        if row[4] < time.time() - _DAY:
            self._touched.add(row[0])
        return result

    # --- size -------------------------------------------------------------------------------

    def _keep_small(self, database: Database) -> None:
        if database.size > self._cap:
            database.remove_oldest(1 - _FULL * self._cap / database.size)
            database.shrink()

    # --- trouble ----------------------------------------------------------------------------

    def _try(self, action: Callable[[Database], _Found], writing: bool = False) -> _Found | None:
        """The result of an action; None, and a warning, if there is trouble."""
        if self._database is None or (writing and not self._keeps):
            return None
        try:
            return action(self._database)
        except (sqlite3.Error, OSError) as error:
            if is_damage(error):
                self._begin_anew(error)
            else:
                self._give_up(error, reading=not writing)
            return None

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = Database(path, self._timeout)
            self._file = _identity(path)
        except WrongSchema as error:
            if not error.ours:
                raise InputError(
                    f"{path}: is no store of results, but the database of another program"
                ) from None
            self._begin_anew(error)
        except (sqlite3.Error, OSError) as error:
            if is_damage(error, opening=True) and not self.moved:
                self._begin_anew(error)
            else:
                self._give_up(error, reading=True)

    def _begin_anew(self, error: Exception) -> None:
        """Move a damaged file aside, unless another process did, and open a new one."""
        assert self.path is not None
        self._stop()
        if len(self.moved) > 2:  # a disk that damages whatever is written
            self._give_up(error, reading=True)
            return
        try:
            if self._file in (None, _identity(self.path)):
                self.moved.append(move_aside(self.path))
                _warn(f"{self.path}: the store of results was damaged ({error}); it is now "
                      f"{self.moved[-1].name}, and a new one is begun")  # fmt: skip
        except OSError as trouble:
            self._give_up(trouble, reading=True)
            return
        self._file = None
        self._open(self.path)

    def _give_up(self, error: Exception, reading: bool) -> None:
        """Keep nothing more; where not even reading works, find nothing more either."""
        if self._keeps:
            self._keeps = False
            _warn(f"{self.path}: results are not kept ({error}); the run goes on without")
        if reading:
            self._stop()

    def _stop(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):  # what was committed is kept
                self._database.close()
            self._database = None


def open_store(path: str | Path | None = None, *, cap: int = CAP) -> Store:
    """The store in a file.

    Parameters
    ----------
    path : path, optional
        By default what the environment variable ``KOLMO_STORE`` names (``off`` for none), else
        ``results.sqlite`` in the user's cache folder. A file that does not exist is made.
    cap : int
        Bytes at most.

    Raises
    ------
    InputError
        If the file is a directory or the database of another program. All other trouble is a
        warning, and the store keeps nothing.
    """
    file = Path(path) if path is not None else default_path()
    if file is not None and file.is_dir():
        raise InputError(f"{file}: is a directory, and a store of results is a file")
    return Store(file, cap)


def default_path() -> Path | None:
    """Where results are kept; None where ``KOLMO_STORE`` is ``off``, or there is no home."""
    chosen = os.environ.get("KOLMO_STORE")
    if chosen:
        return None if chosen == OFF else Path(chosen)
    try:
        folder = platformdirs.user_cache_path("kolmo", appauthor=False)
    except (OSError, RuntimeError, KeyError):
        return None
    return folder / "results.sqlite" if folder.is_absolute() else None


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path, whatever it is renamed to."""
    try:
        its = path.stat()
    except OSError:
        return None
    return its.st_dev, its.st_ino


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
