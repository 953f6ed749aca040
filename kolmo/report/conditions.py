"""Conditions on rows of a report: ``bits_per_weight > 8 and kind == bound``.

A condition compares columns of the table with numbers, texts or other columns; ``and``, ``or``,
``not`` and brackets join comparisons. Nothing in it is executed. A comparison with a value that is
missing is unknown, and what is unknown decides nothing (Kleene's logic).
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from kolmo.errors import InputError
from kolmo.report.columns import COLUMNS, Row, TableRows, dtype_of, is_known
from kolmo.specs import unknown

Truth = bool | None
"""True, false, or None where that is unknown."""

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_TOKEN = re.compile(r"""\s*(?:([()])|(<=|>=|==|!=|<|>)|'([^']*)'|"([^"]*)"|([^\s()<>=!'"]+))""")
_WORDS = ("and", "or", "not")
_DEEPEST = 64  # brackets, or nots, within each other
_PLACING = {"scope", "tensor"}  # columns that say of which rows a condition is


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition that was checked: all its columns are there, and compared with their like.

    Examples
    --------
    >>> rows = TableRows({"scope": ["model", "model"], "bits": [9.0, 3.0], "null_bits": [8.0, 8.0]})
    >>> [row["bits"] for row in Condition.of("bits > null_bits").holding(rows)]
    [9.0]
    >>> Condition.of("shap > 8")
    Traceback (most recent call last):
    ...
    kolmo.errors.InputError: condition 'shap > 8': unknown column 'shap'; did you mean shape ...
    """

    text: str
    columns: tuple[str, ...]
    truth: Callable[[Row], Truth]

    @classmethod
    def of(cls, text: str) -> Condition:
        """The condition that a text states.

        Raises
        ------
        InputError
            If it is not one, names a column that is not there, or compares what cannot be.
        """
        parser = _Parser(text)
        truth = parser.whole()
        return cls(text, tuple(dict.fromkeys(parser.columns)), truth)

    def holding(self, rows: TableRows) -> list[Row]:
        """The rows of which it is true: among those of whole models, or among all if it names
        ``scope`` or ``tensor``.

        Raises
        ------
        InputError
            If it is unknown of every row: it was not decided.
        """
        asked = rows.records() if self._is_placed else rows.records(scope="model")
        answers = [(row, self.truth(row)) for row in asked]
        if all(answer is None for _, answer in answers):
            raise InputError(self._undecided(rows))
        return [row for row, answer in answers if answer]

    @cached_property
    def _is_placed(self) -> bool:
        return not _PLACING.isdisjoint(self.columns)

    def _undecided(self, rows: TableRows) -> str:
        if not self._is_placed and "model" not in rows["scope"]:
            return (
                f"condition {self.text!r}: no row is of a whole model; for those of tensors add "
                f"'and scope == tensor'"
            )
        return (
            f"condition {self.text!r}: no row has a value to decide it; a column that it names is "
            f"empty"
        )

    def values(self, row: Row) -> str:
        """What the row has in the columns of the condition: ``bits_per_weight = 8.4``."""
        named = (c for c in self.columns if c not in _PLACING)
        return ", ".join(f"{column} = {_shown(row[column])}" for column in named)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# --- reading --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Token:
    kind: str  # bracket, operator, quoted, word, end
    text: str


class _Parser:
    """Recursive descent: ``or`` binds least, then ``and``, then ``not``."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*self._read()]
        self._at = 0
        self._depth = 0
        self.columns: list[str] = []

    def whole(self) -> Callable[[Row], Truth]:
        truth = self._either()
        if self._next.kind != "end":
            raise self._error(f"{self._next.text!r} is one too many")
        return truth

    def _read(self) -> Iterator[_Token]:
        at, text = 0, self._text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise self._error(f"{text[at:].strip()!r} cannot be read")
            kinds = ("bracket", "operator", "quoted", "quoted", "word")
            number = found.lastindex or 1
            yield _Token(kinds[number - 1], found[number])
            at = found.end()
        yield _Token("end", "")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _takes(self, *texts: str) -> bool:
        """Whether the next token is one of these; it is taken then."""
        found = self._next.kind in ("word", "bracket") and self._next.text in texts
        self._at += found
        return found

    def _either(self) -> Callable[[Row], Truth]:
        parts = [self._both()]
        while self._takes("or"):
            parts.append(self._both())
        return lambda row: _any([part(row) for part in parts])

    def _both(self) -> Callable[[Row], Truth]:
        parts = [self._plain()]
        while self._takes("and"):
            parts.append(self._plain())
        return lambda row: _not(_any([_not(part(row)) for part in parts]))

    def _plain(self) -> Callable[[Row], Truth]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"it is nested more than {_DEEPEST} deep")
        truth = self._negated()
        self._depth -= 1
        return truth

    def _negated(self) -> Callable[[Row], Truth]:
        if self._takes("not"):
            inner = self._plain()
            return lambda row: _not(inner(row))
        if self._takes("("):
            inner = self._either()
            if not self._takes(")"):
                raise self._error("a bracket is not closed")
            return inner
        return self._comparison()

    def _comparison(self) -> Callable[[Row], Truth]:
        column, sign = self._column(), self._take()
        if sign.kind != "operator":
            raise self._error(f"after {column} one of {', '.join(_COMPARED)} is missing")
        value = self._value(column, sign.text)
        compare = _COMPARED[sign.text]

        def truth(row: Row) -> Truth:
            left, right = row[column], value(row)
            return compare(left, right) if is_known(left) and is_known(right) else None

        return truth

    def _column(self) -> str:
        token = self._take()
        if token.kind != "word" or token.text in _WORDS:
            raise self._error(f"a column is missing before {token.text or 'the end'!r}")
        if token.text not in COLUMNS:
            raise self._error(str(unknown("column", token.text, COLUMNS)))
        self.columns.append(token.text)
        return token.text

    def _value(self, column: str, sign: str) -> Callable[[Row], Any]:
        token = self._take()
        if token.kind not in ("word", "quoted") or (token.kind == "word" and token.text in _WORDS):
            raise self._error(f"after {column} {sign} a value is missing")
        if dtype_of(column) == "object":
            return self._text_value(column, sign, token)
        if token.kind == "word" and token.text in COLUMNS and dtype_of(token.text) != "object":
            self.columns.append(token.text)
            return lambda row: row[token.text]
        return self._number(column, token)

    def _text_value(self, column: str, sign: str, token: _Token) -> Callable[[Row], Any]:
        if sign not in ("==", "!="):
            raise self._error(f"{column} is a text: compare it by == or !=")
        return lambda row: token.text

    def _number(self, column: str, token: _Token) -> Callable[[Row], Any]:
        truths = {"true": 1.0, "false": 0.0}
        try:
            number = truths[token.text] if token.text in truths else float(token.text)
        except ValueError:
            raise self._error(
                f"{column} is a number, and {token.text!r} is neither one nor a column of numbers"
            ) from None
        return lambda row: number

    def _error(self, what: str) -> InputError:
        return InputError(f"condition {self._text!r}: {what}")


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _any(truths: Sequence[Truth]) -> Truth:
    if True in truths:
        return True
    return None if None in truths else False
