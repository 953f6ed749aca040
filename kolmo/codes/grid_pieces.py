"""What the grid code makes of a tensor: a head of a few bytes, and arrays of smaller alphabets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kolmo.symbols import Alphabet, Shape, Symbols

CODEBOOK_LIMIT = 1 << 12
"""The most values of a codebook."""


class Rewritten(NamedTuple):
    """A tensor as its head and its arrays."""

    head: bytes
    arrays: list[tuple[Alphabet, Symbols]]


class Rebuild(NamedTuple):
    """The arrays that a head asks for, and what makes a tensor of them; of a copy, which asks for
    none, what makes it of the part ``source`` of its unit."""

    needs: list[tuple[Alphabet, Shape]]
    build: Callable[[Sequence[Symbols]], Symbols]
    source: int | None = None


def floats(exponent: int, mantissa: int) -> Alphabet:
    """The alphabet of a sign and so many bits of exponent and mantissa.

    >>> floats(8, 5)
    Alphabet(size=16384, format='e8m5')
    """
    return Alphabet(1 << (1 + exponent + mantissa), f"e{exponent}m{mantissa}")
