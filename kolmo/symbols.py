"""Symbols: the integers in [0, size) of an alphabet that a quantizer makes of weights."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.dtypes import bits_of
from kolmo.errors import InputError, NotApplicableError
from kolmo.floats import is_float

Shape = tuple[int, ...]

Symbols = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """An alphabet: how many symbols there are, and whether they are bit patterns of floats.

    Attributes
    ----------
    size : int
        Symbols are in [0, size); at least 1.
    format : str
        The floating-point format, such as ``bfloat16``, whose bit patterns the symbols are; empty
        if they are anything else: integers, levels of a quantizer, differences.

    Raises
    ------
    InputError
        If the size is under 1.

    Examples
    --------
    >>> Alphabet(255).bits, Alphabet(2**32, "float32").container
    (8, dtype('uint32'))
    """

    size: int
    format: str = ""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"an alphabet of {self.size} symbols does not exist")

    @classmethod
    def of(cls, alphabet: Alphabet | int) -> Alphabet:
        """The alphabet itself; a number n means n symbols that are no floats.

        >>> Alphabet.of(2)
        Alphabet(size=2, format='')
        """
        return alphabet if isinstance(alphabet, Alphabet) else cls(int(alphabet))

    @classmethod
    def of_dtype(cls, dtype: np.dtype[Any]) -> Alphabet:
        """The alphabet of the bit patterns of a dtype.

        >>> Alphabet.of_dtype(np.dtype(np.float16)), Alphabet.of_dtype(np.dtype(bool))
        (Alphabet(size=65536, format='float16'), Alphabet(size=256, format=''))
        """
        return cls(1 << bits_of(dtype), dtype.name if is_float(dtype) else "")

    @property
    def bits(self) -> int:
        """Raw bits of a symbol: those of a code of fixed width, `symbol_bits`."""
        return symbol_bits(self.size)

    @property
    def container(self) -> np.dtype[Any]:
        """The smallest dtype for the symbols, `container`."""
        return container(self.size)


def symbol_bits(size: int) -> int:
    """Bits of a fixed-width code for one of ``size`` symbols, ceil(log2 size); at least 1.

    >>> symbol_bits(2), symbol_bits(255), symbol_bits(2**32)
    (1, 8, 32)
    """
    return max(1, (size - 1).bit_length())


@functools.lru_cache(maxsize=256)
def container(size: int) -> np.dtype[Any]:
    """The smallest little-endian unsigned integer dtype that holds [0, size).

    >>> container(255), container(257), container(2**32)
    (dtype('uint8'), dtype('uint16'), dtype('uint32'))
    """
    bits = symbol_bits(size)
    width = next((width for width in (1, 2, 4, 8) if bits <= 8 * width), None)
    if width is None:
        raise NotApplicableError(f"an alphabet of {size} symbols does not fit 64 bits")
    return np.dtype(f"<u{width}")
