"""What opening one checkpoint may cost: one budget, which every reader charges.

A few bytes can name a million things, names that grow with each level, and contents that unpack to
a thousand times their size. Whoever reads them counts what is looked at (`items`), characters of
texts and names (`letters`), and bytes that are unpacked, against what a checkpoint of that size may
take. Nothing here is a clock: a file is read or refused alike on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

from kolmo.errors import InputError

ITEMS = 1 << 21
"""Fields, opcodes, members, values of any checkpoint, and one more for each `_DENSE` bytes."""

LETTERS = 1 << 25
"""Characters of texts and names that are made of any checkpoint, and `_REPEATED` for each byte."""

UNPACKED = 1 << 28
"""Bytes that any checkpoint may unpack to, or `EXPANSION` times its size where that is more."""

EXPANSION = 64
"""Times its size that a checkpoint may unpack to, all archives in archives together."""

ENTRY = 8
"""Items that a tensor counts for, and whatever else takes a thousand bytes or ten microseconds."""

_DENSE, _REPEATED = 4, 4
_SPARSE = 1 << 28  # bytes that raise what may be made: a file with holes has any size


class Allowance:
    """What one checkpoint may still cost; the more, the larger its files are.

    Examples
    --------
    >>> allowance = Allowance("model.bin", 1000)
    >>> allowance.charge(1000, letters=50)
    >>> allowance.charge(3_000_000)
    Traceback (most recent call last):
    ...
    kolmo.errors.InputError: model.bin: more than 2,097,402 items to look at, far more than a \
checkpoint of 1,000 bytes has; it is damaged, or made to exhaust who reads it
    """

    def __init__(self, where: str, size: int = 0) -> None:
        self._where, self._size = where, size
        self._files: set[str] = set()
        self._items = self._letters = self._unpacked = 0
        self._set_limits()

    def _set_limits(self) -> None:
        size = min(self._size, _SPARSE)
        self._most_items = ITEMS + size // _DENSE
        self._most_letters = LETTERS + size * _REPEATED
        self._most_unpacked = max(UNPACKED, self._size * EXPANSION)

    def grow(self, file: str, size: int) -> None:
        """Count a file that belongs to the checkpoint; the same one once."""
        if file not in self._files:
            self._files.add(file)
            self._size += size
            self._set_limits()

    def charge(self, items: int, letters: int = 0) -> None:
        """Count what is looked at or made; InputError if it is too much."""
        self._items += items
        self._letters += letters
        if self._items > self._most_items:
            self._refuse(f"{self._most_items:,} items to look at")
        if self._letters > self._most_letters:
            self._refuse(f"{self._most_letters:,} characters of names and texts")

    def unpack(self, size: int, where: str) -> None:
        """Count bytes that are unpacked, of what is ``where``; InputError if they are too many."""
        self._unpacked += size
        if self._unpacked > self._most_unpacked:
            raise InputError(
                f"{where}: it holds more than {self._most_unpacked:,} bytes, over {EXPANSION} "
                f"times its size; unpack it yourself if you trust it"
            )

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(
            f"{self._where}: more than {what}, far more than a checkpoint of {self._size:,} bytes "
            f"has; it is damaged, or made to exhaust who reads it"
        )


_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def opening(where: str) -> Iterator[None]:
    """One allowance for all that is read meanwhile."""
    token = _current.set(Allowance(where))
    try:
        yield
    finally:
        _current.reset(token)


def allowance_for(where: str, size: int) -> Allowance:
    """That of the checkpoint that is being opened; where none is, one for these bytes alone."""
    return _current.get() or Allowance(where, size)


def belongs(file: str, size: int) -> None:
    """Say that a file belongs to the checkpoint that is being opened."""
    if (allowance := _current.get()) is not None:
        allowance.grow(file, size)


def charge_entry(name: str) -> None:
    """Count a tensor, or another entry, of the checkpoint that is being opened, and its name."""
    if (allowance := _current.get()) is not None:
        allowance.charge(ENTRY, len(name))
