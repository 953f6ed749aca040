"""The shortest code of a unit: candidates are run and their bytes are counted.

Codes that are quick run on all symbols. *Patient* ones take many times as long, and gain only where
there is structure that the quick ones do not see: stretches that repeat, values that follow from
others. Each is tried on a sample first, and runs on all symbols if it looks shorter there.

What a grid makes of weights takes as long to code as they do. Where it is shorter on a sample of
many weights, they are not coded as they are, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kolmo import specs
from kolmo.codes.base import Code, get_code
from kolmo.codes.forms import GRID
from kolmo.codes.general import LAYOUTS, General
from kolmo.codes.plain import flat
from kolmo.codes.samples import further_repeats, head, is_sparse, spread
from kolmo.errors import NotApplicableError
from kolmo.symbols import Alphabet, Symbols

Written = dict[int, bytes]
"""The bytes of codes, by their numbers."""

PRESETS = {
    "best": (
        *("constant", "trellis", "grid", "predictive", "context", "counts", "byteplanes"),
        "records",
        *("xz", "brotli", "zstd", "bz2", "deflate", "raw"),
    ),
    "default": ("constant", "trellis", "grid", "context", "counts", "byteplanes", "records", "raw"),
    "fast": ("constant", "trellis", "grid", "byteplanes", "raw"),
}
"""Codes that each preset tries, in this order; of equally short ones the first is taken."""


@dataclasses.dataclass(frozen=True)
class _Patience:
    """Which codes are patient, and when they are tried: on all symbols of a unit of up to ``small``
    bytes, else first on a sample of ``sample`` symbols; there they must take up to a share
    ``worth`` of the others' bytes."""

    codes: tuple[str, ...]
    small: int
    sample: int
    worth: float


_PATIENT = ("counts", "records", "xz", "brotli", "zstd", "bz2", "deflate")
_PATIENCE = {
    "best": _Patience(("context", *_PATIENT), 1 << 17, 1 << 13, 0.99),
    "default": _Patience(_PATIENT, 1 << 13, 1 << 12, 0.96),
    "fast": _Patience((), 1 << 62, 0, 0),
}
_TRELLIS = "trellis"
_SPREAD = 1 << 15  # symbols of the sample that tells whether a grid is shorter
_AHEAD = 0.998  # it is if it takes under this share of the others' bytes there
_CLEARLY = 0.75  # other codes are not tried if a grid takes under this share of the byte-planes'
_LITTLE = 0.99  # what a code may gain from repeats that a quick one finds too
_LOOKING_BACK = ("predictive", "context")  # quick codes that find repeats however far apart


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

    >>> import numpy as np
    >>> shortest_code([np.zeros(100, np.uint8)], Alphabet(256), "best")
    (1, b'\\x00')
    """
    codes = _codes(parts, alphabet, preset, grids)
    if codes[0].name == "constant" and (data := _encoded(codes[0], parts, alphabet)) is not None:
        return codes[0].number, data
    if any(code.name == _TRELLIS for code in codes) and (data := _by_design(parts, alphabet)):
        return get_code(_TRELLIS).number, data
    on_grid = _on_grid(parts, alphabet, preset) if get_code(GRID) in codes else {}
    if on_grid and not is_sparse(parts) and _clearly_shorter(on_grid[GRID], parts, alphabet):
        return GRID, on_grid[GRID]
    return _shortest(codes, on_grid | _Others(codes, alphabet, preset).encode(parts, bool(on_grid)))


def shortest_on_sample(
    sample: Sequence[Symbols], alphabet: Alphabet, preset: str
) -> tuple[int, bytes]:
    """The same of a preset's quick codes alone, for what a grid makes of a sample."""
    codes = _codes(sample, alphabet, preset, grids=False)
    return _shortest(codes, _Others(codes, alphabet, preset).quickly(sample))


def _codes(parts: Sequence[Symbols], alphabet: Alphabet, preset: str, grids: bool) -> list[Code]:
    shapes = [part.shape for part in parts]
    codes = (code for code in map(get_code, PRESETS[preset]) if code.takes(shapes, alphabet))
    return [code for code in codes if grids or code.number != GRID]


def _shortest(codes: Sequence[Code], written: Written) -> tuple[int, bytes]:
    in_order = [code.number for code in codes if code.number in written]
    shortest = min(in_order, key=lambda number: len(written[number]))
    return shortest, written[shortest]


def _all(codes: Sequence[Code], parts: Sequence[Symbols], alphabet: Alphabet) -> Written:
    """The bytes of all codes that can express the symbols."""
    coded = {code.number: _encoded(code, parts, alphabet) for code in codes}
    return {number: data for number, data in coded.items() if data is not None}


def _by_design(parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
    """The bytes of levels that were made for a trellis, which other codes do not see; else none."""
    from kolmo.codes.trellis import is_by_design  # and a compiler with it

    return get_code(_TRELLIS).encode(parts, alphabet) if is_by_design(parts, alphabet) else b""


def _encoded(code: Code, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes | None:
    try:
        return code.encode(parts, alphabet)
    except NotApplicableError:
        return None


# --- grids ----------------------------------------------------------------------------------


def _on_grid(
    parts: Sequence[Symbols], alphabet: Alphabet, preset: str, *, is_sample: bool = False
) -> Written:
    try:
        data = get_code(GRID).encode(parts, alphabet, preset, is_sample)  # type: ignore[call-arg]
    except NotApplicableError:
        return {}
    return {GRID: data}


def _clearly_shorter(data: bytes, parts: Sequence[Symbols], alphabet: Alphabet) -> bool:
    """Than what floats as they are would take: other codes need not be tried."""
    quickly = _encoded(get_code("byteplanes"), parts, alphabet)
    return quickly is not None and len(data) < _CLEARLY * len(quickly)


# --- other codes ----------------------------------------------------------------------------


class _Others:
    """The codes of a preset besides constants and grids, and which of them run on all symbols."""

    def __init__(self, codes: Sequence[Code], alphabet: Alphabet, preset: str) -> None:
        self._alphabet, self._preset = alphabet, preset
        self._patience = _PATIENCE.get(preset, _PATIENCE["best"])
        codes = [code for code in codes if code.name not in ("constant", _TRELLIS, "grid")]
        self._quick = [code for code in codes if code.name not in self._patience.codes]
        self._patient = [code for code in codes if code.name in self._patience.codes]

    def encode(self, parts: Sequence[Symbols], on_grid: bool) -> Written:
        """The bytes of those that may be the shortest.

        Parameters
        ----------
        parts : sequence of arrays of symbols
        on_grid : bool
            Whether the grid is another choice.
        """
        if sum(part.nbytes for part in parts) <= self._patience.small:
            return _all([*self._quick, *self._patient], parts, self._alphabet)
        written: Written = {}
        if not (on_grid and self._grid_is_ahead(parts)):
            written = self.quickly(parts)
        if self._patient:
            written |= self._promising(parts, on_grid)
        return written

    def quickly(self, parts: Sequence[Symbols]) -> Written:
        """The bytes of the quick codes."""
        return _all(self._quick, parts, self._alphabet)

    def _grid_is_ahead(self, parts: Sequence[Symbols]) -> bool:
        sample = spread(parts, _SPREAD)
        on_grid = _on_grid(sample, self._alphabet, self._preset, is_sample=True)
        return bool(on_grid) and len(on_grid[GRID]) < _AHEAD * _least(self.quickly(sample))

    def _promising(self, parts: Sequence[Symbols], on_grid: bool) -> Written:
        """The bytes of the patient codes that should be shorter than the others.

        Those that are shorter on a sample; and those that find repeats that lie further apart, as
        no quick code does, if they would be shorter by gaining as much from them as Zstandard.
        """
        sample = (spread if on_grid else head)(parts, self._patience.sample)
        others = self.quickly(sample)
        if on_grid:
            others |= _on_grid(sample, self._alphabet, self._preset, is_sample=True)
        least, far = _least(others), further_repeats(parts, sample, self._alphabet)
        found: Written = {}
        for code in self._patient:
            tried = _encoded(code, sample, self._alphabet)
            gained = far if self._gains(code) else max(far, _LITTLE)
            if tried is not None and len(tried) * gained <= self._patience.worth * least:
                found[code.number] = self._encoded_like(code, tried, parts)
        return found

    def _gains(self, code: Code) -> bool:
        """Whether a patient code finds repeats that no quick one does."""
        if code.name == "records":
            return not any(other.name in _LOOKING_BACK for other in self._quick)
        return isinstance(code, General)

    def _encoded_like(self, code: Code, tried: bytes, parts: Sequence[Symbols]) -> bytes:
        """Byte compressors in the layout that was shorter on a sample."""
        if not isinstance(code, General):
            return code.encode(parts, self._alphabet)
        symbols = flat(parts, self._alphabet)
        return code.encode_in(symbols, self._alphabet, LAYOUTS[tried[0]])


def _least(written: Written) -> int:
    return min(map(len, written.values()))
