"""Text from outside, made safe to show: names in a checkpoint may hold any characters."""

from __future__ import annotations

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
