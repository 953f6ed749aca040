"""The simplest codes: symbols at fixed width, and one symbol for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kolmo.codes.base import register_code
from kolmo.errors import InputError, NotApplicableError
from kolmo.layout import laid_out_size, lay_out, read_back
from kolmo.symbols import Alphabet, Shape, Symbols


class Raw:
    """The fixed-width code: ceil(log2 size) bits a symbol, no bytes if the alphabet has size 1.

    >>> data = Raw().encode([np.uint8([[1, 0], [3, 3]])], Alphabet(4))
    >>> data.hex(), Raw().decode(data, [(2, 2)], Alphabet(4))[0].tolist()
    ('4f', [[1, 0], [3, 3]])
    """

    name = "raw"
    number = 0

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return True

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        if alphabet.size == 1:
            return b""
        return lay_out(flat(parts, alphabet), alphabet, "packed")

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        numel = sum(map(math.prod, shapes))
        if alphabet.size == 1:
            return fill(shapes, alphabet, 0)
        if len(data) != laid_out_size(numel, alphabet, "packed"):
            raise InputError(f"{len(data):,} bytes are not {numel:,} symbols of {alphabet.size:,}")
        return split(read_back(data, numel, alphabet, "packed"), shapes, alphabet)


class Constant:
    """The code of equal symbols: the symbol once, in as few bytes as the alphabet's last needs.

    >>> Constant().encode([np.zeros((1000, 1000), np.uint32)], Alphabet(2**32)).hex()
    '00000000'
    """

    name = "constant"
    number = 1

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        first = next(int(part.flat[0]) for part in parts if part.size)
        if not all((part == first).all() for part in parts):
            raise NotApplicableError("the symbols are not all the same")
        return first.to_bytes(_width(alphabet), "little")

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        symbol = int.from_bytes(data, "little")
        if len(data) != _width(alphabet) or symbol >= alphabet.size:
            raise InputError("the code is not that of one symbol")
        return fill(shapes, alphabet, symbol)


def _width(alphabet: Alphabet) -> int:
    return ((alphabet.size - 1).bit_length() + 7) // 8


# --- what codes share -----------------------------------------------------------------------


def flat(parts: Sequence[Symbols], alphabet: Alphabet) -> Symbols:
    """All symbols in one array of the alphabet's container."""
    dtype = alphabet.container
    return np.concatenate([np.zeros(0, dtype), *(part.reshape(-1) for part in parts)], dtype=dtype)


def split(symbols: Symbols, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
    """Undo `flat`; InputError if a symbol is not in the alphabet, or their number is wrong."""
    ends = np.cumsum([math.prod(shape) for shape in shapes], dtype=np.int64)
    if symbols.size != (int(ends[-1]) if len(ends) else 0):
        raise InputError(f"the code holds {symbols.size:,} symbols, not {int(ends[-1]):,}")
    if symbols.size and int(symbols.max()) >= alphabet.size:
        raise InputError("the code names a symbol that is not in the alphabet")
    pieces = np.split(symbols, ends[:-1]) if len(ends) else []
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def fill(shapes: Sequence[Shape], alphabet: Alphabet, symbol: int) -> list[Symbols]:
    """Arrays of these shapes, filled with one symbol."""
    return [np.full(shape, symbol, alphabet.container) for shape in shapes]


register_code(Raw())
register_code(Constant())
