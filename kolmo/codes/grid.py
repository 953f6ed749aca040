"""A code for weights whose values need fewer bits than their dtype has; other codes do the rest.

::

    tensors ─► how each is written ─► arrays of one alphabet each ─► the shortest code of each

Weights that were rounded, quantized or clustered, and then stored as floats again, are written as
what they were: floats of a narrower mantissa, integers and steps, indices and a table. Arrays of
all tensors of one alphabet are coded together. The encoder undoes each and compares all bits.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import repeat

import numpy as np

from kolmo.codes import grid_parts as ways
from kolmo.codes.base import get_code, register_code
from kolmo.codes.forms import FLOATS
from kolmo.codes.grid_search import find_grid, may_be_grids, narrowest, table_of
from kolmo.codes.lengths import entropy_bits
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError, NotApplicableError
from kolmo.floats import mantissa_bits
from kolmo.symbols import Alphabet, Shape, Symbols

_WORTH = 0.01  # share of the raw bits that a way must save
_LOOK = 1 << 11  # weights that are looked at before all are
_GRID_BITS = 7  # mantissas of fewer bits are shorter than the multiples of a grid
_BARRED = ("grid", "mosaic")  # codes that the arrays are not coded by


class GridCode:
    """See the module.

    >>> random = np.random.default_rng(0)
    >>> weights = random.integers(-7, 8, (64, 64)) * np.float32(0.0123)
    >>> floats = Alphabet.of_dtype(weights.dtype)
    >>> data = GridCode().encode([weights.view(np.uint32)], floats)
    >>> 8 * len(data) < 4.1 * weights.size
    True
    >>> np.array_equal(GridCode().decode(data, [(64, 64)], floats)[0], weights.view(np.uint32))
    True
    """

    name = "grid"
    number = 13

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return alphabet.format in FLOATS

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet, preset: str = "best") -> bytes:
        """See `Code.encode`; the arrays are coded by the codes of a preset."""
        from kolmo.codes.choosing import shortest_code

        if not self.takes([], alphabet):
            raise NotApplicableError("only floats may lie on a grid")
        pieces = _pieces(parts, alphabet, preset)
        if all(piece.head[0] == ways.PLAIN for piece in pieces):
            raise NotApplicableError("no weights lie on a grid")
        streams: dict[Alphabet, list[Symbols]] = {}
        for its, array in (pair for piece in pieces for pair in piece.arrays):
            if array.size:
                streams.setdefault(its, []).append(array)
        sections = [piece.head for piece in pieces]
        for its, arrays in streams.items():
            code, data = shortest_code(arrays, its, preset, grids=False)
            sections.append(number_bytes(len(data)) + bytes([code]) + data)
        return b"".join(sections)

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        if not self.takes(shapes, alphabet):
            raise InputError("only floats may lie on a grid")
        reader = Reader(data)
        plans = [ways.read_plan(reader, shape, alphabet) for shape in shapes]
        streams: dict[Alphabet, list[Shape]] = {}
        for its, shape in (need for plan in plans for need in plan.needs):
            if math.prod(shape):
                streams.setdefault(its, []).append(shape)
        found = {its: iter(_read_section(reader, its, some)) for its, some in streams.items()}
        return [plan.build([_next(found, *need) for need in plan.needs]) for plan in plans]


def _read_section(reader: Reader, alphabet: Alphabet, shapes: Sequence[Shape]) -> list[Symbols]:
    size = reader.number()
    code = get_code(reader.take(1)[0])
    if code.name in _BARRED or not code.takes(shapes, alphabet):
        raise InputError(f"arrays of a grid are not coded by {code.name}")
    return code.decode(reader.take(size), shapes, alphabet)


def _next(found: dict, alphabet: Alphabet, shape: Shape) -> Symbols:  # type: ignore[type-arg]
    empty = not math.prod(shape)
    return np.zeros(shape, alphabet.container) if empty else next(found[alphabet])


def _pieces(parts: Sequence[Symbols], alphabet: Alphabet, preset: str) -> list[ways.Piece]:
    dtype = DTYPES[alphabet.format]
    maybe = [False] * len(parts)
    if parts and mantissa_bits(dtype) >= _GRID_BITS:
        maybe = may_be_grids([table_of(part).view(dtype) for part in parts])
    return [_piece(part, alphabet, *how) for part, *how in zip(parts, maybe, repeat(preset))]


def _piece(part: Symbols, alphabet: Alphabet, may_be_grid: bool, preset: str) -> ways.Piece:
    """The way that should save the most bits, undone and compared."""
    if not part.size:
        return ways.plain(part, alphabet)
    options = [_in_codebook(part, alphabet)]
    if may_be_grid:
        options.append(_on_grid(part, alphabet))
    if preset != "fast":  # byte-planes code zeros at the end well
        options.append(_with_zeros(part, alphabet))
    saved, piece = max(options, key=lambda option: option[0])
    if piece is None or saved < _WORTH * part.size * alphabet.bits:
        return ways.plain(part, alphabet)
    assert _is_undone(piece, part, alphabet)
    return piece


def _is_undone(piece: ways.Piece, part: Symbols, alphabet: Alphabet) -> bool:
    plan = ways.read_plan(Reader(piece.head), part.shape, alphabet)
    same = plan.needs == [(its, array.shape) for its, array in piece.arrays]
    return same and np.array_equal(plan.build([array for _, array in piece.arrays]), part)


_Option = tuple[float, ways.Piece | None]  # bits saved, and the way


def _with_zeros(part: Symbols, alphabet: Alphabet) -> _Option:
    zeros, lines = ways.zeros_by_line(part, alphabet)
    numel = _nonzero(part, alphabet)
    saved = [zeros * numel, *(float(line.mean()) * numel for line in lines)]
    best = int(np.argmax(saved))
    if best and saved[best] > saved[0] + _WORTH * part.size * alphabet.bits:
        return saved[best], ways.shifted_lines(part, lines[best - 1], best - 1, alphabet)
    return saved[0], ways.shifted(part, zeros, alphabet) if zeros else None


def _on_grid(part: Symbols, alphabet: Alphabet) -> _Option:
    dtype = DTYPES[alphabet.format]
    values = table_of(part).view(dtype)
    inner = narrowest(values)
    if mantissa_bits(inner) < _GRID_BITS:
        return 0.0, None
    grid = find_grid(values.astype(inner))
    piece = ways.scaled(part, grid, inner, alphabet) if grid else None
    if grid is None or piece is None:
        return 0.0, None
    zeros = mantissa_bits(dtype) - mantissa_bits(inner)
    return grid.saved + zeros * _nonzero(part, alphabet) - 24 * grid.low.size, piece


def _in_codebook(part: Symbols, alphabet: Alphabet) -> _Option:
    flat = part.reshape(-1)
    some = flat[:: -(-flat.size // _LOOK)]
    if 2 * np.unique(some).size > some.size:
        return 0.0, None
    values, counts = np.unique(flat, return_counts=True)
    if not 1 < values.size <= ways.CODEBOOK_LIMIT:
        return 0.0, None
    own = entropy_bits(counts) + values.size * alphabet.bits
    mantissa = mantissa_bits(DTYPES[alphabet.format])
    exponents = np.unique(flat >> flat.dtype.type(mantissa), return_counts=True)[1]
    saved = entropy_bits(exponents) + mantissa * _nonzero(part, alphabet) - own
    return saved, ways.codebook(part, alphabet)


def _nonzero(part: Symbols, alphabet: Alphabet) -> int:
    """How many weights are not 0: zeros have no mantissa that a code has to write."""
    return int(np.count_nonzero(part & part.dtype.type(alphabet.size // 2 - 1)))


register_code(GridCode())
