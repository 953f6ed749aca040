"""Samples of the symbols of a unit, and how much these repeat beyond a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kolmo.codes.general import LAYOUTS
from kolmo.codes.lengths import entropy_bits
from kolmo.codes.plain import flat
from kolmo.layout import lay_out
from kolmo.symbols import Alphabet, Symbols

_SPARSE = 0.7  # share of zeros
_TENSORS = 3  # tensors of a unit that a sample is taken of
_STRETCHES = 4  # stretches of a tensor in a sample that is spread
_PIECE = 1 << 15  # symbols of which an order-0 entropy is taken
_REPEATED = 0.98  # below this share of order-0 entropies Zstandard has found repeats


def is_sparse(parts: Sequence[Symbols]) -> bool:
    """Whether most symbols are 0.

    >>> is_sparse([np.zeros(8), np.ones(2)]), is_sparse([np.arange(2)])
    (True, False)
    """
    zeros = sum(part.size - int(np.count_nonzero(part)) for part in parts)
    return zeros > _SPARSE * sum(part.size for part in parts)


def head(parts: Sequence[Symbols], size: int) -> list[Symbols]:
    """The first rows of the largest tensors, about ``size`` symbols in all.

    >>> [part.shape for part in head([np.zeros((50, 2, 5)), np.zeros(90)], 200)]
    [(6, 2, 5), (66,)]
    """
    tables = (_rows(part, size // _TENSORS) for part in _largest(parts))
    return [rows[:count] for rows, count in tables]


def spread(parts: Sequence[Symbols], size: int) -> list[Symbols]:
    """Rows from all over the largest tensors, about ``size`` symbols in all.

    >>> [part.shape for part in spread([np.zeros((50, 2, 5)), np.zeros(90)], 200)]
    [(8, 2, 5), (90,)]
    """
    largest = _largest(parts)
    tables = (_rows(part, size // len(largest)) for part in largest)
    return [_stretches(rows, count) for rows, count in tables]


def _largest(parts: Sequence[Symbols]) -> list[Symbols]:
    return sorted(parts, key=lambda part: -part.size)[:_TENSORS]


def _rows(part: Symbols, size: int) -> tuple[Symbols, int]:
    """A tensor, and how many of its rows have about a size; flat if a row is longer than that."""
    row = max(1, part.size // max(1, len(part)))
    return (part, size // row) if row <= size else (part.reshape(-1), size)


def _stretches(rows: Symbols, count: int) -> Symbols:
    if count >= len(rows):
        return rows
    each = max(1, count // _STRETCHES)
    last = len(rows) - each
    starts = [last * stretch // (_STRETCHES - 1) for stretch in range(_STRETCHES)]
    return np.concatenate([rows[start : start + each] for start in starts])


def further_repeats(
    parts: Sequence[Symbols], sample: Sequence[Symbols], alphabet: Alphabet
) -> float:
    """What share of its bytes a code would save beyond those saved on a sample, if it found repeats
    that lie further apart as Zstandard does at its quickest; 1 if there are none.
    """
    share = _repetition(parts, alphabet)
    return min(1, share / _repetition(sample, alphabet)) if share < _REPEATED else 1


def _repetition(parts: Sequence[Symbols], alphabet: Alphabet) -> float:
    """The bytes of Zstandard's quickest level by the order-0 entropy of pieces: 1 for noise."""
    import zstandard

    symbols, compressor = flat(parts, alphabet), zstandard.ZstdCompressor(level=3)
    layouts = LAYOUTS[: symbols.dtype.itemsize]
    zipped = min(len(compressor.compress(lay_out(symbols, alphabet, each))) for each in layouts)
    pieces = (symbols[start : start + _PIECE] for start in range(0, symbols.size, _PIECE))
    return zipped / max(1.0, sum(map(order0_bytes, pieces)))


def order0_bytes(symbols: Symbols) -> float:
    """The order-0 entropies of all byte-planes, added up, in bytes."""
    planes = symbols.view(np.uint8).reshape(symbols.size, symbols.dtype.itemsize)
    return sum(entropy_bits(np.bincount(plane, minlength=256)) for plane in planes.T) / 8
