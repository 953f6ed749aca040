"""What a pickle holds once it is read as data: nothing here was imported, called or made.

A class or function that a pickle names is a `Global`, which is a name. What it would make of its
arguments is a `Record`, which keeps them. Arrays and tensors are `Strided`; a tensor that is known
but not supported is `LeftOut`, with its size and the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


class Global:
    """The name of a class or a function."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


class OldText(str):
    r"""A text of Python 2 that is not ASCII: there texts are bytes, and arrays keep values in them.

    It is read as UTF-8, as torch reads it, or, of bytes that are none, with a letter for each byte,
    as numpy does.

    Attributes
    ----------
    data : bytes
        What stands in the file.

    Examples
    --------
    >>> OldText(b"caf\xc3\xa9"), OldText(b"caf\xe9"), OldText(b"\xc3\xa9").data
    ('café', 'café', b'\xc3\xa9')
    """

    __slots__ = ("data",)
    data: bytes

    def __new__(cls, data: bytes) -> OldText:
        """The text of these bytes."""
        try:
            made = super().__new__(cls, data.decode("utf-8"))
        except UnicodeDecodeError:
            made = super().__new__(cls, data.decode("latin-1"))
        made.data = data
        return made


class Record:
    """What a class or a function would make of its arguments, with all that was put into it.

    Attributes
    ----------
    name : str
        The class or function.
    called : bool
        Whether the pickle asks to call it, as it does for functions and some classes.
    args : tuple
    state : object
        Usually a dict of attributes; None where there is none.
    items, entries : list and dict, or None
        What was appended, and set by key.
    """

    __slots__ = ("args", "called", "entries", "items", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = (), called: bool = False) -> None:
        self.name, self.args, self.called = name, args, called
        self.state: Any = None
        self.items: list[Any] | None = None
        self.entries: dict[Any, Any] | None = None

    def __str__(self) -> str:
        return f"<{self.name}>"


class Ndarray:
    """A numpy array that a pickle builds in two steps; ``content`` comes with the second.

    It is a `Strided`, a `LeftOut`, or a list of the objects of an array of objects.
    """

    __slots__ = ("content", "subclass")

    def __init__(self, subclass: str) -> None:
        self.subclass = subclass
        self.content: Any = None


class Dtype:
    """A numpy dtype by its code; ``order`` comes later."""

    __slots__ = ("code", "fields", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order, self.fields = code, "=", False


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A tensor that is not measured: why, and how many entries it has."""

    reason: str
    numel: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class CodedArray:
    """A tensor whose stored entries are codes, or several numbers in each.

    ``tensor`` makes it of the tensor that the array of codes is by itself.
    """

    array: Any
    numel: int
    tensor: Callable[[Any], Any]


class Key:
    """A key of a mapping that stands for something without a value to compare, which it keeps."""

    __slots__ = ("text", "value")

    def __init__(self, text: str, value: Any = None) -> None:
        self.text, self.value = text, value

    def __str__(self) -> str:
        return self.text


_SIMPLE = (str, bytes, bool, type(None), float)
_LARGEST = 1 << 60  # beyond it many integers have one hash, on purpose if a file is hostile


def key_of(value: Any) -> Any:
    """A key that is cheap to hash and compare, whatever a pickle uses as one."""
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, int):
        return value if -_LARGEST < value < _LARGEST else Key(f"{value:#x}"[:40])
    if isinstance(value, np.generic):
        return key_of(value.item())
    if isinstance(value, tuple) and len(value) < 17 and all(_is_small(v) for v in value):
        return value
    is_named = isinstance(value, (Global, Record))
    return Key(str(value)[:200] if is_named else type(value).__name__, value)


def _is_small(value: Any) -> bool:
    if isinstance(value, int):
        return -_LARGEST < value < _LARGEST
    return isinstance(value, _SIMPLE)
