"""Results as text: JSON that restores every number to the last bit.

Text is all that a store holds, and all that is believed of it is what has the form of a result.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kolmo.estimators.base import CodeLength
from kolmo.outcomes import Missing, Outcome, Result

LARGEST = 1 << 22
"""Bytes of a result, at most; a larger one is not kept."""

_KINDS: Mapping[str, type[CodeLength] | type[Missing]] = {"code": CodeLength, "missing": Missing}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "Kind": (str,),
    "Mapping[str, Any]": (dict,),
}
"""By the annotation of a field, the types that its value may have."""


def write_result(result: Result) -> bytes:
    """The text of a result, the same for equal results.

    Raises
    ------
    ValueError
        If it cannot be restored: details hold something else than JSON does, or are too large.

    Examples
    --------
    >>> write_result(Result(Missing("no blocks"), 0.5))
    b'{"missing":{"problem":false,"reason":"no blocks"},"seconds":0.5}'
    """
    outcome = result.outcome
    kind = "code" if isinstance(outcome, CodeLength) else "missing"
    fields = {f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}
    if "details" in fields:
        fields["details"] = _as_json(fields["details"])
    document = {kind: fields, "seconds": float(result.seconds)}
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=_plain).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"a result is not JSON ({error})") from None
    if len(text) > LARGEST:
        raise ValueError(f"a result of {len(text)} bytes is too large")
    return text


def read_result(text: bytes) -> Result:
    """The result that a text restores.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> read_result(b'{"missing":{"problem":false,"reason":"no blocks"},"seconds":0.5}')
    Result(outcome=Missing(reason='no blocks', problem=False), seconds=0.5)
    >>> read_result(b'{"missing":{"reason":3,"problem":false},"seconds":0.5}')
    Traceback (most recent call last):
    ...
    ValueError: 3 is no reason
    """
    if len(text) > LARGEST:
        raise ValueError("the text is too long")
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("the text is nested too deeply") from None
    if not isinstance(document, dict) or len(document) != 2:
        raise ValueError("the text is no result")
    seconds = document.pop("seconds", None)
    ((kind, fields),) = document.items()
    if type(seconds) is not float or kind not in _KINDS or not isinstance(fields, dict):
        raise ValueError("the text is no result")
    return Result(_outcome(_KINDS[kind], fields), seconds)


def _outcome(cls: type[CodeLength] | type[Missing], fields: dict[str, Any]) -> Outcome:
    expected = {field.name: str(field.type) for field in dataclasses.fields(cls)}
    if fields.keys() != expected.keys():
        raise ValueError(f"the fields are {', '.join(fields)}")
    for name, value in fields.items():
        if type(value) not in _TYPES[expected[name]]:
            raise ValueError(f"{value!r} is no {name}")
    if fields.get("kind", "bound") not in ("bound", "estimate"):
        raise ValueError(f"{fields['kind']!r} is no kind of code")
    return cls(**fields)


def _as_json(details: Mapping[str, Any]) -> dict[str, Any]:
    """The details; ValueError if JSON would restore others."""
    plain = dict(details)
    if not _same(json.loads(json.dumps(plain, default=_plain)), plain):
        raise ValueError("the details are not what JSON restores")
    return plain


def _same(a: Any, b: Any) -> bool:
    """Whether two values of JSON are equal; NaN is equal to itself."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b)


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no value of JSON")
