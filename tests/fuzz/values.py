"""Values and names that break readers, and damage to documents of JSON by them."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from tests.fuzz.damage import pick

NAMES = (
    *("", " ", ".", "..", "/", "a/b", "../../x", "C:\\x", "CON", "nul.txt", "-rf", "--help", "~"),
    *("a\x1b[31mb", "\x1b]0;t\x07", "a\r\nb", "\0", "a\0b", "\ud800", "\u202eabc", "\u200b"),
    *("\x85", "\u2028", "<script>alert(1)</script>", "</pre>", "&amp;", "a\"b'c", "[link=x]"),
    *("[bold]x[/bold]", "[/]", "$\\frac{", "$x$", "\\textbf{", "%s %d {0} {x}", "_^", "$$", "a$b"),
    *("=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", "\\", '"', ",", ";", "\n", "NaN", "None"),
    *("inf", "1e5", "model", "tensor", "sample", "native", "kt", "shuffled", "x" * 10_000),
    *("\u00e9" * 300, "\u4e2d\u6587", "\U0001f642"),
)
"""Names that files, terminals, pages, TeX, spreadsheets and tables take for something else."""

NUMBERS = (
    *(0, 1, -1, 2, 7, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, 10**19, 10**400, -(10**400)),
    *(0.5, -0.0, 1e-320, 1e-5, 1e308, -1e308, 1e400, math.inf, -math.inf, math.nan, 0.1 + 0.2),
)

ODD = (None, True, False, [], {}, [[]], [1], [None], {"a": 1}, {"": []}, "0", "x", "1x", "9" * 5000)

WORDS = (
    *("bound", "estimate", "model", "tensor", "sample", "native", "nmse:", "nmse:x", "nmse:0.01"),
    *("sign", "kt", "planes", "bdm", "delta", "alone", "function", "shuffled", "gaussian"),
    *("row-shuffled", "constant", "alike", "scaled", "bfloat16", "float32", "exact", "1970-01-01"),
)


def some_value(random: np.random.Generator) -> Any:
    """Any value of JSON, sound or not."""
    chance = random.random()
    if chance < 0.02:
        return nested(int(random.integers(2, 200)))
    return copy.deepcopy(pick(pick((NUMBERS, ODD, WORDS, NAMES), random), random))


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def like(value: Any, random: np.random.Generator) -> Any:
    """A value near another one, most often of its type."""
    if random.random() < 0.3:
        return some_value(random)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return _number_like(value, random)
    return pick(pick((WORDS, NAMES), random), random) if isinstance(value, str) else value


def _number_like(value: float, random: np.random.Generator) -> Any:
    chance = random.random()
    if chance < 0.3:
        return pick(NUMBERS, random)
    if chance < 0.6:
        return value + pick((-1, 1, 0.5), random)
    scale = pick((-1, 0, 2, 0.5, 1e-300, 1e300, 1e-9, 1e9), random)
    return float(value) * scale if abs(value) < 1e308 else value


def changed(document: Any, random: np.random.Generator, times: int = 3) -> Any:
    """A copy of a document with a few values, names or places changed."""
    document = copy.deepcopy(document)
    for _ in range(int(random.integers(1, times + 1))):
        holders = [each for each in _holders(document) if each]
        if holders:
            _change(pick(holders, random), random)
    return document


def _holders(value: Any) -> list[Any]:
    """All lists and objects of a document, those of few items as often as those of many."""
    found, waiting = [], [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list):
            found.append(each)
            waiting += each.values() if isinstance(each, dict) else each
    return found


def _change(holder: Any, random: np.random.Generator) -> None:
    place = pick([*holder] if isinstance(holder, dict) else range(len(holder)), random)
    chance = random.random()
    if chance < 0.7:
        holder[place] = like(holder[place], random)
    elif chance < 0.78:
        del holder[place]
    elif chance < 0.86 and isinstance(holder, dict):
        holder[pick(NAMES, random)] = holder.pop(place)
    elif chance < 0.93 and isinstance(holder, list):
        holder.insert(place, copy.deepcopy(holder[int(random.integers(len(holder)))]))
    else:
        other = pick([*holder] if isinstance(holder, dict) else range(len(holder)), random)
        holder[place], holder[other] = holder[other], holder[place]
