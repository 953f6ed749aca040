"""The quick code: each byte-plane by Zstandard where that helps, as it is where not.

A float's bits are turned left by one, so that its exponent fills the highest byte (of formats with
8 exponent bits); symbols of up to four bits are packed, several to a byte. What matters is that the
exponents are Huffman-coded, which Zstandard does once its match finder is kept on a short leash
(Hershcovitch et al., "ZipNN: lossless compression for AI models", arXiv 2411.05239, has the idea).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.codec.base import Shape, Symbols, register_code
from kolmo.codec.numbers import Reader, number_bytes
from kolmo.codec.plain import flat, split
from kolmo.errors import InputError
from kolmo.estimators.base import container, symbol_bits

Plane = NDArray[np.uint8]


class PlanesCode:
    """See the module.

    >>> weights = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    >>> data = PlanesCode().encode([weights.view(np.uint32)], 1 << 32, "float32")
    >>> back = PlanesCode().decode(data, [(1000,)], 1 << 32, "float32")[0]
    >>> len(data) < weights.nbytes, np.array_equal(back, weights.view(np.uint32))
    (True, True)
    """

    name = "planes"
    number = 10

    def takes(self, shapes: Sequence[Shape], alphabet: int) -> bool:
        return any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: int, kind: str) -> bytes:
        from kolmo.codec import kernels_planes as kernels

        symbols = flat(parts, alphabet)
        packed = _per_byte(alphabet)
        if packed > 1:
            planes = np.zeros((1, -(-symbols.size // packed)), np.uint8)
            kernels.pack(symbols, alphabet, packed, planes[0])
        else:
            planes = np.empty((symbols.dtype.itemsize, symbols.size), np.uint8)
            kernels.part(symbols, 1 if kind else 0, planes)
        coded = [_compressed(plane, plane is planes[-1]) for plane in planes]
        return b"".join([*(number_bytes(len(data)) for data in coded), *coded])

    def decode(
        self, data: bytes, shapes: Sequence[Shape], alphabet: int, kind: str
    ) -> list[Symbols]:
        from kolmo.codec import kernels_planes as kernels

        reader, packed = Reader(data), _per_byte(alphabet)
        numel = sum(map(math.prod, shapes))
        symbols = np.empty(numel, container(alphabet))
        count = 1 if packed > 1 else symbols.dtype.itemsize
        size = -(-numel // packed)
        sizes = [reader.number() for _ in range(count)]
        planes = np.stack([_expanded(reader.take(part), size) for part in sizes])
        if packed > 1:
            if not kernels.unpack(planes[0], alphabet, packed, symbols):
                raise InputError("the code names a symbol that is not in the alphabet")
        else:
            kernels.join(planes, 1 if kind else 0, symbols)
        return split(symbols, shapes, alphabet)


def _per_byte(alphabet: int) -> int:
    """Symbols that a byte holds.

    >>> [_per_byte(alphabet) for alphabet in (2, 3, 15, 16, 17)]
    [8, 5, 2, 2, 1]
    """
    if symbol_bits(alphabet) > 4:
        return 1
    return int(math.log(256.5) / math.log(max(2, alphabet)))


def _compressed(plane: Plane, highest: bool) -> bytes:
    """The plane by Zstandard, or as it is, which its size then tells."""
    import zstandard

    # A tiny table of matches: repeated exponents are no repeats, but zeros in a row are.
    settings = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST,
        min_match=7,
        hash_log=6 if highest else 12,
        window_log=17,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=False,
        write_checksum=False,
    )
    compressor = zstandard.ZstdCompressor(compression_params=settings)
    data = compressor.compress(plane.data)
    return data if len(data) < plane.size else plane.tobytes()


def _expanded(data: bytes, size: int) -> Plane:
    import zstandard

    if len(data) == size:
        return np.frombuffer(data, np.uint8)
    decoder = zstandard.ZstdDecompressor(
        format=zstandard.FORMAT_ZSTD1_MAGICLESS, max_window_size=1 << 17
    )
    try:
        with decoder.stream_reader(data) as reader:
            expanded = reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise InputError(f"damaged planes code ({error})") from None
    if len(expanded) != size:
        raise InputError(f"a plane of {len(expanded):,} bytes, not {size:,}")
    return np.frombuffer(expanded, np.uint8)


register_code(PlanesCode())
