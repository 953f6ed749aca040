"""Forms of what a file of JSON holds: a value that has not the form it should is named, and where.

A form is a function of a value and of its place that raises ValueError.

>>> form = record(seconds=number(0), names=listed(text))
>>> form({"seconds": 3, "names": ["a", None]}, "settings")
Traceback (most recent call last):
...
ValueError: settings, names, item 2 is a text, not null
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from kolmo.text import printable, shorten

Form = Callable[[Any, str], None]

LARGEST = 1e30
"""No number of a report is larger: all that is computed from them stays finite."""

LOGGED = 1e100
"""No metric is larger: a loss may be near the largest float of 32 bits, and all have an axis."""

EXACT = 1 << 53
"""Whole numbers up to here are floats too."""

_DEEPEST = 32  # lists in lists
_SHOWN = 40


def read_json(text: str) -> Any:
    """What a text of JSON holds; ValueError where it says a thing twice, or is nested too deep.

    >>> read_json('{"a": NaN}')
    Traceback (most recent call last):
    ...
    ValueError: NaN is no number of JSON
    """
    found = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
    _check_depth(found, _DEEPEST)
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _check_depth(value: Any, left: int) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not left and inner:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    for each in inner:
        if isinstance(each, dict | list):
            _check_depth(each, left - 1)


# --- values ---------------------------------------------------------------------------------


def text(value: Any, where: str) -> None:
    """A text."""
    if not isinstance(value, str):
        raise _wrong(value, where, "a text")


def truth(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(value, where, "true or false")


def number(least: float = -LARGEST, most: float = LARGEST) -> Form:
    """A number from the least one to the most."""

    def form(value: Any, where: str) -> None:
        if not _is_number(value) or not least <= value <= most:
            raise _wrong(value, where, _from("a number", least))

    return form


def whole(least: int = 0) -> Form:
    """A whole number from the least one to `EXACT`."""

    def form(value: Any, where: str) -> None:
        if type(value) is not int or not least <= value <= EXACT:
            raise _wrong(value, where, _from("a whole number", least))

    return form


def finite(value: Any, where: str) -> None:
    """Any number that a float can be."""
    if not _is_number(value) or not abs(value) <= sys.float_info.max:
        raise _wrong(value, where, "a finite number")


def figure(value: Any, where: str) -> None:
    """What a function of the user's gave: a number, or what stands for none."""
    if not isinstance(value, float):
        finite(value, where)


def anything(value: Any, where: str) -> None:
    """Whatever JSON can write again: its numbers are finite."""
    if _is_number(value):
        finite(value, where)
    items = value.items() if isinstance(value, dict) else enumerate(_items(value), 1)
    for name, each in items:
        anything(each, f"{where}, {_named(name)}")


# --- of values ------------------------------------------------------------------------------


def maybe(of: Form) -> Form:
    """A value of a form, or null."""
    return lambda value, where: None if value is None else of(value, where)


def one_of(*names: str) -> Form:
    """One of these texts."""

    def form(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in names:
            raise _wrong(value, where, f"one of {', '.join(names)}")

    return form


def listed(of: Form, least: int = 0) -> Form:
    """A list of values of one form, as many as the least at least."""

    def form(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            raise _wrong(value, where, "a list" if not least else f"a list of {least} or more")
        for place, each in enumerate(value, 1):
            of(each, f"{where}, item {place}")

    return form


def mapped(of: Form, least: int = 0) -> Form:
    """Values of one form by any names, as many as the least at least."""

    def form(value: Any, where: str) -> None:
        if not isinstance(value, dict) or len(value) < least:
            raise _wrong(value, where, "an object" if not least else "an object that is not empty")
        for name, each in value.items():
            of(each, f"{where}, {_named(name)}")

    return form


def record(_optional: Mapping[str, Form] | None = None, **fields: Form) -> Form:
    """An object that has these fields, perhaps the optional ones, and any others besides."""
    optional = _optional or {}

    def form(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, where, "an object")
        for name, of in fields.items():
            if name not in value:
                raise ValueError(f"{where} has no {name}")
            of(value[name], f"{where}, {name}")
        for name in optional.keys() & value.keys():
            optional[name](value[name], f"{where}, {name}")

    return form


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _from(what: str, least: float) -> str:
    return what if least <= -EXACT else f"{what} from {least:g} up"


def _named(name: Any) -> str:
    return f"item {name}" if isinstance(name, int) else shorten(printable(str(name)), _SHOWN)


def _wrong(value: Any, where: str, wanted: str) -> ValueError:
    return ValueError(f"{where} is {wanted}, not {_told(value)}")


def _told(value: Any) -> str:
    """A value in short, as JSON has it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return shorten(printable(repr(value)), _SHOWN)
