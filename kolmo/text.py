"""Text from outside, made safe to show and put in order: names in a checkpoint may hold any
characters."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction

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


def public(url: str) -> str:
    """A URL without user, password and query, which may hold a secret.

    >>> public("https://me:secret@host/model.pt?signature=123")
    'https://host/model.pt'
    """
    bare = re.split("[?#]", url, maxsplit=1)[0]
    is_hub = bare.startswith("hf://")  # whose @ is before a revision
    return bare if is_hub else re.sub(r"://[^/]*@", "://", bare)


def without_secrets(text: str) -> str:
    """The text, its URLs as they may be shown.

    >>> without_secrets("'https://me:secret@host/x.pt?key=1': a file, s3://bucket/y: none")
    "'https://host/x.pt': a file, s3://bucket/y: none"
    """
    return _URL.sub(lambda url: public(url[1]) + url[2], text) if "://" in text else text


_URL = re.compile(r"""(\w+://[^\s'"<>]*[^\s'"<>:;,.)])([:;,.)]*)""")


def byte_text(size: float) -> str:
    """A number of bytes, in units of a thousand.

    Examples
    --------
    >>> byte_text(512), byte_text(140_000_000_000), byte_text(2_500_000)
    ('512 B', '140 GB', '2.5 MB')
    """
    return _in_units(size, ("B", "kB", "MB", "GB", "TB", "PB"))


def bit_text(bits: float, up: bool = False) -> str:
    """A number of bits, and the bytes that they take; both rounded up where ``up``.

    Examples
    --------
    >>> bit_text(1_168_000), bit_text(900.0), bit_text(1_161_000, up=True)
    ('1.17 Mbit (146 kB)', '900 bit (113 B)', '1.17 Mbit (146 kB)')
    """
    units = ("bit", "kbit", "Mbit", "Gbit", "Tbit", "Pbit")
    size = float(math.ceil(bits / 8))
    if up:
        bits, size = raised(bits, 3), raised(size, 3)
    return f"{_in_units(bits, units)} ({byte_text(size)})"


_MOST_PLACES = 300  # of which a float has a power


def raised(value: float, digits: int) -> float:
    """The value, rounded up to so many digits, so that "at most" stays true.

    >>> raised(1234.1, 4), raised(0.5, 3), raised(1.5e-310, 1)
    (1235.0, 0.5, 2e-310)
    """
    if not value > 0:
        return value
    places = digits - 1 - math.floor(math.log10(value))
    if places > _MOST_PLACES:
        scale = 10**places
        return float(math.ceil(Fraction(value) * scale) / scale)
    return math.ceil(value * 10.0**places) / 10.0**places


def _in_units(amount: float, units: Sequence[str]) -> str:
    """Three digits, in the first unit of which there are fewer than a thousand."""
    value, left = float(amount), list(units)
    while value >= 999.5 and len(left) > 1:
        value, left = value / 1000, left[1:]
    return f"{value:.3g} {left[0]}"


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
