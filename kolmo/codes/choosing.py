"""The shortest code of a unit: every candidate is run and its bytes are counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kolmo import specs
from kolmo.codes.base import Code, get_code
from kolmo.codes.forms import FLOATS, GRID
from kolmo.codes.general import LAYOUTS, General
from kolmo.codes.lengths import entropy_bits
from kolmo.codes.plain import flat
from kolmo.errors import NotApplicableError
from kolmo.layout import lay_out
from kolmo.symbols import Alphabet, Symbols

PRESETS = {
    "best": (
        *("constant", "context", "counts", "byteplanes"),
        *("zstd", "xz", "brotli", "bz2", "deflate", "raw"),
    ),
    "fast": ("constant", "byteplanes", "raw"),
}
"""Codes that each preset tries, in this order; of equally short ones the first is taken."""

_SMALL = 1 << 18  # every compressor is tried on a unit of up to this many bytes: it is quick
_WORTH = (
    0.998  # slow compressors are tried if zstd level 3 is under this share of the order-0 entropy
)

_NEAR = 1.01  # a code runs on all symbols if its estimate is below this multiple of the shortest
_PIECE, _PIECES = 1 << 16, 3  # symbols of a sample piece, number of pieces


def check_preset(preset: str) -> None:
    """Raise InputError unless this is the name of a preset."""
    if preset not in PRESETS:
        raise specs.unknown("preset", preset, PRESETS)


def shortest_code(
    parts: Sequence[Symbols], alphabet: Alphabet, preset: str, *, grids: bool = True
) -> tuple[int, bytes]:
    """The number of the shortest code of a preset, and its bytes.

    Weights that lie on a grid are also coded by `kolmo.codes.grid`, which calls this function for
    what it makes of them, without ``grids``.

    The general compressors are slow, and win only where stretches repeat. They are tried on small
    units, and where zstd level 3 gets below the order-0 entropy of the bytes; then those that look
    as short as the other codes on a few pieces are run on all symbols.

    >>> shortest_code([np.zeros(100, np.uint8)], Alphabet(256), "best")
    (1, b'\\x00')
    """
    shapes = [part.shape for part in parts]
    codes = [code for code in map(get_code, PRESETS[preset]) if code.takes(shapes, alphabet)]
    written = _on_grid(parts, alphabet, preset) if grids else []
    general = [code for code in codes if isinstance(code, General)]
    for code in codes:
        if not isinstance(code, General):
            data = _encoded(code, parts, alphabet)
            if data is not None and code.name == "constant":
                return code.number, data
            written += [(code.number, data)] if data is not None else []
    if general:
        best = min(written, key=lambda pair: len(pair[1]))
        written += _general_codes(general, flat(parts, alphabet), alphabet, best)
    return min(written, key=lambda pair: len(pair[1]))


def _on_grid(parts: Sequence[Symbols], alphabet: Alphabet, preset: str) -> list[tuple[int, bytes]]:
    if alphabet.format not in FLOATS:
        return []
    try:
        return [(GRID, get_code(GRID).encode(parts, alphabet, preset))]  # type: ignore[call-arg]
    except NotApplicableError:
        return []


def _encoded(code: Code, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes | None:
    try:
        return code.encode(parts, alphabet)
    except NotApplicableError:
        return None


def _general_codes(
    codes: Sequence[General],
    symbols: Symbols,
    alphabet: Alphabet,
    best: tuple[int, bytes],
) -> list[tuple[int, bytes]]:
    layouts = LAYOUTS[: symbols.dtype.itemsize]
    if symbols.nbytes > _SMALL:
        probed = {layout: _quick(symbols, alphabet, layout) for layout in layouts}
        if min(probed.values()) > _WORTH * order0_bytes(symbols):
            return []
        layouts = (min(layouts, key=lambda layout: probed[layout]),)
        codes = _promising(codes, symbols, alphabet, layouts[0], probed[layouts[0]], len(best[1]))
    return [
        (code.number, code.encode_in(symbols, alphabet, layout))
        for code in codes
        # zstd does not predict xz's better layout, for xz has contexts by a byte's place.
        for layout in (LAYOUTS[: symbols.dtype.itemsize] if code.name == "xz" else layouts)
    ]


def _promising(
    codes: Sequence[General],
    symbols: Symbols,
    alphabet: Alphabet,
    layout: str,
    quick: int,
    best: int,
) -> list[General]:
    """The codes that should be as short as the best one, judged by sample pieces.

    Repeats that lie further apart than a piece are not seen here; each code is assumed to gain
    from them as much as zstd level 3 does.
    """
    size = min(symbols.size, _PIECE)
    starts = np.linspace(0, symbols.size - size, _PIECES).astype(np.int64)
    pieces = [symbols[start : start + size] for start in starts]
    gain = quick / sum(_quick(piece, alphabet, layout) for piece in pieces)
    return [
        code
        for code in codes
        if gain * sum(len(code.encode([piece], alphabet)) for piece in pieces) < _NEAR * best
    ]


def _quick(symbols: Symbols, alphabet: Alphabet, layout: str) -> int:
    import zstandard

    return len(zstandard.ZstdCompressor(level=3).compress(lay_out(symbols, alphabet, layout)))


def order0_bytes(symbols: Symbols) -> float:
    """The order-0 entropies of all byte-planes, added up, in bytes."""
    planes = symbols.view(np.uint8).reshape(symbols.size, symbols.dtype.itemsize)
    return sum(entropy_bits(np.bincount(plane, minlength=256)) for plane in planes.T) / 8
