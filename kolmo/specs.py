"""The spec grammar: ``name[:value][,key=value...][@layout]``.

A spec names a configured object, a frozen dataclass, in one word that reads the same on the
command line, in a table, in a config file and in a notebook. Specs print back as they parse.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable
from typing import Any, ClassVar

from kolmo.errors import InputError


class Spec:
    """Base of the frozen dataclasses that a spec names.

    Class attributes: ``name``, the word before the colon; ``value_field``, the field that the
    value after the colon sets (None where there is none); ``version``, which a change that moves
    a single bit of its figures raises, so that results of earlier code are not taken for its own;
    ``software``, the libraries that its figures depend on (`kolmo.provenance.library_version`).
    """

    name: ClassVar[str]
    value_field: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    software: ClassVar[tuple[str, ...]] = ()

    @property
    def layout_name(self) -> str | None:
        """The layout that an estimator reads its symbols in; None where it has none."""
        layout: str | None = getattr(self, "layout", None)
        return layout

    @property
    def label(self) -> str:
        """The spec without its layout, which tables have in a column of its own."""
        return str(self).removesuffix(f"@{self.layout_name}")

    def __str__(self) -> str:
        text = self.name
        layout = ""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name == self.value_field:
                text += "" if value is None else f":{_print(value)}"
            elif field.name == "layout":
                layout = "" if value == field.default else f"@{value}"
            elif value != field.default:
                text += f",{field.name}={_print(value)}"
        return text + layout


def parse(text: str) -> tuple[str, str | None, dict[str, str]]:
    """Split a spec into its name, its value (None where absent) and its options.

    >>> parse("bdm,ndim=2")
    ('bdm', None, {'ndim': '2'})
    >>> parse("zstd:19@shuffle")
    ('zstd', '19', {'layout': 'shuffle'})
    """
    body, at, layout = text.strip().partition("@")
    head, *options = body.split(",")
    name, colon, value = head.partition(":")
    parsed: dict[str, str] = {}
    for option in options:
        key, equals, given = option.partition("=")
        if not equals or not key or not given or key in parsed:
            raise InputError(f"spec {text!r}: {option!r} is not one key=value")
        parsed[key] = given
    if not name or (colon and not value) or (at and not layout):
        raise InputError(f"spec {text!r} is not of the form name[:value][,key=value...][@layout]")
    if at:
        parsed["layout"] = layout
    return name, value if colon else None, parsed


def build(cls: type[Any], text: str, value: str | None, options: dict[str, str]) -> Any:
    """Make the object that a parsed spec names; InputError where an option does not fit."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    given = dict(options)
    if value is not None:
        if cls.value_field is None:
            raise InputError(f"spec {text!r}: {cls.name} takes no value after a colon")
        given[cls.value_field] = value
    hints = typing.get_type_hints(cls)
    arguments = {}
    for key, raw in given.items():
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise InputError(f"spec {text!r}: {cls.name} has no option {key!r} (it has: {known})")
        arguments[key] = _coerce(raw, hints[key], text, key)
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in arguments
    ]
    if missing:
        example = f"{cls.name}:<{missing[0]}>" if missing[0] == cls.value_field else missing[0]
        raise InputError(f"spec {text!r}: {cls.name} needs {missing[0]} ({example})")
    return cls(**arguments)


def several(given: Any) -> tuple[Any, ...]:
    """One thing, or all of a list: wherever there may be several, one needs no brackets.

    >>> several("kt"), several(["kt", "zstd:3"]), several([])
    (('kt',), ('kt', 'zstd:3'), ())
    """
    if isinstance(given, (str, Spec)):
        return (given,)
    return tuple(given)


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that nobody registered, with the close ones."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
    return InputError(f"unknown {what} {name!r}; {hint}")


def _coerce(raw: str, hint: Any, text: str, key: str) -> Any:
    types = [t for t in (typing.get_args(hint) or (hint,)) if t is not type(None)]
    try:
        if types[0] is bool:
            return {"true": True, "false": False}[raw.lower()]
        return types[0](raw)
    except (ValueError, KeyError):
        expected = types[0].__name__
        raise InputError(f"spec {text!r}: {key} must be of type {expected}, not {raw!r}") from None


def _print(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
