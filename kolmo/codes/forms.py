"""What the context code can split into parts; to know it takes no compiled loop."""

from __future__ import annotations

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

INTEGERS = 1 << 32
"""The largest alphabet of integers."""


def check_alphabet(alphabet: Alphabet) -> None:
    """NotApplicableError for integers of more than 32 bits.

    >>> check_alphabet(Alphabet(256))
    >>> check_alphabet(Alphabet(1 << 40))
    Traceback (most recent call last):
    kolmo.errors.NotApplicableError: context: an alphabet of 1,099,511,627,776 symbols is too large
    """
    if alphabet.format not in FLOATS and alphabet.size > INTEGERS:
        raise NotApplicableError(f"context: an alphabet of {alphabet.size:,} symbols is too large")
