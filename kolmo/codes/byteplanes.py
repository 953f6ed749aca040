"""The quick code: each byte-plane by rANS with fixed frequencies, by Zstandard, or unchanged.

A float's bits are rotated left by one, so that its exponent fills the highest byte (of formats with
8 exponent bits); symbols of up to four bits are packed, several to a byte. The gain comes from
coding the exponents with a table of their own (the idea is from Hershcovitch et al., "ZipNN:
lossless compression for AI models", arXiv 2411.05239). Zstandard finds repeats and runs of zeros.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import rans
from kolmo.codes.base import register_code
from kolmo.codes.libraries import read_zstd_frame, zstd_frame
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.codes.plain import flat, split
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols, symbol_bits

Plane = NDArray[np.uint8]

_WORTH = 0.985  # a compressed form is taken only below this share of the size without it
_LONG = 1 << 17  # bytes from which on a plane's way is chosen on pieces
_PIECE = 1 << 11  # bytes of a piece
_PLAIN, _ZSTD, _RANS, _WAYS = 0, 1, 2, 4


class BytePlanesCode:
    """See the module.

    >>> weights = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    >>> floats = Alphabet.of_dtype(weights.dtype)
    >>> data = BytePlanesCode().encode([weights.view(np.uint32)], floats)
    >>> back = BytePlanesCode().decode(data, [(1000,)], floats)[0]
    >>> len(data) < weights.nbytes, np.array_equal(back, weights.view(np.uint32))
    (True, True)
    """

    name = "byteplanes"
    number = 10

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        from kolmo.codes import kernels_byteplanes as kernels

        symbols = parts[0].reshape(-1) if len(parts) == 1 else flat(parts, alphabet)
        packed = _per_byte(alphabet.size)
        if packed > 1:
            planes = np.zeros((1, -(-symbols.size // packed)), np.uint8)
            kernels.pack(symbols, alphabet.size, packed, planes[0])
        else:
            planes = np.empty((symbols.dtype.itemsize, symbols.size), np.uint8)
            kernels.part(symbols, 1 if alphabet.format else 0, planes)
        last, sizes = len(planes) - 1, _sizes([part.size for part in parts], packed)
        coded = [_compressed(plane, sizes, number == last) for number, plane in enumerate(planes)]
        heads = [number_bytes(_WAYS * len(data) + way) for way, data in coded]
        return b"".join([*heads, *(data for _, data in coded)])

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        from kolmo.codes import kernels_byteplanes as kernels

        reader, packed = Reader(data), _per_byte(alphabet.size)
        numel = sum(map(math.prod, shapes))
        symbols = np.empty(numel, alphabet.container)
        count = 1 if packed > 1 else symbols.dtype.itemsize
        sizes = _sizes(map(math.prod, shapes), packed)
        heads = [reader.number() for _ in range(count)]
        planes = np.stack(
            [_expanded(head % _WAYS, reader.take(head // _WAYS), sizes) for head in heads]
        )
        if packed > 1:
            if not kernels.unpack(planes[0], alphabet.size, packed, symbols):
                raise InputError("the code names a symbol that is not in the alphabet")
        else:
            kernels.join(planes, 1 if alphabet.format else 0, symbols)
        return split(symbols, shapes, alphabet)


def _per_byte(size: int) -> int:
    """How many symbols of an alphabet of ``size`` fit in a byte.

    >>> [_per_byte(size) for size in (2, 3, 15, 16, 17)]
    [8, 5, 2, 2, 1]
    """
    if symbol_bits(size) > 4:
        return 1
    return int(math.log(256.5) / math.log(max(2, size)))


def _sizes(numels: Iterable[int], packed: int) -> list[int]:
    """How many bytes of a plane belong to each part; a byte that two share belongs to the later.

    >>> _sizes([5, 1, 4], 4)
    [1, 0, 2]
    """
    ends = list(accumulate(numels)) or [0]  # damaged data may claim that there are no parts
    borders = [0, *(end // packed for end in ends[:-1]), -(-ends[-1] // packed)]
    return [stop - start for start, stop in pairwise(borders)]


def _compressed(plane: Plane, sizes: Sequence[int], highest: bool) -> tuple[int, bytes]:
    """The number of the shortest form of a plane, and its bytes.

    A long plane's way is chosen on pieces of it. Noise then takes no time at all, and exponents no
    more than their shares do.
    """
    if plane.size > _LONG:
        pieces = _pieces(plane)
        zipped = len(_zipped(pieces, highest))
        shares = rans.least_bytes(pieces, [pieces.size])
        if min(zipped, shares) >= _WORTH * pieces.size:
            return _PLAIN, plane.tobytes()
        if shares < _WORTH * zipped:
            return min(
                (_RANS, rans.encode_bytes(plane, sizes)), (_PLAIN, plane.tobytes()), key=_size
            )
    zipped_plane = _zipped(plane, highest)
    if len(zipped_plane) >= _WORTH * plane.size:  # noise, which rANS cannot shorten either
        return min((_ZSTD, zipped_plane), (_PLAIN, plane.tobytes()), key=_size)
    best = (_ZSTD, zipped_plane)
    if rans.least_bytes(plane, sizes) < _WORTH * len(zipped_plane):
        best = min(best, (_RANS, rans.encode_bytes(plane, sizes)), key=_size)
    return best


def _size(way: tuple[int, bytes]) -> int:
    return len(way[1])


def _pieces(plane: Plane) -> Plane:
    """A sixteenth of a plane, in pieces from all over it."""
    whole = plane[: plane.size // (16 * _PIECE) * 16 * _PIECE]
    return np.ascontiguousarray(whole.reshape(-1, 16, _PIECE)[:, 7]).reshape(-1)


def _zipped(plane: Plane, highest: bool) -> bytes:
    import zstandard

    # The match table is tiny: exponents seldom repeat in long stretches, apart from runs of zeros.
    settings = partial(
        zstandard.ZstdCompressionParameters,
        strategy=zstandard.STRATEGY_FAST,
        min_match=7,
        hash_log=6 if highest else 12,
        window_log=17,
    )
    return zstd_frame(plane.data, settings)


def _expanded(way: int, data: bytes, sizes: Sequence[int]) -> Plane:
    if way == _RANS:
        return rans.decode_bytes(data, sizes)
    expanded = _unzipped(data, sum(sizes)) if way == _ZSTD else data
    if len(expanded) != sum(sizes) or way > _RANS:
        raise InputError(f"a plane of {len(expanded):,} bytes, not {sum(sizes):,}")
    return np.frombuffer(expanded, np.uint8)


def _unzipped(data: bytes, size: int) -> bytes:
    try:
        return read_zstd_frame(data, size, 1 << 17)
    except ValueError as error:
        raise InputError(f"damaged byteplanes code ({error})") from None


register_code(BytePlanesCode())
