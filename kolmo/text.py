"""Text from outside, made safe to show and put in order: names in a checkpoint may hold any
characters."""

from __future__ import annotations

import re

NAMELESS = '""'
"""The name, in a report, of what has an empty one: an empty text in it is no text."""


def printable(text: str) -> str:
    r"""The text with line breaks, escape sequences and lone surrogates spelled out.

    Examples
    --------
    >>> print(printable("a\x1b[31mb\n"))
    a\x1b[31mb\n
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, most: int) -> str:
    """The text cut in the middle, where names of tensors differ least.

    Examples
    --------
    >>> shorten("encoder.layer.11.attention.output.dense.weight", 24)
    'encoder.lay…dense.weight'
    """
    head, tail = most // 2 - 1, most - most // 2
    return text if len(text) <= most else f"{text[:head]}…{text[-tail:]}"


_DIGITS = re.compile("([0-9]+)")


def natural_key(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """A key that sorts names as people number them: layer 2 before layer 10.

    Runs of digits are compared as numbers, of whatever length, all else as text; where these are
    equal, as of ``a.01`` and ``a.1``, the names themselves decide.

    Examples
    --------
    >>> sorted(["h.10.w", "h.9.w", "h.w", "9", "h.100.w"], key=natural_key)
    ['9', 'h.9.w', 'h.10.w', 'h.100.w', 'h.w']
    """
    parts = _DIGITS.split(name)  # text and digits in turn
    return tuple(_number(part) if n % 2 else (0, part) for n, part in enumerate(parts)), name


def _number(digits: str) -> tuple[int, str]:
    plain = digits.lstrip("0")
    return len(plain), plain
