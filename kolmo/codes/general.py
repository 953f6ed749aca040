"""General compressors as codes, on the symbols' bytes or on their byte-planes.

The first byte says which of two layouts of `kolmo.layout` the symbols are in; the library's stream
follows, without headers and checksums where the library allows that. A decoder may write no more
bytes than the symbols take, whatever the stream would expand to.

docs/formats/codes.md specifies every byte.
"""

from __future__ import annotations

import dataclasses
import lzma
import math
import zlib
from collections.abc import Sequence

from kolmo.codes.base import register_code
from kolmo.codes.libraries import BrotliLibrary, Bzip2Library, Library, Lzma, Zlib, Zstandard
from kolmo.codes.plain import flat, split
from kolmo.errors import InputError
from kolmo.layout import laid_out_size, lay_out, read_back
from kolmo.symbols import Alphabet, Shape, Symbols

LAYOUTS = ("bytes", "shuffle")


@dataclasses.dataclass(frozen=True)
class General:
    """The code that a compression library writes.

    >>> import numpy as np
    >>> zstd, alphabet = General("zstd", 3, Zstandard()), Alphabet(2**32)
    >>> symbols = np.arange(4000, dtype=np.uint32) % 7
    >>> data = zstd.encode([symbols], alphabet)
    >>> len(data) < 60, (zstd.decode(data, [(4000,)], alphabet)[0] == symbols).all()
    (True, np.True_)
    """

    name: str
    number: int
    library: Library

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        """The code in the layout that makes it shorter."""
        symbols = flat(parts, alphabet)
        layouts = LAYOUTS[: symbols.dtype.itemsize]  # bytes have no planes
        return min((self.encode_in(symbols, alphabet, layout) for layout in layouts), key=len)

    def encode_in(self, symbols: Symbols, alphabet: Alphabet, layout: str) -> bytes:
        """The code of flat symbols in one layout."""
        data = lay_out(symbols, alphabet, layout)
        packed = self.library.compress(data, _period(alphabet, layout))
        return bytes([LAYOUTS.index(layout)]) + packed

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        numel = sum(map(math.prod, shapes))
        if not data or data[0] >= len(LAYOUTS):
            raise InputError(f"the code is not one of {self.name}")
        layout = LAYOUTS[data[0]]
        size, period = laid_out_size(numel, alphabet, layout), _period(alphabet, layout)
        try:
            laid_out = self.library.decompress(data[1:], size, period)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError) as error:
            raise InputError(f"damaged {self.name} code ({error})") from None
        if len(laid_out) != size:
            raise InputError(f"a {self.name} code of {len(laid_out):,} bytes, not {size:,}")
        return split(read_back(laid_out, numel, alphabet, layout), shapes, alphabet)


def _period(alphabet: Alphabet, layout: str) -> int:
    return alphabet.container.itemsize if layout == "bytes" else 1


register_code(General("zstd", 3, Zstandard()))
register_code(General("xz", 4, Lzma()))
register_code(General("brotli", 5, BrotliLibrary()))
register_code(General("bz2", 6, Bzip2Library()))
register_code(General("deflate", 7, Zlib()))
