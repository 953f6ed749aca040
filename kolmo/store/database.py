"""The file of a store: an SQLite database whose every row says itself whether it is whole.

The file is not trusted. Its schema must be this one, letter for letter, so that no trigger or view
of another's runs; a row is believed if its checksum, of key and text, holds.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from blake3 import blake3

APPLICATION = int.from_bytes(b"klmo", "big")
SCHEMA = 1

_TABLE = (
    "CREATE TABLE results (key BLOB PRIMARY KEY, label TEXT NOT NULL, text BLOB NOT NULL, "
    "checksum BLOB NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID"
)
_INDEX = "CREATE INDEX last_use ON results (used)"
_CONTEXT = "kolmo 2026 row of a store"
_MANY = 500  # keys in one query
_BATCH = 4096  # rows read at a time
_SEARCHED = 1 << 24  # bytes of a damaged file
_PAGE = 4096
_FOUND = "SELECT key, label, text, checksum, used FROM results"

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
Row = tuple[bytes, str, bytes, bytes, int]
"""Key, label, text, checksum, and the time of last use, in seconds since 1970."""


class WrongSchema(Exception):
    """The file is an SQLite database, and no store of this schema.

    Attributes
    ----------
    ours : bool
        Whether another version of this package made it.
    """

    def __init__(self, ours: bool) -> None:
        super().__init__("it is a store of another version" if ours else "it is another database")
        self.ours = ours


class Damaged(sqlite3.DatabaseError):
    """SQLite's check of the whole file found something wrong."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class Database:
    """The open file; every method may raise `sqlite3.Error`.

    Parameters
    ----------
    path : Path
    timeout : float
        Seconds to wait for another process that writes.
    frozen : bool
        Whether nobody can write to the file, nor beside it; it is then only read.

    Opening another database raises `WrongSchema`.
    """

    def __init__(self, path: Path, timeout: float, frozen: bool = False) -> None:
        name = f"{path.absolute().as_uri()}?{'immutable=1' if frozen else 'mode=rwc'}"
        self._connection = sqlite3.connect(
            name, timeout, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            self._connection.text_factory = lambda text: text.decode(errors="replace")
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 24)
            for setting in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
                self._connection.execute(f"PRAGMA {setting}")
            self._settle()
            if not frozen:
                self._journal(timeout)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    # --- rows -------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> Iterator[Row]:
        """The rows of these keys, as they are in the file."""
        for start in range(0, len(keys), _MANY):
            part = keys[start : start + _MANY]
            marks = ",".join("?" * len(part))
            yield from self._connection.execute(f"{_FOUND} WHERE key IN ({marks})", part)

    def rows(self, after: bytes) -> list[Row]:
        """Some thousand rows after a key, in the order of keys, as they are in the file."""
        query = f"{_FOUND} WHERE key > ? ORDER BY key LIMIT {_BATCH}"
        return self._connection.execute(query, (after,)).fetchall()

    def whole_rows(self) -> Iterator[Row]:
        """The rows of a damaged file that can be read and are whole, from both of its ends."""
        for order, least in (("ASC", b""), ("DESC", b"\xff" * 33)):
            last = least
            with suppress(sqlite3.DatabaseError):
                for row in self._connection.execute(f"{_FOUND} ORDER BY key {order}"):
                    if is_whole(row):
                        if (row[0] > last) != (order == "ASC"):
                            break  # pages in a circle
                        last = row[0]
                        yield row
                else:
                    return

    def add(self, rows: Iterable[Row]) -> int:
        """Add rows that are not there; how many those are."""
        with self.transaction():
            return self._connection.executemany(
                "INSERT OR IGNORE INTO results VALUES (?,?,?,?,?)", rows
            ).rowcount

    def write(self, texts: Mapping[bytes, tuple[str, bytes]], touched: Iterable[bytes]) -> None:
        """Keep labels and texts under their keys, and say what was used, in one transaction."""
        now = int(time.time())
        rows = [(k, label, t, checksum(k, label, t), now) for k, (label, t) in texts.items()]
        with self.transaction():
            self._connection.executemany("INSERT OR REPLACE INTO results VALUES (?,?,?,?,?)", rows)
            self._connection.executemany(
                "UPDATE results SET used = ? WHERE key = ?", [(now, key) for key in touched]
            )

    def remove(self, keys: Iterable[bytes]) -> None:
        with self.transaction():
            self._connection.executemany("DELETE FROM results WHERE key = ?", [(k,) for k in keys])

    # --- size -------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes that the rows take."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma(
            "page_size"
        )

    @property
    def count(self) -> int:
        """Rows that there are."""
        return int(self._connection.execute("SELECT count(*) FROM results").fetchone()[0])

    def remove_unused(self, since: float) -> int:
        """Remove rows that were not used after a time; how many those were."""
        with self.transaction():
            return self._connection.execute(
                "DELETE FROM results WHERE used <= ?", (since,)
            ).rowcount

    def remove_oldest(self, share: float) -> int:
        """Remove a share of the rows, those that were not used for longest; how many those were."""
        with self.transaction():
            oldest = "SELECT key FROM results ORDER BY used LIMIT ?"
            return self._connection.execute(
                f"DELETE FROM results WHERE key IN ({oldest})", (int(share * self.count) + 1,)
            ).rowcount

    def shrink(self) -> None:
        """Give the room of removed rows back to the disk."""
        self._connection.executescript("PRAGMA incremental_vacuum")  # execute frees one page only
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check(self) -> bool:
        """True; an error of a damaged file if SQLite finds anything wrong with it."""
        found = str(self._connection.execute("PRAGMA integrity_check").fetchone()[0])
        if found != "ok":
            raise Damaged(found)
        return True

    def by_label(self) -> list[tuple[str, int, int, int]]:
        """Of each measurement: its label, rows, bytes, time of last use."""
        return self._connection.execute(
            "SELECT label, count(*), sum(length(text) + length(label) + 64), max(used) "
            "FROM results GROUP BY label ORDER BY label"
        ).fetchall()

    # --- the file ---------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _settle(self) -> None:
        """Check the schema, or make it; nothing is written to a database of another's."""
        if self._schema() == []:
            self._connection.execute(f"PRAGMA page_size = {_PAGE}")
            self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._make()
        ours, schema = self._pragma("application_id") == APPLICATION, self._schema()
        if not ours or self._pragma("user_version") != SCHEMA or schema != [_TABLE, _INDEX]:
            raise WrongSchema(ours or _TABLE in schema)
        self._connection.execute("PRAGMA synchronous = FULL")  # what is committed outlives power

    def _make(self) -> None:
        with self.transaction():
            if self._schema() == [] and self._pragma("application_id") in (0, APPLICATION):
                for statement in (_TABLE, _INDEX):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
                self._connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _journal(self, timeout: float) -> None:
        """Let readers go on while one writes. The change needs the file alone for a moment, which
        SQLite does not wait for."""
        until = time.monotonic() + timeout
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def _schema(self) -> list[str]:
        found = self._connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name"
        )
        return [str(sql) for (sql,) in found]

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


def checksum(key: bytes, label: str, text: bytes) -> bytes:
    """Of a row: 32 bytes.

    >>> checksum(b"a", "kt", b"{}") == checksum(b"b", "kt", b"{}")
    False
    """
    head = f"{len(key)} {len(label)} {label}".encode("utf-8", "surrogatepass")
    return blake3(head + key + text, derive_key_context=_CONTEXT).digest()


def is_whole(row: Row) -> bool:
    """Whether a row is what was once written under its key."""
    key, label, text, kept, _ = row
    of_type = type(key) is bytes and type(label) is str and type(text) is bytes
    return of_type and kept == checksum(key, label, text)


def whole_text(row: Row) -> bytes:
    """The text of a row; ValueError if the row is not what was written."""
    if not is_whole(row):
        raise ValueError("the checksum is wrong")
    return row[2]


def is_busy(error: BaseException) -> bool:
    """Whether an error is that of another process that holds the file."""
    return getattr(error, "sqlite_errorcode", 0) & 255 in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def is_damage(error: BaseException, opening: bool = False) -> bool:
    """Whether an error is that of a damaged file, rather than of a disk, a lock or a permission."""
    code = getattr(error, "sqlite_errorcode", 0) & 255
    return code in _DAMAGE or (opening and code == sqlite3.SQLITE_ERROR)


def was_a_store(path: Path) -> bool:
    """Whether a file that is damaged seems to have been a store: by its name, first bytes, rows."""
    if path.suffix in (".sqlite", ".sqlite3", ".db"):
        return True
    with path.open("rb") as file:
        head = file.read(_SEARCHED)
    return head.startswith(b"SQLite format 3") or _TABLE.encode() in head or b'["code",' in head


def move_aside(path: Path) -> Path:
    """Rename a file, and what SQLite keeps beside it, to the next free ``.damaged-N``."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", "-journal", ""):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            os.replace(beside, target.with_name(target.name + suffix))
    return target
