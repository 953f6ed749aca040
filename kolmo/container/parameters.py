"""The parameters of all tensors, in the codes for weights: scales are numbers as weights are.

The strongest code saves a fifth even of ten scales. Small whole numbers, such as the codes of rows
and columns that `nmse` has, are taken out where they are shorter on their own.
docs/formats/kmo.md specifies every byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.base import get_code
from kolmo.codes.choosing import shortest_code
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Symbols

Floats = NDArray[np.float64]

_MOST = 1 << 24  # parameters that any header may have; more need bytes in proportion
_WIDTHS = ("float32", "float64")
_APART = 2  # added to the width: small whole numbers are apart
_FLAG, _SMALL = Alphabet(2), Alphabet(256)


def encode_parameters(parameters: Sequence[Sequence[float]]) -> bytes:
    """The parameters of all tensors; nothing if there are none.

    >>> decode_parameters(encode_parameters([[0.5, 3], [], [7]]), [2, 0, 1])
    [[0.5, 3.0], [], [7.0]]
    """
    values = np.concatenate([np.zeros(0), *parameters])
    if not values.size:
        return b""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    wide = int(not np.array_equal(narrow.astype(np.float64), values))
    together = bytes([wide]) + _coded(*_patterns(values, wide))
    return min(together, _encode_apart(values, wide) or together, key=len)


def _encode_apart(values: Floats, wide: int) -> bytes | None:
    """Which numbers are small and whole, these, and the others; None if there are none."""
    is_small = (values == np.rint(values)) & (values < 256) & (values >= 0) & ~np.signbit(values)
    if not is_small.any():
        return None
    flags = _coded(is_small.astype(_FLAG.container), _FLAG)
    small = _coded(values[is_small].astype(_SMALL.container), _SMALL)
    others = b"" if is_small.all() else _coded(*_patterns(values[~is_small], wide))
    return bytes([_APART + wide]) + _sized(flags) + _sized(small) + others


def decode_parameters(data: bytes, counts: Sequence[int]) -> list[list[float]]:
    """Undo `encode_parameters`; InputError or LookupError if the bytes are not of so many."""
    total = sum(counts)
    if not total and not data:
        return [[] for _ in counts]
    if total > max(_MOST, len(data) << 10):
        raise InputError("the header claims too many parameters")
    reader = Reader(data)
    kind = reader.take(1)[0]
    width = np.dtype(_WIDTHS[kind & ~_APART]).newbyteorder("<")
    alphabet = Alphabet.of_dtype(np.dtype(_WIDTHS[kind & ~_APART]))
    values = np.empty(total)
    is_other = np.ones(total, np.bool_)
    if kind & _APART:
        is_other = _decoded(_take_sized(reader), total, _FLAG) == 0
        small = _take_sized(reader)
        values[~is_other] = _decoded(small, total - int(is_other.sum()), _SMALL)
    others = int(is_other.sum())
    if others:
        values[is_other] = _decoded(reader.rest(), others, alphabet).view(width)
    elif reader.rest():
        raise InputError("the header has more parameters than it says")
    each = iter(values.tolist())
    return [list(islice(each, count)) for count in counts]


def _patterns(values: Floats, wide: int) -> tuple[Symbols, Alphabet]:
    alphabet = Alphabet.of_dtype(np.dtype(_WIDTHS[wide]))
    little = values.astype(np.dtype(_WIDTHS[wide]).newbyteorder("<"))
    return little.view(alphabet.container), alphabet


def _coded(symbols: Symbols, alphabet: Alphabet) -> bytes:
    """The number of the shortest code, and its bytes."""
    code, data = shortest_code([symbols], alphabet, "best")
    return bytes([code]) + data


def _decoded(data: bytes, count: int, alphabet: Alphabet) -> Symbols:
    reader = Reader(data)
    code = reader.take(1)[0]
    (symbols,) = get_code(code).decode(reader.rest(), [(count,)], alphabet)
    return symbols


def _sized(data: bytes) -> bytes:
    return number_bytes(len(data)) + data


def _take_sized(reader: Reader) -> bytes:
    return reader.take(reader.number())
