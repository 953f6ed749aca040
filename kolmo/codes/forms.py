"""What the context code can split into parts; to know it takes no compiled loop."""

from __future__ import annotations

import re

from kolmo.errors import NotApplicableError
from kolmo.symbols import Alphabet

FLOATS = {
    "float64": (11, 52, 3, 29, 42, 2),
    "float32": (8, 23, 3, 13, 16, 2),
    "float16": (5, 10, 3, 0, 0, 3),
    "bfloat16": (8, 7, 3, 0, 0, 3),
    "float8_e4m3fn": (4, 3, 3, 0, 0, 4),
    "float8_e5m2": (5, 2, 2, 0, 0, 5),
}
"""How the bits of each floating-point format are split, as `kolmo.codes.kernels_context.Form` names
the parts. A float64 that was a float32 ends in 29 zeros, one that was a float16 in 42; a float32
that was a float16 in 13, a bfloat16 in 16."""

GRID = 13
"""The number of the code that takes floats apart so."""

COMPILED = frozenset({"context", "predictive", "trellis"})
"""Codes whose modules import compiled loops."""

INTEGERS = 1 << 32
"""The largest alphabet of integers."""

LEVELS = 1 << 20
"""The largest alphabet of levels."""


def form_parts(format: str) -> tuple[int, int, int, int, int, int] | None:
    """How the bits of a format are split; None if it is no format of floats.

    ``e8m5`` is one of a sign, 8 bits of exponent and 5 of mantissa, such as a float32 whose last 18
    bits are zeros, without these.

    >>> form_parts("e8m5"), form_parts("int8")
    ((8, 5, 3, 0, 0, 3), None)
    """
    made = re.fullmatch(r"e(\d{1,2})m(\d{1,2})", format)
    if made is None:
        return FLOATS.get(format)
    exponent, mantissa = map(int, made.groups())
    width = 1 + exponent + mantissa
    return exponent, mantissa, min(3, mantissa), 0, 0, max(2, -(-32 // width))


def is_of_levels(alphabet: Alphabet) -> bool:
    """Whether symbols may stand for the levels −h to h, as the trellis code takes them.

    >>> is_of_levels(Alphabet(255)), is_of_levels(Alphabet(256))
    (True, False)
    """
    return not alphabet.format and alphabet.size % 2 == 1 and 1 < alphabet.size <= LEVELS


def check_alphabet(alphabet: Alphabet) -> None:
    """NotApplicableError for integers of more than 32 bits.

    >>> check_alphabet(Alphabet(256))
    >>> check_alphabet(Alphabet(1 << 40))
    Traceback (most recent call last):
    kolmo.errors.NotApplicableError: context: an alphabet of 1,099,511,627,776 symbols is too large
    """
    if form_parts(alphabet.format) is None and alphabet.size > INTEGERS:
        raise NotApplicableError(f"context: an alphabet of {alphabet.size:,} symbols is too large")
