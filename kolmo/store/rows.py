"""Results as text: JSON that restores every number to the last bit.

A text is a list: which kind of outcome, the seconds that it took, and its fields in order. Nothing
but text is ever read from a store, and nothing is made of it that has not the form of a result.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kolmo.estimators.base import CodeLength
from kolmo.forms import EXACT, anything
from kolmo.forms import LARGEST as MOST
from kolmo.outcomes import KeptFacts, Missing, Result

LARGEST = 1 << 22
"""Bytes of a result, at most; a larger one is not kept."""

_KINDS: Mapping[str, type[CodeLength] | type[Missing] | type[KeptFacts]] = {
    "code": CodeLength,
    "missing": Missing,
    "record": KeptFacts,
}
_NAMES = {kind: [field.name for field in dataclasses.fields(cls)] for kind, cls in _KINDS.items()}
_DETAILS = {"code": _NAMES["code"].index("details"), "record": 0}  # which field holds others
_NUMBER = (float, int)
_SCALARS = (float, int, str, bool, type(None))
_TYPES: Mapping[str, tuple[tuple[type, ...], ...]] = {
    "code": (
        *(_NUMBER, (int,), (int,), (str,), (dict,), _NUMBER, _NUMBER),
        *((str,), _NUMBER, (bool,), _NUMBER, _NUMBER, _NUMBER),
    ),
    "missing": ((str,), (bool,)),
    "record": ((dict,),),
}
"""The types that each field may have."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "bits": (0, MOST),
    "numel": (0, EXACT),
    "raw_bits": (0, MOST),
    "sampled": (0, 1),
    "side_bits": (0, MOST),
}
_MAY_BE_UNKNOWN = ("standard_error", "degrees", "squared_error", "squared_weights")


def write_result(result: Result) -> bytes:
    """The text of a result, the same for equal results.

    Raises
    ------
    ValueError
        If it cannot be restored: details hold something else than JSON does, or are too large.

    Examples
    --------
    >>> write_result(Result(Missing("no blocks"), 0.5))
    b'["missing",0.5,"no blocks",false]'
    """
    outcome = result.outcome
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(outcome, cls))
    values = [getattr(outcome, name) for name in _NAMES[kind]]
    document = [kind, float(result.seconds), *values]
    try:
        text = _ENCODER.encode(document)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"a result is not JSON ({error})") from None
    restored = _is_restored(kind, values) or _same(json.loads(text), document)
    if len(text) > LARGEST or not restored:
        raise ValueError("a result is not what its text restores, or too large")
    _check_figures(result)
    return text.encode()


def read_result(text: bytes) -> Result:
    """The result that a text restores.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> read_result(b'["missing",0.5,"no blocks",false]')
    Result(outcome=Missing(reason='no blocks', problem=False), seconds=0.5)
    >>> read_result(b'["missing",0.5,3,false]')
    Traceback (most recent call last):
    ...
    ValueError: the text is no result
    """
    try:
        kind, seconds, *values = json.loads(text.decode())
        fits = type(seconds) is float and _fits(kind, *map(type, values))
    except (RecursionError, TypeError):
        raise ValueError("the text is no result") from None
    if not fits:
        raise ValueError("the text is no result")
    if kind == "code" and values[3] not in ("bound", "estimate"):
        raise ValueError(f"{values[3]!r} is no kind of code")
    made: Any = _KINDS[kind](*values)
    result = Result(made, seconds)
    _check_figures(result)
    return result


def _check_figures(result: Result) -> None:
    """ValueError for figures that no report may have: something is computed from each."""
    outcome = result.outcome
    if not 0 <= result.seconds <= MOST:
        raise ValueError("nothing takes so many seconds")
    if not isinstance(outcome, CodeLength):
        return
    known = all(low <= getattr(outcome, name) <= high for name, (low, high) in _RANGES.items())
    if not known or not all(_may_be(getattr(outcome, name)) for name in _MAY_BE_UNKNOWN):
        raise ValueError("a figure of the result is none that a run measures")
    anything(outcome.details, "details")


def _may_be(figure: float) -> bool:
    return figure != figure or 0 <= figure <= sys.float_info.max


@functools.lru_cache
def _fits(kind: str, *types: type) -> bool:
    """Whether the fields of a kind of outcome may have these types."""
    may = _TYPES.get(kind, ())
    return len(types) == len(may) and all(of in those for of, those in zip(types, may, strict=True))


def _is_restored(kind: str, values: Sequence[Any]) -> bool:
    """Whether JSON restores these fields for certain: those of most results, which are many."""
    details = values[_DETAILS[kind]] if kind in _DETAILS else {}
    return _fits(kind, *map(type, values)) and _are_flat(*map(type, (*details, *details.values())))


@functools.lru_cache
def _are_flat(*types: type) -> bool:
    """Whether keys of these types are text, and the values that follow them are of JSON as is."""
    keys = len(types) // 2
    return all(of is str for of in types[:keys]) and all(of in _SCALARS for of in types[keys:])


def _same(a: Any, b: Any) -> bool:
    """Whether two values of JSON are equal; NaN is equal to itself."""
    if isinstance(a, dict) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b) or (a != a and b != b)


def _plain(value: Any) -> Any:
    """A number of numpy, or a mapping, as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no value of JSON")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain)
