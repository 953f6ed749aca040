"""Names of tensors as bytes that repeat: a number in a name says how far it is from the last one.

``layers.7.weight``, ``layers.8.weight`` are the same bytes again and again once their numbers are
marks, and DEFLATE writes what repeats in next to nothing. docs/formats/kmo.md specifies them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from kolmo.errors import InputError

MARK = b"\xff"
"""Begins a mark; no text in UTF-8 has this byte."""

_MIDDLE = 64  # the byte after it, for the same number again; it is below 128
_NUMBER = re.compile(rb"(?<![0-9])(0|[1-9][0-9]{0,17})(?![0-9])")


def mark(names: Iterable[bytes]) -> Iterator[bytes]:
    """Names with marks for the numbers that are near those of the name before.

    >>> list(mark([b"h.0.w", b"h.0.b", b"h.1.w"]))
    [b'h.\\xff@.w', b'h.\\xff@.b', b'h.\\xffA.w']
    """
    before: list[int] = []
    for name in names:
        texts = _NUMBER.split(name)
        numbers = [int(digits) for digits in texts[1::2]]
        for place, number in enumerate(numbers):
            step = number - _at(before, place) + _MIDDLE
            if 0 <= step < 2 * _MIDDLE:
                texts[2 * place + 1] = MARK + bytes([step])
        yield b"".join(texts)
        before = numbers


def unmark(marked: Iterable[bytes]) -> Iterator[bytes]:
    """Undo `mark`.

    Raises
    ------
    InputError
        If a mark is cut off, or its number is below 0.

    Examples
    --------
    >>> list(unmark([b"h.\\xff@.w", b"h.\\xffA.w", b"plain.12"]))
    [b'h.0.w', b'h.1.w', b'plain.12']
    """
    before: list[int] = []
    for name in marked:
        first, *rest = name.split(MARK)
        texts, numbers = [first], _numbers(first)
        for text in rest:
            if not text or text[0] >= 2 * _MIDDLE:
                raise InputError("a number in a name is cut off")
            number = _at(before, len(numbers)) + text[0] - _MIDDLE
            if number < 0:
                raise InputError("a number in a name is below 0")
            texts += [b"%d" % number, text[1:]]
            numbers += [number, *_numbers(text[1:])]
        yield b"".join(texts)
        before = numbers


def _numbers(text: bytes) -> list[int]:
    return [int(digits) for digits in _NUMBER.findall(text)]


def _at(numbers: Sequence[int], place: int) -> int:
    return numbers[place] if place < len(numbers) else 0
