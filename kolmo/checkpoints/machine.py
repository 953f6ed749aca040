"""The state of a machine that reads pickles as data: what it takes, what it makes, what it spends.

`kolmo.checkpoints.pickles` has the opcodes. Every opcode takes time and memory in proportion to
its own bytes: what it claims to hold is compared with what is there, a long run of bytes stays in
the file, and opcodes, objects and entries that are copied from one container to another are counted
(`kolmo.checkpoints.allowance`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kolmo.checkpoints.allowance import allowance_for
from kolmo.checkpoints.inert import Global, Record
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

_LONG = 1 << 16  # bytes: a longer run of them stays in the file
_WINDOW = 1 << 16
_OBJECT = 3  # items that a container or a record counts for, beside its opcode
_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core": "numpy._core"}


class PickleError(ValueError):
    """A pickle that is damaged, or not one."""


class PickleReader:
    """A place in stored bytes that moves on as they are taken."""

    def __init__(self, stored: Stored, position: int = 0) -> None:
        self.stored = stored
        self._start, self._at, self._window = position, 0, b""

    @property
    def position(self) -> int:
        """Bytes before the place."""
        return self._start + self._at

    @property
    def left(self) -> int:
        """Bytes after the place."""
        return self.stored.size - self.position

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if self._at + size > len(self._window):
            self._refill(size)
        data = self._window[self._at : self._at + size]
        self._at += size
        return data

    def run(self, size: int) -> bytes | Stored:
        """The next bytes, left in the file if they are many."""
        if size <= _LONG:
            return self.take(size)
        part = self.stored.part(self.position, self._checked(size))
        self.skip(size)
        return part

    def skip(self, size: int) -> None:
        """Go on by so many bytes."""
        self._start, self._at, self._window = self.position + self._checked(size), 0, b""

    def line(self) -> bytes:
        """The rest of a line, without its end."""
        parts: list[bytes] = []
        while (end := self._window.find(b"\n", self._at)) < 0:
            parts.append(self._window[self._at :])
            self.skip(len(self._window) - self._at)
            self._refill(1)
        parts.append(self.take(end - self._at))
        self._at += 1
        return b"".join(parts)

    def number(self, size: int) -> int:
        """The next bytes as an unsigned number."""
        return int.from_bytes(self.take(size), "little")

    def _checked(self, size: int) -> int:
        if size > self.left:
            raise PickleError(f"it ends early: {size:,} bytes are claimed, {self.left:,} are left")
        return size

    def _refill(self, size: int) -> None:
        self._start, self._at = self.position, 0
        self._window = bytes(self.stored.read(self._start, min(_WINDOW, self.left)))
        if size > len(self._window):
            self._window = bytes(self.stored.read(self._start, self._checked(size)))


Rebuild = Callable[..., Any]


class Machine:
    """Runs one pickle; ``table`` rebuilds, ``persistent`` answers for what lies outside it.

    ``table`` maps the name of a class or function to ``rebuild(machine, *args)``, which returns an
    inert value, or raises TypeError or ValueError where it does not know such arguments: then they
    are kept as a `Record`. ``built`` maps the name of a record to what its last step makes of it.
    """

    def __init__(
        self,
        reader: PickleReader,
        table: Mapping[str, Rebuild],
        persistent: Callable[[Any], Any] | None = None,
        built: Mapping[str, Callable[[Machine, Record], Any]] | None = None,
        depth: int = 0,
    ) -> None:
        self.reader, self.table, self.depth = reader, table, depth
        self.persistent, self.built = persistent, built or {}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.charge = allowance_for(reader.stored.where, reader.stored.size).charge

    def push(self, made: Any) -> None:
        """Put a new object on the stack."""
        self.charge(_OBJECT)
        self.stack.append(made)

    def pop_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def make(self, function: Any, args: Any, called: bool) -> Any:
        """What a class or function makes of its arguments: rebuilt if known, else a record."""
        args = args if isinstance(args, tuple) else (args,)
        if not isinstance(function, Global):
            return Record("a call of what it made itself", (function, *args), called)
        rebuild = self.table.get(function.name)
        if rebuild is not None:
            try:
                return rebuild(self, *args)
            except PickleError:
                raise
            except InputError:
                raise
            except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
                pass  # arguments of a version that is not known: they are kept, not guessed at
        return Record(function.name, args, called)


def full_name(module: str, name: str) -> str:
    """A class or function by its name of today, whichever version of Python wrote it."""
    for old, new in _MODULES.items():
        if module == old or module.startswith(old + "."):
            module = new + module[len(old) :]
    return f"{module}.{name}"
