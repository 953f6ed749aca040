"""An adaptive code for tables of symbols that knows rows and columns, and its decoder.

::

    symbol ─ binary decisions ─► probability of each ─ mixed from its contexts ─► arithmetic coder

The first decision on a symbol is whether it is 0, which should be the commonest. Its contexts count
the symbols other than 0 in the column, in the row, among the neighbours and in the rows of the
table before that feed the column. Further decisions say which symbol it is, in the contexts of the
symbols to the left and above. Predictions are mixed in the logistic domain, by weights that are
learned while coding (Mahoney, "Adaptive weighing of context models for lossless data compression",
Florida Tech CS-2005-16). All arithmetic is of integers, so that every machine reads what any other
one writes.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import kernels_mixing as kernels
from kolmo.codes.arithmetic import PLACE, last_bytes
from kolmo.errors import InputError

ALPHABET = 1 << 24
"""The largest alphabet: the model takes 16 bytes a symbol."""

_SPAN = 1 << 16  # symbols coded at a time, which bounds the output buffer

Table = NDArray[np.uint32]
Shape = tuple[int, int]


def encode(tables: Sequence[NDArray[Any]], alphabet: int) -> bytes:
    """Tables of symbols as bytes.

    Parameters
    ----------
    tables : sequence of integer ndarrays, each of shape (rows, columns)
        Symbols in [0, alphabet). The model keeps what it learns from each table. It relates a
        table's columns to the rows of the table before, as the layers of a network feed each
        other.
    alphabet : int
        1 to 2^24.

    Returns
    -------
    bytes
        The code, without the shapes and the alphabet, which `decode` needs.

    Raises
    ------
    InputError
        If a symbol or the alphabet is out of range, or a table has not two dimensions.

    Examples
    --------
    >>> table = np.zeros((50, 40), np.uint8)
    >>> table[:, 3] = 1 + np.arange(50) % 2
    >>> data = encode([table], alphabet=3)
    >>> len(data) < 40, np.array_equal(decode(data, [(50, 40)], alphabet=3)[0], table)
    (True, True)
    """
    _check_alphabet(alphabet)
    symbols = [_checked(table, alphabet) for table in tables]
    decisions = 1 + 2 * alphabet.bit_length()  # of a symbol, at most
    stream = np.empty(4 * decisions * _SPAN, np.uint8)  # each moves four bytes out, at most
    state = kernels.new_state(_tables(), alphabet, stream, decoding=False)
    coder, pieces = state.coder, []
    for _ in _run(symbols, [table.shape for table in tables], alphabet, state):
        pieces.append(stream[: coder[PLACE]].tobytes())
        coder[PLACE] = 0
    return b"".join([*pieces, last_bytes(coder)])


def decode(data: bytes, shapes: Sequence[Shape], alphabet: int) -> list[Table]:
    """Undo `encode`: tables of the shapes that it was given.

    Raises
    ------
    InputError
        If the bytes are not valid. Not all damage is noticed: keep a checksum beside them.
    """
    _check_alphabet(alphabet)
    symbols = [np.zeros(rows * columns, np.uint32) for rows, columns in shapes]
    stream = np.frombuffer(data, np.uint8).copy()  # compiled code accepts writable arrays only
    state = kernels.new_state(_tables(), alphabet, stream, decoding=True)
    for _ in _run(symbols, shapes, alphabet, state):
        if state.coder[PLACE] > stream.size + 4:
            raise InputError("the code ends before its symbols do")
    return [part.reshape(shape) for part, shape in zip(symbols, shapes, strict=True)]


def _check_alphabet(alphabet: int) -> None:
    if not 1 <= alphabet <= ALPHABET:
        raise InputError(f"an alphabet has 1 to {ALPHABET:,} symbols, not {alphabet:,}")


def _checked(table: NDArray[Any], alphabet: int) -> Table:
    if table.ndim != 2:
        raise InputError(f"a table of symbols has rows and columns, not shape {table.shape}")
    if table.size and not 0 <= int(table.min()) <= int(table.max()) < alphabet:
        raise InputError(f"symbols are 0 to {alphabet - 1}, not {table.min()} to {table.max()}")
    return table.astype(np.uint32).reshape(-1)


def _run(
    symbols: Sequence[Table], shapes: Sequence[Shape], alphabet: int, state: kernels.MixingState
) -> Iterator[None]:
    """Encode the tables span by span, or decode into them; yields after each span."""
    if alphabet == 1:
        return
    before = np.zeros(0, np.int64)
    for table, (rows, columns) in zip(symbols, shapes, strict=True):
        known = kernels.Known(
            _feeding(before, columns),
            np.zeros(columns, np.int64),
            np.zeros(rows, np.int64),
            np.zeros(2, np.int64),
        )
        for first in range(0, table.size, _SPAN):
            last = min(first + _SPAN, table.size)
            if not kernels.code_span(table, first, last, columns, alphabet, known, state):
                raise InputError("the code names a symbol that is not in the alphabet")
            yield
        if rows > 1:
            before = known.rows


def _feeding(rows: NDArray[np.int64], columns: int) -> NDArray[np.int64]:
    """A level, 1 to 15, for each column: how many symbols of the rows that feed it were not 0.

    Columns are spread evenly over the rows of the table before; the level is 0 where neither number
    divides the other.
    """
    if not rows.size or not columns or max(columns, rows.size) % min(columns, rows.size):
        return np.zeros(columns, np.int64)
    if columns >= rows.size:
        counts = np.repeat(rows, columns // rows.size)
    else:
        counts = rows.reshape(columns, -1).sum(axis=1)
    # The level is the count's length in bits: logarithmic, and computed with integers alone.
    return np.array([1 + min(14, int(count).bit_length()) for count in counts], np.int64)


@cache
def _tables() -> kernels.Tables:
    """squash(x) = 65536 / (1 + exp(−x / 256)), its inverse, and the rates 1 / (n + 1.5).

    No entry lies so near the middle between two integers that a machine's exp could change it.
    """
    limit = kernels.LIMIT
    squash = np.array([round(65536 / (1 + math.exp(-x / 256))) for x in range(-limit, limit + 1)])
    stretch = np.searchsorted(squash, np.arange(65536)) - limit
    rates = np.array([2 * 65536 // (2 * n + 3) for n in range(1024)])
    clipped = np.clip(squash, 1, 65535).astype(np.int64)
    return kernels.Tables(clipped, np.clip(stretch, -limit, limit).astype(np.int64), rates)
