"""A code for weights whose values need fewer bits than their dtype has; other codes do the rest.

::

    tensors ─► how each is written ─► arrays of one alphabet each ─► the shortest code of each

Weights that were rounded, quantized or clustered, and then stored as floats again, are written as
what they were: floats of a narrower mantissa, integers and steps, indices and a table. Copies of
other tensors of the unit are told, transposed or negated ones too; many zeros, from other weights.
Arrays of all tensors of one alphabet are coded together. The encoder undoes each and compares all
bits.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kolmo.codes import grid_parts as ways
from kolmo.codes.base import get_code, register_code
from kolmo.codes.forms import FLOATS, form_parts
from kolmo.codes.grid_affine import with_offsets
from kolmo.codes.grid_copies import copied, find_copies
from kolmo.codes.grid_look import may_be_grids
from kolmo.codes.grid_pieces import CODEBOOK_LIMIT, Rewritten
from kolmo.codes.grid_scaled import scaled
from kolmo.codes.grid_search import (
    count_distinct,
    find_grid,
    narrowest,
    table_of,
)
from kolmo.codes.grid_tables import find_table, may_have_table
from kolmo.codes.lengths import entropy_bits
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.codes.samples import is_sparse
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError, NotApplicableError
from kolmo.floats import mantissa_bits
from kolmo.symbols import Alphabet, Shape, Symbols

_WORTH = 0.01  # share of the raw bits that a way must save
_FEW = 10  # bits of levels that offsets would hardly make fewer
_LINE = 32  # weights of a row or a column that may have a mantissa of its own
_LOOK = 1 << 11  # weights that are looked at before all are
_GRID_BITS = 7  # mantissas of fewer bits are shorter than the multiples of a grid
_BARRED = ("grid", "mosaic")  # codes that the arrays are not coded by


class GridCode:
    """See the module.

    >>> random = np.random.default_rng(0)
    >>> weights = random.integers(-7, 8, (64, 64)).astype(np.float32) * np.float32(0.0123)
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

    def encode(
        self,
        parts: Sequence[Symbols],
        alphabet: Alphabet,
        preset: str = "best",
        is_sample: bool = False,
    ) -> bytes:
        """See `Code.encode`; the arrays are coded by the codes of a preset, those of a sample by
        its quick ones alone."""
        from kolmo.codes.choosing import shortest_code, shortest_on_sample

        if not self.takes([], alphabet):
            raise NotApplicableError("only floats may lie on a grid")
        with np.errstate(all="ignore"):  # weights may be of any size, or no numbers
            pieces = _pieces(parts, alphabet, preset)
        if all(piece.head[0] == ways.PLAIN for piece in pieces):
            raise NotApplicableError("no weights lie on a grid")
        streams: dict[Alphabet, list[Symbols]] = {}
        for its, array in (pair for piece in pieces for pair in piece.arrays):
            if array.size:
                streams.setdefault(its, []).append(array)
        sections = [piece.head for piece in pieces]
        for its, arrays in streams.items():
            if is_sample:
                code, data = shortest_on_sample(arrays, its, preset)
            else:
                code, data = shortest_code(arrays, its, preset, grids=False)
            sections.append(number_bytes(len(data)) + bytes([code]) + data)
        return b"".join(sections)

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        if not self.takes(shapes, alphabet):
            raise InputError("only floats may lie on a grid")
        reader = Reader(data)
        plans = [
            ways.read_plan(reader, shape, alphabet, shapes[:number])
            for number, shape in enumerate(shapes)
        ]
        streams: dict[Alphabet, list[Shape]] = {}
        for its, shape in (need for plan in plans for need in plan.needs):
            if math.prod(shape):
                streams.setdefault(its, []).append(shape)
        found = {its: iter(_read_section(reader, its, some)) for its, some in streams.items()}
        if reader.rest():
            raise InputError("the code goes on after its symbols")
        parts: list[Symbols] = []
        for plan in plans:
            arrays = [_next(found, *need) for need in plan.needs]
            parts.append(plan.build(arrays if plan.source is None else [parts[plan.source]]))
        return parts


def _read_section(reader: Reader, alphabet: Alphabet, shapes: Sequence[Shape]) -> list[Symbols]:
    size = reader.number()
    code = get_code(reader.take(1)[0])
    if code.name in _BARRED or not code.takes(shapes, alphabet):
        raise InputError(f"arrays of a grid are not coded by {code.name}")
    return code.decode(reader.take(size), shapes, alphabet)


def _next(found: dict, alphabet: Alphabet, shape: Shape) -> Symbols:  # type: ignore[type-arg]
    empty = not math.prod(shape)
    return np.zeros(shape, alphabet.container) if empty else next(found[alphabet])


def _pieces(parts: Sequence[Symbols], alphabet: Alphabet, preset: str) -> list[Rewritten]:
    dtype = DTYPES[alphabet.format]
    maybe = [False] * len(parts)
    if parts and mantissa_bits(dtype) >= _GRID_BITS:
        maybe = may_be_grids([table_of(part).view(dtype) for part in parts])
    copies = find_copies(parts, alphabet)
    return [
        copied(copies[number]) if number in copies else _piece(part, alphabet, its, preset)
        for number, (part, its) in enumerate(zip(parts, maybe, strict=True))
    ]


def _piece(part: Symbols, alphabet: Alphabet, may_be_grid: bool, preset: str) -> Rewritten:
    """The way that should need the fewest bits, undone and compared."""
    plain = ways.plain(part, alphabet)
    if not part.size:
        return plain
    found = _on_steps(part, alphabet, may_be_grid) + _in_codebook(part, alphabet)
    if preset != "fast":  # byte-planes code zeros at the end well
        found += _with_zeros(part, alphabet)
    most = _cost(plain) - _WORTH * part.size * alphabet.bits if found else 0
    shorter = [piece for piece in found if _cost(piece) < most]
    exact = [piece for piece in shorter if _is_undone(piece, part, alphabet)]
    # Zeros and others take about as many bits apart, but neither is then learned with the other.
    apart = preset == "best" and part.size >= _LOOK // 2 and is_sparse([part])
    return min(exact, key=_cost, default=ways.apart(part, alphabet) if apart else plain)


def _cost(piece: Rewritten) -> float:
    """About how many bits a piece takes: the order-0 entropy of its integers, and of the exponents
    of its floats, whose mantissas are noise."""
    arrays = sum(_bits(array.reshape(-1), alphabet) for alphabet, array in piece.arrays)
    return 8 * len(piece.head) + arrays


def _bits(array: Symbols, alphabet: Alphabet) -> float:
    mantissa = (form_parts(alphabet.format) or (0, 0))[1]
    if not mantissa:
        return entropy_bits(np.bincount(array))
    nonzero = array & array.dtype.type(alphabet.size // 2 - 1) != 0  # zeros have no mantissa
    exponents = array >> array.dtype.type(mantissa)
    return entropy_bits(np.bincount(exponents.astype(np.int64))) + mantissa * float(nonzero.sum())


def _is_undone(piece: Rewritten, part: Symbols, alphabet: Alphabet) -> bool:
    plan = ways.read_plan(Reader(piece.head), part.shape, alphabet)
    same = plan.needs == [(its, array.shape) for its, array in piece.arrays]
    return same and np.array_equal(plan.build([array for _, array in piece.arrays]), part)


def _with_zeros(part: Symbols, alphabet: Alphabet) -> list[Rewritten]:
    zeros, lines = ways.zeros_by_line(part, alphabet)
    # A short line may end in zeros by chance.
    means = [float(line.mean()) * (part.size >= _LINE * line.size) for line in lines]
    best = int(np.argmax(means))
    if means[best] > zeros + _WORTH * alphabet.bits:
        return [ways.shifted_lines(part, lines[best], best, alphabet)]
    return [ways.shifted(part, zeros, alphabet)] if zeros else []


def _on_steps(part: Symbols, alphabet: Alphabet, may_be_grid: bool) -> list[Rewritten]:
    """The part as multiples of steps, and as entries of a codebook times steps."""
    values = table_of(part).view(DTYPES[alphabet.format])
    may_be_table = may_have_table(values)
    inner = narrowest(values) if may_be_grid or may_be_table else values.dtype
    if mantissa_bits(inner) < _GRID_BITS:
        return []
    narrow = values.astype(inner)
    grid = find_grid(narrow) if may_be_grid else None
    pieces = [scaled(part, grid, inner, alphabet)] if grid else []
    # What does not go through zero may lie on a grid of very many levels that does.
    if may_be_grid and not any(piece and _few_levels(piece) for piece in pieces):
        grid = find_grid(narrow, affine=True)
        grid = with_offsets(narrow, grid) if grid else None
        pieces += [scaled(part, grid, inner, alphabet)] if grid else []
    table = find_table(narrow) if may_be_table else None
    pieces += [scaled(part, table, inner, alphabet)] if table else []
    return [piece for piece in pieces if piece]


def _few_levels(piece: Rewritten) -> bool:
    _, (alphabet, _), *_ = piece.arrays
    return alphabet.bits <= _FEW or bool(alphabet.format)


def _in_codebook(part: Symbols, alphabet: Alphabet) -> list[Rewritten]:
    flat = part.reshape(-1)
    some = flat[:: -(-flat.size // _LOOK)]
    few = 2 * count_distinct(some) <= some.size
    values = np.unique(flat).size if few else 0
    return [ways.codebook(part, alphabet)] if 1 < values <= CODEBOOK_LIMIT else []


register_code(GridCode())
