"""What people do with a store: look what is in it, make it smaller."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kolmo.errors import InputError, KolmoError
from kolmo.store.database import Database, WrongSchema
from kolmo.text import printable

_TIMEOUT = 60.0  # seconds to wait for a run that writes
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclasses.dataclass(frozen=True)
class KeptRow:
    """The results of one measurement in a store.

    Attributes
    ----------
    measurement : str
        Estimator and quantizer.
    entries : int
    bytes : int
    used : float
        When one of them was last used, in seconds since 1970, to a day.
    """

    measurement: str
    entries: int
    bytes: int
    used: float


@dataclasses.dataclass(frozen=True)
class StoreContents:
    """What is in a store.

    Attributes
    ----------
    file : str
    bytes : int
        That the file takes.
    measurements : list of KeptRow
    """

    file: str
    bytes: int
    measurements: list[KeptRow]

    @property
    def entries(self) -> int:
        """Results of all measurements."""
        return sum(kept.entries for kept in self.measurements)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**dataclasses.asdict(self), "entries": self.entries}


def contents(path: Path) -> StoreContents:
    """What is in the store of a file; nothing where there is no file.

    Raises
    ------
    KolmoError
        If the file is damaged, or no store.
    """
    if not path.exists():
        return StoreContents(str(path), 0, [])
    with _opened(path) as database:
        rows = database.by_label()
        kept = [
            KeptRow(printable(str(label)), n, size, _time(used)) for label, n, size, used in rows
        ]
        return StoreContents(str(path), database.size, kept)


def prune(path: Path, older_than: float | None = None, max_size: int | None = None) -> int:
    """Remove results from a store, and give their room back to the disk; how many those were.

    Parameters
    ----------
    path : Path
    older_than : float, optional
        Seconds; what was not used for so long goes.
    max_size : int, optional
        Bytes; what was not used for longest goes until no more than these are taken.

    Raises
    ------
    KolmoError
        If the file is damaged, or no store.
    """
    if not path.exists():
        return 0
    removed = 0
    with _opened(path) as database:
        if older_than is not None:
            removed += database.remove_unused(time.time() - older_than)
        while max_size is not None and database.size > max_size and database.count:
            removed += database.remove_oldest(1 - max_size / database.size)
        database.shrink()
    return removed


def parse_age(text: str) -> float:
    """Seconds of an age such as ``30d``; units are s, m, h, d and w.

    >>> parse_age("30d"), parse_age("12h")
    (2592000.0, 43200.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smhdw])", text.strip().lower())
    if not found:
        raise InputError(f"{text!r} is no age such as 30d (s, m, h, d or w)")
    return float(found[1]) * _SECONDS[found[2]]


def parse_size(text: str) -> int:
    """Bytes of a size such as ``1GB`` (1,000,000,000) or ``1GiB`` (1,073,741,824).

    >>> parse_size("1GB"), parse_size("1GiB"), parse_size("500 kB"), parse_size("12")
    (1000000000, 1073741824, 500000, 12)
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMGT]?)(I?)B?", text.strip().upper())
    if not found or (found[3] and not found[2]):
        raise InputError(f"{text!r} is no size such as 1GB or 500MB")
    power = "KMGT".index(found[2]) + 1 if found[2] else 0
    return int(float(found[1]) * (1024**power if found[3] else _BYTES[found[2]]))


@contextmanager
def _opened(path: Path) -> Iterator[Database]:
    try:
        with closing(Database(path, _TIMEOUT)) as database:
            yield database
    except (sqlite3.Error, WrongSchema, OSError) as error:
        raise KolmoError(
            f"{path}: cannot be read as a store ({error}); `kolmo store verify` mends one"
        ) from None


def _time(used: Any) -> float:
    """A time of last use as it may be: the file is not trusted."""
    return min(max(float(used), 0.0), time.time()) if isinstance(used, int) else 0.0
