"""What a code is: symbols to bytes and back, found by a name and by a number that never changes.

::

    symbols of some tensors ── encode ──► bytes ── decode(shapes, alphabet) ──► symbols

A code is stateless, and told the shapes and the alphabet of its symbols both ways, so that its
bytes hold nothing of them. Its number is written in files: a changed format is another
code, with another name and number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Protocol, runtime_checkable

from kolmo import specs
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols


@runtime_checkable
class Code(Protocol):
    """A lossless code for the symbols of several tensors, a *unit*.

    Attributes
    ----------
    name : str
    number : int
        0 to 255, unique; a contract.

    Notes
    -----
    Compiled loops release the interpreter's lock, so that units are coded side by side.

    Where an estimator says how long the code of any symbols is, its spec may be an attribute
    ``estimator``; `kolmo.testing.check_code` then compares them.
    """

    name: str
    number: int

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        """Whether it can code symbols of these shapes and this alphabet."""
        ...

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        """Symbols as bytes.

        Parameters
        ----------
        parts : sequence of unsigned integer ndarrays
            Symbols of the alphabet, each in the shape of its tensor (or of some whole rows of
            it). What is learned of one serves the next.
        alphabet : Alphabet

        Raises
        ------
        NotApplicableError
            If these symbols are not for this code.
        """
        ...

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        """Undo `encode`: arrays of the smallest unsigned dtype that holds the alphabet.

        The data may be anything, the shapes are of a size that memory holds; no more than some
        multiple of it is allocated.

        Raises
        ------
        InputError
            If the data is no such code. Not every damage is noticed.
        """
        ...


@dataclasses.dataclass(frozen=True)
class _Declared:
    number: int
    module: str


_CODES: dict[str, Code] = {}
_DECLARED: dict[str, _Declared] = {}


def declare_code(name: str, number: int, module: str) -> None:
    """Say in which module a code is, without importing it.

    Raises
    ------
    InputError
        If another code has the name or the number, or the number takes more than a byte.
    """
    for known, its in _DECLARED.items():
        if known == name or its.number == number:
            raise InputError(
                f"code {name!r} ({number}) of {module}: {known!r} is number {its.number}, "
                f"in {its.module}"
            )
    if not 0 <= number < 256:
        raise InputError(f"code {name!r}: a number is 0 to 255, not {number}")
    _DECLARED[name] = _Declared(number, module)


def register_code(code: Code) -> Code:
    """Make a code known by its name and its number.

    Raises
    ------
    InputError
        If another code has the name or the number, or the number takes more than a byte.
    """
    own = _Declared(code.number, type(code).__module__)
    if code.name in _CODES or _DECLARED.get(code.name) != own:
        declare_code(code.name, own.number, own.module)
    _CODES[code.name] = code
    return code


def code_numbers() -> dict[str, int]:
    """The number of each code that there is, by name."""
    return {name: its.number for name, its in _DECLARED.items()}


def get_code(which: str | int) -> Code:
    """The code of a name or a number.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> get_code("raw").number, get_code(0).name
    (0, 'raw')
    """
    names = code_numbers()
    if isinstance(which, int):
        found = next((name for name, number in names.items() if number == which), None)
        if found is None:
            raise InputError(f"there is no code of number {which}; a newer kolmo may have it")
        which = found
    if which not in names:
        raise specs.unknown("code", which, names)
    if which not in _CODES:
        _import(_DECLARED[which].module)
    return _CODES[which]


@cache
def _import(module: str) -> None:
    import_module(module)


# Numbers are a contract: none is ever given to another code.
declare_code("raw", 0, "kolmo.codes.plain")
declare_code("constant", 1, "kolmo.codes.plain")
declare_code("mosaic", 2, "kolmo.codes.mosaic")
declare_code("zstd", 3, "kolmo.codes.general")
declare_code("xz", 4, "kolmo.codes.general")
declare_code("brotli", 5, "kolmo.codes.general")
declare_code("bz2", 6, "kolmo.codes.general")
declare_code("deflate", 7, "kolmo.codes.general")
declare_code("mixing", 8, "kolmo.codes.mosaic")
declare_code("context", 9, "kolmo.codes.context")
declare_code("byteplanes", 10, "kolmo.codes.byteplanes")
declare_code("counts", 11, "kolmo.codes.counts")
declare_code("repeat", 12, "kolmo.container.repeats")
