"""A store of results: what was measured once is looked up the next time.

It never stands in the way of a run. Where nothing can be kept (no home, a full disk, a folder or a
file that cannot be written) one warning says so and the run goes on; a damaged file is moved aside,
and a new one begun with what is whole in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from kolmo.errors import InputError
from kolmo.outcomes import Missing, Result
from kolmo.store.database import (
    Database,
    Row,
    WrongSchema,
    is_busy,
    is_damage,
    move_aside,
    was_a_store,
    whole_text,
)
from kolmo.store.keys import ResultKey
from kolmo.store.places import OFF, default_path, own_path
from kolmo.store.rows import read_result, write_result

CAP = 2_000_000_000
"""Bytes that a store takes by default; what was not used for longest goes first."""

_TIMEOUT = 20.0  # seconds to wait for another process that writes
_DAY = 86_400  # seconds; how exactly the time of last use is known
_FULL = 0.9  # of the cap is what remains when it is reached
_REBUILT = 3  # times, at most; then the disk damages whatever is written

_Found = TypeVar("_Found")


@dataclasses.dataclass(frozen=True)
class Health:
    """What a check of a store found.

    Attributes
    ----------
    entries : int
        Results that are whole.
    removed : int
        Results that were not, and are no longer there.
    moved : list of Path
        Damaged files that were moved aside; what was whole in them is among the entries.
    """

    entries: int
    removed: int
    moved: list[Path]

    @property
    def good(self) -> bool:
        """Whether no damage was found."""
        return not self.removed and not self.moved


class Store:
    """Results in a file, by `ResultKey`; any number of processes and threads may share it.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    cap : int
        Bytes at most.
    timeout : float
        Seconds to wait for another process that writes.
    own : bool
        Whether nothing but a store can lie at the path, so that anything else there is damage.

    Raises
    ------
    InputError
        If the file was never a store, and the path is not our own.

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
    ...         kept = store.put({key: Result(Missing("no blocks"), 0.5)})
    ...     with open_store(Path(folder, "results.sqlite")) as store:
    ...         store.get([key])[key].outcome
    Missing(reason='no blocks', problem=False)
    """

    def __init__(
        self,
        path: Path | None,
        *,
        cap: int = CAP,
        timeout: float = _TIMEOUT,
        own: bool = False,
    ) -> None:
        self.path, self._cap, self._timeout, self._own = path, cap, timeout, own
        self.damaged = 0
        self.moved: list[Path] = []
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._keeps = path is not None  # whether anything more can be written
        self._waited = False  # for another process, in vain
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

    @property
    def is_open(self) -> bool:
        """Whether there is a file, and it can be read."""
        return self._database is not None

    def get(self, keys: Iterable[ResultKey]) -> dict[ResultKey, Result]:
        """Those of these results that are kept; none that is damaged."""
        wanted = list(dict.fromkeys(keys))
        found = self._get({key.content: key for key in wanted})
        missing = [key for key in wanted if key not in found]
        return {**found, **self._get({key.named: key for key in missing})}

    def put(self, results: Mapping[ResultKey, Result]) -> bool:
        """Keep these results, all or none of them.

        Returns
        -------
        bool
            False if another process holds the file for too long, so that it is worth trying again.
        """
        texts = {}
        for key, result in results.items():
            with contextlib.suppress(ValueError):  # it could not be restored: measured anew
                text = write_result(result)
                is_missing = isinstance(result.outcome, Missing)
                texts[key.named if is_missing else key.content] = key.label, text
        with self._lock:
            touched, self._touched = self._touched, set()
            if not texts and not touched:
                return True
            written = self._try(lambda database: self._write(database, texts, touched), True)
            return written is not None or not self._keeps

    def check(self) -> Health:
        """Look at every row, and remove what is not whole."""
        with self._lock:
            self._try(lambda database: database.check())
            entries, after = 0, b""
            while rows := self._try(lambda database: database.rows(after)):  # noqa: B023
                entries += len(self._believed(rows))
                after = rows[-1][0]
            return Health(entries, self.damaged, self.moved)

    def close(self) -> None:
        """Write what is left to write, and close the file."""
        self.put({})
        with self._lock:
            self._stop()

    # --- rows -------------------------------------------------------------------------------

    def _get(self, by_bytes: Mapping[bytes, ResultKey]) -> dict[ResultKey, Result]:
        with self._lock:
            rows = self._try(lambda database: list(database.find(list(by_bytes)))) or []
            return {by_bytes[raw]: found for raw, found in self._believed(rows).items()}

    def _believed(self, rows: Iterable[Row]) -> dict[bytes, Result]:
        """The results in rows; rows that are not whole are removed."""
        found, broken, old = {}, [], time.time() - _DAY
        for row in rows:
            try:
                found[row[0]] = read_result(whole_text(row))
            except ValueError:
                broken.append(row[0])
            if not isinstance(row[4], int) or row[4] < old:
                self._touched.add(row[0])
        if broken:
            self.damaged += len(broken)
            self._try(lambda database: database.remove(broken), writing=True)
        return found

    def _write(
        self, database: Database, texts: Mapping[bytes, tuple[str, bytes]], touched: set[bytes]
    ) -> bool:
        database.write(texts, touched)
        if database.size > self._cap:
            database.remove_oldest(1 - _FULL * self._cap / database.size)
        return True

    # --- trouble ----------------------------------------------------------------------------

    def _try(
        self, action: Callable[[Database], _Found], writing: bool = False, again: bool = True
    ) -> _Found | None:
        """The result of an action; None, and a warning, if there is trouble."""
        if self._database is None or (writing and not self._keeps):
            return None
        try:
            return action(self._database)
        except (sqlite3.Error, OSError) as error:
            if is_damage(error):
                self._begin_anew(error)
                return self._try(action, writing, again=False) if again else None
            if is_busy(error):
                self._wait(error)
            else:
                self._give_up(error, reading=not writing)
            return None

    def _open(self, path: Path) -> None:
        self._file = _identity(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = Database(path, self._timeout)
            self._file = _identity(path)
        except WrongSchema as error:
            self._replace(path, error, error.ours)
        except (sqlite3.Error, OSError) as error:
            if is_damage(error, opening=True):
                self._replace(path, error, was_a_store(path))
            else:
                self._open_frozen(path)
                self._give_up(error, reading=False)

    def _open_frozen(self, path: Path) -> None:
        """Read a store that cannot be written, if all of it lies in the one file."""
        if os.path.isfile(path) and not os.path.exists(f"{path}-wal"):  # also where none may look
            with contextlib.suppress(sqlite3.Error, WrongSchema):
                self._database = Database(path, self._timeout, frozen=True)

    def _replace(self, path: Path, error: Exception, ours: bool) -> None:
        """Begin anew in place of what lies there; nobody else's file is touched."""
        if not ours and not self._own and not self.moved:
            raise InputError(f"{path}: is no store of results ({error}); name another file")
        self._begin_anew(error)

    def _begin_anew(self, error: Exception) -> None:
        """Move a damaged file aside, unless another process did, and open a new one."""
        assert self.path is not None
        self._stop()
        if not self._keeps or len(self.moved) == _REBUILT:
            self._give_up(error, reading=True)
            return
        moved = None
        if self._file == _identity(self.path):
            try:
                moved = move_aside(self.path)
            except OSError as trouble:
                self._give_up(trouble, reading=True)
                return
            self.moved.append(moved)
        self._open(self.path)
        if moved:
            self._save_from(moved, error)

    def _save_from(self, moved: Path, error: Exception) -> None:
        """Keep what is whole in a damaged file."""
        saved = 0
        with (
            contextlib.suppress(sqlite3.Error, OSError, WrongSchema),
            contextlib.closing(Database(moved, self._timeout)) as old,
        ):
            saved = self._try(lambda new: new.add(old.whole_rows()), writing=True) or 0
        _warn(
            f"{self.path}: the store of results was damaged ({error}); it is now {moved.name}, and "
            f"a new one is begun with {saved:,} results of it"
        )

    def _wait(self, error: Exception) -> None:
        if not self._waited:
            self._waited = True
            _warn(f"{self.path}: another process holds the store of results ({error})")

    def _give_up(self, error: Exception, reading: bool) -> None:
        """Keep nothing more; where not even reading works, find nothing more either."""
        if reading:
            self._stop()
        if self._keeps:
            self._keeps = False
            _warn(f"{self.path}: results are not kept ({error}); the run goes on without")

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
        If the path is a directory or a file of another kind. All other trouble is a warning, and
        the store keeps nothing.
    """
    file = Path(path) if path is not None else default_path()
    if file is None and os.environ.get("KOLMO_STORE") != OFF:
        _warn(
            "results are not kept: there is no home for a cache folder (KOLMO_STORE names a file)"
        )
    if file is not None and os.path.isdir(file):
        raise InputError(f"{file}: is a directory, and a store of results is a file")
    return Store(file, cap=cap, own=file is not None and file == own_path())


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path, whatever it is renamed to."""
    try:
        its = path.stat()
    except OSError:
        return None
    return its.st_dev, its.st_ino


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
