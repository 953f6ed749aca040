"""The codes of estimators for several streams of symbols of one tensor.

Codes of order 0 and those that cannot be told beforehand take every symbol. A general compressor is
costly, and seldom the shortest on weights: unless it was asked for, it is first tried on windows
that are spread over the tensor, and takes the rest only if these promise a shorter code. Repeats
that lie farther apart than a window are looked for in all weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.gate import RankGate
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import Checked, Estimator
from kolmo.estimators.compressors import Compressor
from kolmo.estimators.lowrank import LowRank
from kolmo.symbols import Alphabet

Arrays = NDArray[Any]

WINDOWED = 1 << 16
"""Symbols up to which compressors take everything at once."""

_PIECE, _PIECES = 1 << 13, 16  # symbols of a piece; pieces of a small tensor, together a window
_SMALL = 16  # a piece is at most one of so many parts of a tensor
_MANY = 1 << 23  # symbols from which there are four times as many
_GLANCE, _LEAST = 8, 1 << 9  # a part of each piece is looked at first: one of so many, at least
_HOPEFUL = 1.25  # what that promises, over the bits of the shortest code
_PROMISING = 1.01  # a window's bits, extrapolated, over those of the shortest code
_TINY = 1 << 9  # bits that a compressor's own headers do not get under
_BLOCK = 64  # bytes of a block that may be a repeat
_HASHES = 1 << 17  # blocks that are remembered, at most about
_REPEATED = 0.01  # share of the blocks that are repeats, from which all is tried


@dataclasses.dataclass(frozen=True)
class DifferenceCode:
    """One code of a tensor: its name, its bits, and details."""

    name: str
    bits: float
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


class SymbolStreams:
    """Feeds the symbols of each stream to the estimators.

    Parameters
    ----------
    shape : tuple of int
    alphabets : mapping
        The alphabet of each stream.
    estimators : sequence
    tried : bool
        Whether costly estimators are tried on samples first.

    Attributes
    ----------
    codes : dict
        By stream and estimator, the codes so far.
    refused : dict
        By stream, the reason of the last estimator that does not take its symbols.
    not_tried : dict
        By the name of a code, the reason that it was not tried on all symbols.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        alphabets: Mapping[str, Alphabet],
        estimators: Sequence[Estimator],
        tried: bool,
    ) -> None:
        self._shape, self._alphabets = shape, alphabets
        self._numel = math.prod(shape)
        self._waiting: dict[tuple[str, Estimator], Checked] = {}
        self._fed: dict[tuple[str, Estimator], Checked] = {}
        self.codes: dict[tuple[str, Estimator], DifferenceCode] = {}
        self.refused = dict.fromkeys(alphabets, "no estimator was given")
        self.not_tried: dict[str, str] = {}
        for name, alphabet in alphabets.items():
            for estimator in estimators:
                self._start(name, alphabet, estimator, tried)
        sampled = any(isinstance(e, Compressor) for _, e in self._waiting)
        self._windows = SymbolWindows(self._numel, alphabets) if sampled else None

    def _start(self, name: str, alphabet: Alphabet, estimator: Estimator, tried: bool) -> None:
        try:
            accumulator = estimator.start(self._shape, alphabet)
        except NotApplicableError as error:
            self.refused[name] = str(error)
            return
        waits = tried and (
            isinstance(estimator, LowRank)
            or (isinstance(estimator, Compressor) and self._numel > WINDOWED)
        )
        (self._waiting if waits else self._fed)[name, estimator] = accumulator

    def update(self, symbols: Mapping[str, Arrays]) -> None:
        """Take the next symbols of every stream."""
        for (name, _), accumulator in self._fed.items():
            accumulator.update(symbols[name])
        if self._windows is not None:
            self._windows.update(symbols)

    def of(self, name: str) -> list[DifferenceCode]:
        """The codes of a stream so far."""
        return [code for (stream, _), code in self.codes.items() if stream == name]

    def finish(self) -> None:
        """Make codes of what was fed."""
        for (name, estimator), accumulator in self._fed.items():
            code = accumulator.finish()
            if code.kind != "bound":
                raise InputError(f"{estimator}: is an estimate here; delta takes bounds only")
            self.codes[name, estimator] = DifferenceCode(f"{name}, {estimator}", code.bits)
        self._fed = {}

    def forget(self, names: Collection[str], reason: str) -> None:
        """Leave out streams, for this reason."""
        for waiting in (self._fed, self._waiting):
            for name, estimator in [key for key in waiting if key[0] in names]:
                del waiting[name, estimator]
                self.not_tried[f"{name}, {estimator}"] = reason

    def choose(self, shortest: Mapping[str, float], gates: Mapping[str, RankGate]) -> bool:
        """Whether symbols have to be fed again, to those that may be under ``shortest``, the bits
        of the shortest code so far; the others get a reason."""
        for (name, estimator), accumulator in self._waiting.items():
            if isinstance(estimator, Compressor):
                reason = self._unpromising(name, estimator, shortest[name])
            else:
                reason = gates[name].reason
            if reason:
                self.not_tried[f"{name}, {estimator}"] = reason
            else:
                self._fed[name, estimator] = accumulator
        self._waiting, self._windows = {}, None
        return bool(self._fed)

    def _unpromising(self, name: str, estimator: Estimator, shortest: float) -> str:
        assert self._windows is not None
        if shortest < _TINY:
            return f"another code has {shortest:.0f} bits"
        if self._windows.repeated > _REPEATED:
            return ""
        for share, most in ((_GLANCE, _HOPEFUL), (1, _PROMISING)):
            expected = self._expected(name, estimator, self._windows.of(name, share))
            if expected > most * shortest:
                return f"some {expected / self._numel:.3g} bits a weight by windows"
        return ""

    def _expected(self, name: str, estimator: Estimator, window: Arrays) -> float:
        """The bits of a window, extrapolated."""
        accumulator = estimator.start(window.shape, self._alphabets[name])
        accumulator.update(window)
        return accumulator.finish().bits * self._numel / window.size


class SymbolWindows:
    """Pieces of every stream, evenly spread, and how many blocks of the first stream repeat."""

    def __init__(self, numel: int, alphabets: Mapping[str, Alphabet]) -> None:
        pieces = _PIECES if numel < _MANY else 4 * _PIECES
        self._piece = min(_PIECE, max(numel // _SMALL, _LEAST))
        self._starts = np.linspace(0, max(numel - self._piece, 0), pieces).astype(np.int64)
        self._first = next(iter(alphabets))
        self._place = 0
        self._pieces: dict[str, list[Arrays]] = {name: [] for name in alphabets}
        width = alphabets[self._first].container.itemsize
        self._step = max(1, numel * width // _BLOCK // _HASHES)
        self._hashes: list[Arrays] = []

    def update(self, symbols: Mapping[str, Arrays]) -> None:
        first = symbols[self._first].reshape(-1)
        place, end = self._place, self._place + first.size
        inside = (self._starts < end) & (self._starts + self._piece > place)
        for start in self._starts[inside].tolist():
            part = slice(max(start - place, 0), max(start + self._piece - place, 0))
            for name, pieces in self._pieces.items():
                pieces.append(symbols[name].reshape(-1)[part].copy())
        self._hashes.append(self._hashed(first))
        self._place = end

    def of(self, name: str, share: int) -> Arrays:
        """The pieces of a stream, one after the other, or the first part of each: one of so
        many."""
        whole = np.concatenate(self._pieces[name])
        some = whole[: len(self._starts) * self._piece].reshape(len(self._starts), -1)
        return whole if share == 1 else some[:, : max(self._piece // share, _LEAST)].reshape(-1)

    @cached_property
    def repeated(self) -> float:
        """The share of the blocks that are not the first of their kind."""
        hashes = np.sort(np.concatenate(self._hashes))
        return np.count_nonzero(hashes[1:] == hashes[:-1]) / max(1, hashes.size)

    def _hashed(self, symbols: Arrays) -> Arrays:
        """Hashes of whole blocks; of many, those of an even share of all hashes."""
        content = np.ascontiguousarray(symbols).view(np.uint8)
        whole = content[: content.size // _BLOCK * _BLOCK]
        words = whole.view(np.uint64).reshape(-1, _BLOCK // 8)
        odd = np.random.default_rng(1).integers(0, 1 << 63, words.shape[1], np.uint64) * 2 + 1
        hashes = (words * odd).sum(axis=1, dtype=np.uint64)
        hashes ^= hashes >> np.uint64(32)
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
        return np.asarray(hashes[hashes % np.uint64(self._step) == 0])
