"""The quick code: each byte-plane at fixed shares of its values, by Zstandard, or as it is.

A float's bits are turned left by one, so that its exponent fills the highest byte (of formats with
8 exponent bits); symbols of up to four bits are packed, several to a byte. What matters is that the
exponents have a table of their own (Hershcovitch et al., "ZipNN: lossless compression for AI
models", arXiv 2411.05239, has the idea). Zstandard sees repeats, and zeros in a row.

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

_WORTH = 0.985  # of the length there is: what saves less takes longer to decode, for little
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

        symbols = flat(parts, alphabet)
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
    """How many of so many symbols a byte holds.

    >>> [_per_byte(size) for size in (2, 3, 15, 16, 17)]
    [8, 5, 2, 2, 1]
    """
    if symbol_bits(size) > 4:
        return 1
    return int(math.log(256.5) / math.log(max(2, size)))


def _sizes(numels: Iterable[int], packed: int) -> list[int]:
    """Bytes of a plane that are of each part; one that two share is of the later.

    >>> _sizes([5, 1, 4], 4)
    [1, 0, 2]
    """
    ends = list(accumulate(numels)) or [0]  # damaged data may say that there is no part
    borders = [0, *(end // packed for end in ends[:-1]), -(-ends[-1] // packed)]
    return [stop - start for start, stop in pairwise(borders)]


def _compressed(plane: Plane, sizes: Sequence[int], highest: bool) -> tuple[int, bytes]:
    """How the plane is shortest, and its bytes."""
    zipped = _zipped(plane, highest)
    if len(zipped) >= _WORTH * plane.size:  # noise, and for fixed shares no less so
        return (_ZSTD, zipped) if len(zipped) < plane.size else (_PLAIN, plane.tobytes())
    found = (_ZSTD, zipped)
    if rans.least_bytes(plane, sizes) < _WORTH * len(zipped):
        found = min(found, (_RANS, rans.encode_bytes(plane, sizes)), key=lambda way: len(way[1]))
    return found


def _zipped(plane: Plane, highest: bool) -> bytes:
    import zstandard

    # A tiny table of matches: repeated exponents are no repeats, but zeros in a row are.
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
