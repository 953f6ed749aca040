"""Codes: symbols to bytes and back, each known by a name and by a number that never changes.

::

    symbols of some tensors ── encode ──► bytes ── decode(shapes, alphabet) ──► symbols

A code is stateless. Encoder and decoder are both given the shapes and the alphabet, so that the
bytes hold neither. A code's number is written in files: a changed format is another code, with
another name and number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from kolmo.errors import InputError
from kolmo.registry import Registry, home_of
from kolmo.symbols import Alphabet, Shape, Symbols


@runtime_checkable
class Code(Protocol):
    """A lossless code for the symbols of several tensors, a *unit*.

    Notes
    -----
    Compiled loops release the interpreter's lock, so that units are coded in parallel.

    A code may have an attribute ``estimator``, the spec of the estimator that gives the length of
    its bytes; `kolmo.testing.check_code` then compares the two.
    """

    @property
    def name(self) -> str:
        """Unique; a contract."""
        ...

    @property
    def number(self) -> int:
        """0 to 255, unique; a contract: it is written in files."""
        ...

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        """Whether it can code symbols of these shapes and this alphabet."""
        ...

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        """Symbols as bytes.

        Parameters
        ----------
        parts : sequence of unsigned integer ndarrays
            Symbols of the alphabet, each in the shape of its tensor (or of whole rows of it).
            What the code learns from one helps with the next.
        alphabet : Alphabet

        Raises
        ------
        NotApplicableError
            If this code cannot express these symbols.
        """
        ...

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        """Undo `encode`: arrays of the smallest unsigned dtype that holds the alphabet.

        The data are not trusted. The caller has checked that arrays of these shapes fit in memory;
        at most a small multiple of their size is allocated.

        Raises
        ------
        InputError
            If the data are not valid. Not all damage is noticed.
        """
        ...


RESERVED = {"repeat": 12}
"""Numbers that containers use for units that are not coded; no code ever has them."""


class CodeRegistry(Registry[Code]):
    """Codes by name and by number. Packages cannot add any: every installation reads every file."""

    def __init__(self) -> None:
        super().__init__("code")
        self.numbers: dict[str, int] = {}

    def declare_number(self, name: str, number: int, module: str) -> None:
        """Record the module of a code and its number, without importing the module.

        Raises
        ------
        InputError
            If another code has the name or the number, or the number takes more than a byte.
        """
        self._check_number(name, number, module)
        self.declare(module, name)
        self.numbers[name] = number

    def register(self, entry: Code) -> Code:
        self._check_number(entry.name, entry.number, home_of(entry)[0])
        super().register(entry)
        self.numbers[entry.name] = entry.number
        return entry

    def forget(self, name: str) -> None:
        super().forget(name)
        del self.numbers[name]

    def _check_number(self, name: str, number: int, module: str) -> None:
        if not 0 <= number < 256:
            raise InputError(f"code {name!r}: a number is 0 to 255, not {number}")
        for known, its in (self.numbers | RESERVED).items():
            home = self._modules.get(known, "every container")
            if (known == name or its == number) and (known, its, home) != (name, number, module):
                raise InputError(
                    f"code {name!r} ({number}) of {module}: {known!r} is number {its}, in {home}"
                )


CODES = CodeRegistry()


def register_code(code: Code) -> Code:
    """Make a code known by its name and its number.

    Raises
    ------
    InputError
        If another code has the name or the number, or the number takes more than a byte.
    """
    return CODES.register(code)


def code_numbers() -> dict[str, int]:
    """The number of each code, by name."""
    return dict(CODES.numbers)


def code_name(number: int) -> str:
    """The name of the code, or of the reserved entry, with a number.

    Raises
    ------
    InputError
        If no code has the number.
    """
    for name, its in (CODES.numbers | RESERVED).items():
        if its == number:
            return name
    raise InputError(f"there is no code of number {number}; a newer kolmo may have it")


def get_code(which: str | int) -> Code:
    """The code with a name or a number.

    Raises
    ------
    InputError
        If no code has it.

    Examples
    --------
    >>> get_code("raw").number, get_code(0).name
    (0, 'raw')
    """
    return CODES.get(code_name(which) if isinstance(which, int) else which)


# The numbers are a contract: none is ever reused.
CODES.declare_number("raw", 0, "kolmo.codes.plain")
CODES.declare_number("constant", 1, "kolmo.codes.plain")
CODES.declare_number("mosaic", 2, "kolmo.codes.mosaic")
CODES.declare_number("zstd", 3, "kolmo.codes.general")
CODES.declare_number("xz", 4, "kolmo.codes.general")
CODES.declare_number("brotli", 5, "kolmo.codes.general")
CODES.declare_number("bz2", 6, "kolmo.codes.general")
CODES.declare_number("deflate", 7, "kolmo.codes.general")
CODES.declare_number("mixing", 8, "kolmo.codes.mosaic")
CODES.declare_number("context", 9, "kolmo.codes.context")
CODES.declare_number("byteplanes", 10, "kolmo.codes.byteplanes")
CODES.declare_number("counts", 11, "kolmo.codes.counts")
CODES.declare_number("predictive", 15, "kolmo.codes.predictive")
CODES.declare_number("grid", 13, "kolmo.codes.grid")
CODES.declare_number("records", 14, "kolmo.codes.records")
CODES.declare_number("trellis", 16, "kolmo.codes.trellis")
