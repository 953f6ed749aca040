"""A code for whole models whose tensors are made of few distinct blocks: mosaics.

::

    symbols ─► blocks of s ─► motifs, the distinct ones ─► their first symbols, their others
                          └─► indices, which block is which motif

Each tensor is flattened and cut into blocks of s symbols, its last block padded with zeros
(Mosaic-of-Motifs, arXiv 2602.14896); the encoder searches for s. There is one dictionary of motifs
for all tensors, or one for each; or one of float16 motifs, and a scale for each tensor.

Motifs are sorted by the bit length of their count, largest first, then by first symbol. First
symbols are stored as differences: these are small, and the order itself costs nothing. Indices are
coded by `kolmo.codes.mixing`, or at fixed width. docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import mixing
from kolmo.codes.base import Code, get_code, register_code
from kolmo.codes.lengths import entropy_bits
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.codes.scaled import give_scales, take_scales
from kolmo.errors import InputError, NotApplicableError
from kolmo.floats import disorder_patterns, order_patterns
from kolmo.symbols import Alphabet, Shape, Symbols

SIZES = range(1, 33)
"""Block sizes that are tried."""

MOSAIC_LIMIT = 1 << 24
"""The most symbols of a mosaic, because all of them are held in memory and sorted."""

_FLOATS = Alphabet.of_dtype(np.dtype(np.float32))  # symbols that may have a scale for each tensor
_HALVES = Alphabet.of_dtype(np.dtype(np.float16))  # symbols of the motifs of scaled tensors

_INDEX_CODES = ("mixing", "raw")
_DEPTH = 20  # leading bits of a key by which blocks are counted

Indices = NDArray[np.int64]


class Mixing:
    """`kolmo.codes.mixing` for tensors as tables; the commonest symbol should be 0."""

    name = "mixing"
    number = 8

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return alphabet.size <= mixing.ALPHABET

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        tables = [part.reshape(_as_table(part.shape)) for part in parts]
        return mixing.encode(tables, alphabet.size)

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        tables = mixing.decode(data, [_as_table(shape) for shape in shapes], alphabet.size)
        dtype = alphabet.container
        return [t.astype(dtype).reshape(shape) for t, shape in zip(tables, shapes, strict=True)]


class MosaicCode:
    """The mosaic code: motifs and indices.

    >>> random = np.random.default_rng(0)
    >>> motifs = random.integers(0, 2**32, (4, 8), np.uint32)
    >>> part = motifs[random.integers(0, 4, 500)].reshape(50, 80)
    >>> data = MosaicCode().encode([part], Alphabet(2**32))
    >>> 8 * len(data) < 4 * 8 * 32 + 500 * 2 + 150
    True
    >>> np.array_equal(MosaicCode().decode(data, [(50, 80)], Alphabet(2**32))[0], part)
    True
    """

    name = "mosaic"
    number = 2

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return 0 < sum(map(math.prod, shapes)) <= MOSAIC_LIMIT

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        size = find_block_size(parts, 8 * alphabet.container.itemsize)
        if size is None:
            raise NotApplicableError("the symbols are not made of few distinct blocks")
        scaled = _encode_scaled(parts, size) if alphabet == _FLOATS else None
        if scaled is not None:
            return bytes([2, size]) + scaled
        blocks = [cut_blocks(part, size) for part in parts]
        tries = [(0, [np.concatenate(blocks)])] + ([(1, blocks)] if len(parts) > 1 else [])
        coder = _Coder(size, [part.shape for part in parts], alphabet)
        codes = [bytes([mode, size]) + coder.encode(scopes) for mode, scopes in tries]
        return min(codes, key=len)

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        if len(data) < 2 or data[0] > 2 or data[1] not in SIZES:
            raise InputError("the code is not that of a mosaic")
        reader = Reader(data[2:])
        if data[0] < 2:
            return _Coder(data[1], shapes, alphabet).decode(reader, bool(data[0]))
        if alphabet != _FLOATS:
            raise InputError("only float32 tensors have a scale")
        scales = _read_section(reader, (len(shapes),), alphabet).view("<f4")
        halves = _Coder(data[1], shapes, _HALVES).decode(reader, False)
        return give_scales(scales, halves)


def _encode_scaled(parts: Sequence[Symbols], size: int) -> bytes | None:
    taken = take_scales(parts, size)
    if taken is None:
        return None
    scales, halves = taken
    blocks = np.concatenate([cut_blocks(half, size) for half in halves])
    coder = _Coder(size, [part.shape for part in parts], _HALVES)
    head = _section([scales.astype("<f4", copy=False).view("<u4")], _FLOATS)
    return head + coder.encode([blocks])


def cut_blocks(part: Symbols, size: int) -> Symbols:
    """A tensor's blocks, shape (m, s), the last one padded with zeros."""
    count = -(-part.size // size)
    blocks = np.zeros(count * size, part.dtype)
    blocks[: part.size] = part.reshape(-1)
    return blocks.reshape(count, size)


def find_block_size(parts: Sequence[Symbols], width: float) -> int | None:
    """The block size s with the fewest bits, k·s·width + m·H; None if that is no gain.

    There are m blocks and k motifs; H is the entropy of the indices, or log2 k where there are too
    many motifs to count.

    Parameters
    ----------
    parts : sequence of unsigned integer ndarrays
    width : float
        Bits of a symbol of a motif.
    """
    numel = sum(part.size for part in parts)
    lengths = {size: _formula(parts, size, width) for size in SIZES}
    best = min(SIZES, key=lambda size: lengths[size])
    return best if lengths[best] < numel * width else None


def _formula(parts: Sequence[Symbols], size: int, width: float) -> float:
    keys = np.concatenate([block_keys(cut_blocks(part, size)) for part in parts])
    motifs = max(1.0, count_distinct(keys))
    indices = keys.size * math.log2(motifs)
    if motifs < 1 << (_DEPTH - 2):
        indices = entropy_bits(np.bincount((keys >> np.uint64(64 - _DEPTH)).astype(np.int64)))
    return motifs * size * width + indices


def count_distinct(keys: NDArray[np.uint64]) -> float:
    """An estimate of how many keys are distinct, by the share of slots that they leave empty.

    Linear counting: Whang, Vander-Zanden & Taylor, ACM TODS 15(2), 1990.

    >>> keys = block_keys(np.arange(300_000, dtype=np.uint32).reshape(-1, 1) % 1000)
    >>> abs(count_distinct(keys) - 1000) < 5
    True
    """
    depth = max(10, (4 * keys.size).bit_length())
    used = np.zeros(1 << depth, bool)
    used[keys >> np.uint64(64 - depth)] = True
    return -used.size * math.log1p(-np.count_nonzero(used) / used.size)


def block_keys(blocks: Symbols) -> NDArray[np.uint64]:
    """A hash of 64 bits for each block."""
    keys = np.zeros(len(blocks), np.uint64)
    for column in blocks.T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


@dataclasses.dataclass(frozen=True)
class _Coder:
    size: int
    shapes: Sequence[Shape]
    alphabet: Alphabet

    def encode(self, scopes: Sequence[Symbols]) -> bytes:
        """Encode blocks, with a dictionary for each scope: all tensors, or each tensor."""
        dictionaries = [_dictionary(blocks, self.alphabet) for blocks in scopes]
        counts = [len(motifs) for motifs, _ in dictionaries]
        motifs = np.concatenate([motifs for motifs, _ in dictionaries])
        indices = np.concatenate([ranks for _, ranks in dictionaries])
        sections = [_differences(motifs[:, 0], self.alphabet), motifs[:, 1:]]
        return b"".join(
            [
                *map(number_bytes, counts),
                _section([sections[0]], Alphabet(self.alphabet.size)),
                _section([sections[1]], self.alphabet) if self.size > 1 else b"",
                _shortest_indices(self._tables(indices), max(counts)),
            ]
        )

    def decode(self, reader: Reader, own: bool) -> list[Symbols]:
        blocks = [math.prod(table) for table in self._table_shapes()]
        scopes = blocks if own else [sum(blocks)]
        counts = [_read_count(reader, scope) for scope in scopes]
        total = sum(counts)
        first = _read_section(reader, (total,), Alphabet(self.alphabet.size))
        motifs = np.empty((total, self.size), self.alphabet.container)
        motifs[:, 0] = _undo_differences(first, self.alphabet)
        if self.size > 1:
            motifs[:, 1:] = _read_section(reader, (total, self.size - 1), self.alphabet)
        code = _index_code(reader.take(1)[0])
        motif = Alphabet(max([1, *counts]))
        tables = code.decode(reader.rest(), self._table_shapes(), motif)
        starts = np.cumsum([0, *counts])
        parts = []
        for number, (table, shape) in enumerate(zip(tables, self.shapes, strict=True)):
            start = starts[number] if own else 0
            if own and table.size and int(table.max()) >= counts[number]:
                raise InputError("an index names a motif that is not there")
            symbols = motifs[start + table.reshape(-1).astype(np.int64)].reshape(-1)
            parts.append(symbols[: math.prod(shape)].reshape(shape))
        return parts

    def _table_shapes(self) -> list[tuple[int, int]]:
        return [index_table(shape, self.size) for shape in self.shapes]

    def _tables(self, indices: Indices) -> list[Indices]:
        shapes = self._table_shapes()
        pieces = np.split(indices, np.cumsum([rows * columns for rows, columns in shapes])[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def index_table(shape: Shape, size: int) -> tuple[int, int]:
    """Rows and columns of a tensor's table of blocks; one row where blocks would cross rows."""
    numel = math.prod(shape)
    if len(shape) > 1 and numel and (numel // shape[0]) % size == 0:
        return shape[0], numel // shape[0] // size
    return 1, -(-numel // size)


def _shortest_indices(tables: Sequence[Indices], motifs: int) -> bytes:
    alphabet = Alphabet(motifs)
    parts = [table.astype(alphabet.container) for table in tables]
    codes = [get_code(name) for name in _INDEX_CODES]
    return min((bytes([c.number]) + c.encode(parts, alphabet) for c in codes), key=len)


def _index_code(number: int) -> Code:
    code = get_code(number)
    if code.name not in _INDEX_CODES:
        raise InputError(f"the indices of a mosaic are not coded by {code.name}")
    return code


def _as_table(shape: Shape) -> tuple[int, int]:
    return index_table(shape, 1) if math.prod(shape) else (0, 0)


def _dictionary(blocks: Symbols, alphabet: Alphabet) -> tuple[Symbols, Indices]:
    """The motifs in the order of the file, and the index of each block's motif."""
    _, first, inverse, counts = np.unique(
        block_keys(blocks), return_index=True, return_inverse=True, return_counts=True
    )
    motifs = blocks[first]
    if not np.array_equal(motifs[inverse.reshape(-1)], blocks):
        raise NotApplicableError("two blocks have one key")
    classes = -np.array([int(count).bit_length() for count in counts], np.int64)
    if counts.size:
        classes[np.argmax(counts)] -= 1  # the commonest is index 0
    order = np.lexsort((*_ordered(motifs, alphabet).T[::-1], classes))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return motifs[order], ranks[inverse.reshape(-1)]


def _ordered(symbols: Symbols, alphabet: Alphabet) -> Symbols:
    """Bit patterns of floats as integers in the order of their values; other symbols unchanged."""
    return order_patterns(symbols, alphabet.format) if alphabet.format else symbols


def _differences(symbols: Symbols, alphabet: Alphabet) -> Symbols:
    """Each symbol less the one before it, modulo the alphabet's size."""
    wide = _ordered(symbols, alphabet).astype(np.uint64)
    wide[1:] -= wide[:-1].copy()  # modulo 2^64
    below = wide >= np.uint64(1 << 63)
    if alphabet.size < 1 << 64:
        wide[below] += np.uint64(alphabet.size)
    return wide.astype(alphabet.container)


def _undo_differences(steps: Symbols, alphabet: Alphabet) -> Symbols:
    total = np.cumsum(steps, dtype=np.uint64)  # modulo 2^64
    if alphabet.size < 1 << 64:
        total %= np.uint64(alphabet.size)
    symbols = total.astype(alphabet.container)
    return disorder_patterns(symbols, alphabet.format) if alphabet.format else symbols


# --- bytes ----------------------------------------------------------------------------------


def _section(parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
    from kolmo.codes.choosing import shortest_code

    code, data = shortest_code(parts, alphabet, "best")
    return number_bytes(len(data)) + bytes([code]) + data


def _read_section(reader: Reader, shape: Shape, alphabet: Alphabet) -> Symbols:
    size, number = reader.number(), reader.take(1)[0]
    code = get_code(number)
    if code.name == "mosaic":
        raise InputError("a mosaic's motifs are no mosaic")
    return code.decode(reader.take(size), [shape], alphabet)[0]


def _read_count(reader: Reader, blocks: int) -> int:
    """The number of motifs, of a tensor or of all."""
    count = reader.number()
    if not min(1, blocks) <= count <= blocks:
        raise InputError(f"{blocks:,} blocks are not made of {count:,} motifs")
    return count


register_code(Mixing())
register_code(MosaicCode())
