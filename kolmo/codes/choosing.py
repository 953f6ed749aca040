"""The shortest code of a unit: candidates are run and their bytes are counted.

Codes that are quick run on all symbols. *Patient* ones take many times as long, and gain only where
there is structure that the quick ones do not see: stretches that repeat, values that follow from
others. Each is tried on a sample first, and runs on all symbols if it looks shorter there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kolmo import specs
from kolmo.codes.base import Code, get_code
from kolmo.codes.forms import GRID
from kolmo.codes.general import LAYOUTS, General
from kolmo.codes.lengths import entropy_bits
from kolmo.codes.plain import flat
from kolmo.errors import NotApplicableError
from kolmo.layout import lay_out
from kolmo.symbols import Alphabet, Symbols

PRESETS = {
    "best": (
        *(
            "constant",
            "trellis",
            "grid",
            "predictive",
            "context",
            "counts",
            "byteplanes",
            "records",
        ),
        *("xz", "brotli", "zstd", "bz2", "deflate", "raw"),
    ),
    "default": ("constant", "trellis", "grid", "context", "counts", "byteplanes", "records", "raw"),
    "fast": ("constant", "trellis", "grid", "byteplanes", "raw"),
}
"""Codes that each preset tries, in this order; of equally short ones the first is taken."""


@dataclasses.dataclass(frozen=True)
class _Patience:
    """Which codes are patient, and when they are tried: on all symbols of a unit of up to ``small``
    bytes, else first on a sample of ``sample`` symbols."""

    codes: tuple[str, ...]
    small: int
    sample: int


_PATIENT = ("counts", "records", "xz", "brotli", "zstd", "bz2", "deflate")
_PATIENCE = {
    "best": _Patience(("context", *_PATIENT), 1 << 17, 1 << 13),
    "default": _Patience(_PATIENT, 1 << 13, 1 << 12),
    "fast": _Patience((), 0, 0),
}
_TRELLIS = "trellis"
_PIECE = 1 << 15  # symbols of which an order-0 entropy is taken
_REPEATED = 0.98  # below this share of order-0 entropies Zstandard has found repeats
_PIECES = 3  # tensors of a unit that a sample is taken of
_CLEARLY = 0.75  # other codes are not tried if a grid takes under this share of the byte-planes'
_WORTH = 0.99  # a code runs on all symbols if it takes under this share of the others' bytes


def check_preset(preset: str) -> None:
    """Raise InputError unless this is the name of a preset."""
    if preset not in PRESETS:
        raise specs.unknown("preset", preset, PRESETS)


def shortest_code(
    parts: Sequence[Symbols], alphabet: Alphabet, preset: str, *, grids: bool = True
) -> tuple[int, bytes]:
    """The number of the shortest code of a preset, and its bytes.

    Weights that lie on a grid are coded by `kolmo.codes.grid`, which calls this function for what
    it makes of them, without ``grids``.

    >>> shortest_code([np.zeros(100, np.uint8)], Alphabet(256), "best")
    (1, b'\\x00')
    """
    shapes = [part.shape for part in parts]
    codes = [code for code in map(get_code, PRESETS[preset]) if code.takes(shapes, alphabet)]
    if codes[0].name == "constant" and (data := _encoded(codes[0], parts, alphabet)) is not None:
        return codes[0].number, data
    if any(code.name == _TRELLIS for code in codes) and (data := _by_design(parts, alphabet)):
        return get_code(_TRELLIS).number, data
    on_grid = _on_grid(parts, alphabet, preset) if grids and get_code(GRID) in codes else {}
    if on_grid and _clearly_shorter(on_grid[GRID], parts, alphabet):
        return GRID, on_grid[GRID]
    patience = _PATIENCE.get(preset, _PATIENCE["best"])
    patient = [code for code in codes if code.name in patience.codes]
    special = ("constant", _TRELLIS, "grid", *patience.codes)
    quick = [code for code in codes if code.name not in special]
    written = on_grid | _all(quick, parts, alphabet)
    if sum(part.nbytes for part in parts) <= patience.small:
        written |= _all(patient, parts, alphabet)
    elif patient:
        written |= _promising(patient, quick, parts, alphabet, patience.sample)
    in_order = [code.number for code in codes if code.number in written]
    shortest = min(in_order, key=lambda number: len(written[number]))
    return shortest, written[shortest]


def _all(codes: Sequence[Code], parts: Sequence[Symbols], alphabet: Alphabet) -> dict[int, bytes]:
    """The bytes of all codes that can express the symbols, by number."""
    coded = {code.number: _encoded(code, parts, alphabet) for code in codes}
    return {number: data for number, data in coded.items() if data is not None}


def _by_design(parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
    """The bytes of levels that were made for a trellis, which other codes do not see; else none."""
    from kolmo.codes.trellis import is_by_design  # and a compiler with it

    return get_code(_TRELLIS).encode(parts, alphabet) if is_by_design(parts, alphabet) else b""


def _on_grid(parts: Sequence[Symbols], alphabet: Alphabet, preset: str) -> dict[int, bytes]:
    try:
        return {GRID: get_code(GRID).encode(parts, alphabet, preset)}  # type: ignore[call-arg]
    except NotApplicableError:
        return {}


def _clearly_shorter(data: bytes, parts: Sequence[Symbols], alphabet: Alphabet) -> bool:
    """Than what floats as they are would take: other codes need not be tried."""
    quickly = _encoded(get_code("byteplanes"), parts, alphabet)
    return quickly is not None and len(data) < _CLEARLY * len(quickly)


def _encoded(code: Code, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes | None:
    try:
        return code.encode(parts, alphabet)
    except NotApplicableError:
        return None


def _promising(
    patient: Sequence[Code],
    quick: Sequence[Code],
    parts: Sequence[Symbols],
    alphabet: Alphabet,
    size: int,
) -> dict[int, bytes]:
    """The bytes of the patient codes that should be shorter than the quick ones.

    Those that are shorter on a sample, or would be if they gained as much from repeats that lie
    further apart as Zstandard does at its quickest.
    """
    sample = _sample(parts, size)
    quickly = min(map(len, _all(quick, sample, alphabet).values()))
    far = _repetition(parts, alphabet)
    far = min(1, far / _repetition(sample, alphabet)) if far < _REPEATED else 1
    found = {}
    for code in patient:
        tried = _encoded(code, sample, alphabet)
        if tried is None or len(tried) * far > _WORTH * quickly:
            continue
        if isinstance(code, General):  # the layout that was shorter
            layout = LAYOUTS[tried[0]]
            found[code.number] = code.encode_in(flat(parts, alphabet), alphabet, layout)
        else:
            found[code.number] = code.encode(parts, alphabet)
    return found


def _sample(parts: Sequence[Symbols], size: int) -> list[Symbols]:
    """The first rows of the largest tensors, about ``size`` symbols in all.

    >>> [part.shape for part in _sample([np.zeros((50, 2, 5)), np.zeros(90)], 200)]
    [(6, 2, 5), (66,)]
    """
    largest = sorted(parts, key=lambda part: -part.size)[:_PIECES]
    return [_head(part, size // _PIECES) for part in largest]


def _head(part: Symbols, size: int) -> Symbols:
    row = max(1, part.size // max(1, len(part)))
    return part[: size // row] if row <= size else part.reshape(-1)[:size]


def _repetition(parts: Sequence[Symbols], alphabet: Alphabet) -> float:
    """The bytes of Zstandard's quickest level by the order-0 entropy of pieces: 1 for noise."""
    import zstandard

    symbols, compressor = flat(parts, alphabet), zstandard.ZstdCompressor(level=3)
    layouts = LAYOUTS[: symbols.dtype.itemsize]
    zipped = min(len(compressor.compress(lay_out(symbols, alphabet, each))) for each in layouts)
    pieces = (symbols[start : start + _PIECE] for start in range(0, symbols.size, _PIECE))
    return zipped / max(1.0, sum(map(order0_bytes, pieces)))


def order0_bytes(symbols: Symbols) -> float:
    """The order-0 entropies of all byte-planes, added up, in bytes."""
    planes = symbols.view(np.uint8).reshape(symbols.size, symbols.dtype.itemsize)
    return sum(entropy_bits(np.bincount(plane, minlength=256)) for plane in planes.T) / 8
