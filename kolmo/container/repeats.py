"""Long stretches of weights that occurred before, in another tensor or in the same one.

Codes see repeats within a unit; these lie further apart. Each window of 32 symbols is hashed, and a
hash that begins with 12 zero bits, one in 4,096, is an *anchor*: equal stretches have equal anchors
wherever they lie, and remembering anchors takes little memory (content-defined chunking;
Muthitacharoen, Chen & Mazières 2001). Where anchors recur in order, the weights are compared.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.base import RESERVED
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.container.format import Entry, Part
from kolmo.symbols import Alphabet, Symbols

LONG = 1 << 18
"""Fewest weights of a repeat: a shorter one saves less than the extra unit around it costs."""

REPEAT = RESERVED["repeat"]
"""The number of a repeating unit. It is no code, because only a container has the source."""

_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                     0xD6E8FEB86659FD93, 0xA0761D6478BD642F], np.uint64)  # fmt: skip
_WINDOW = 1 << len(_FACTORS)  # symbols of a hash
_RARE = np.uint64(52)  # a hash is an anchor if its bits from here on are zero, one in 4,096
_PIECE = 1 << 20  # symbols hashed or compared at a time
_REACH = 1 << 15  # largest expected distance from an anchor to the next or to a stretch's border

Read = Callable[[Part], Symbols]


@dataclasses.dataclass(frozen=True)
class Repeat:
    """A stretch [start, stop) of a tensor whose symbols are those of the tensor ``source`` from
    ``source_start`` on."""

    start: int
    stop: int
    source: int
    source_start: int


@dataclasses.dataclass
class _Run:
    """Anchors of a tensor from ``first`` to ``last`` that lie ``shift`` places after their earlier
    occurrences in the tensor ``source``."""

    source: int
    shift: int
    first: int
    last: int


def source_bytes(tensor: int, start: int) -> bytes:
    """The bytes of a repeating unit: the number of the source tensor, and the place in it."""
    return number_bytes(tensor) + number_bytes(start)


def read_source(data: bytes) -> tuple[int, int]:
    """Undo `source_bytes`."""
    reader = Reader(data)
    return reader.number(), reader.number()


def find_repeats(entries: Sequence[Entry], read: Read) -> dict[int, list[Repeat]]:
    """The repeats of each tensor that has any, in order.

    A repeat consists of whole rows, and its source is no repeat itself.

    Parameters
    ----------
    entries : sequence of Entry
    read : callable
        Gives the symbols of a part.
    """
    known: dict[Alphabet, dict[int, tuple[int, int]]] = {}
    found: dict[int, list[Repeat]] = {}
    for number, entry in enumerate(entries):
        if entry.copy_of is not None or entry.numel < LONG:
            continue
        seen = known.setdefault(entry.alphabet, {})
        for run in _runs(number, _anchors(entry, number, read), seen):
            if run.last - run.first > LONG - 2 * _REACH:
                own = found.setdefault(number, [])
                reached = own[-1].stop if own else 0
                own += _compared(entries, number, run, reached, found.get(run.source, []), read)
    return {number: repeats for number, repeats in found.items() if repeats}


def _anchors(entry: Entry, number: int, read: Read) -> Iterator[tuple[int, int]]:
    """The places and hashes of a tensor's anchors."""
    for start in range(0, entry.numel, _PIECE):
        stop = min(start + _PIECE + _WINDOW - 1, entry.numel)
        hashes = _hashes(read(_flat(number, start, stop)))
        rare = hashes >> _RARE == 0
        rare[1:] &= hashes[1:] != hashes[:-1]  # a run of one symbol marks no place
        places = np.flatnonzero(rare)
        yield from zip((start + places).tolist(), hashes[places].tolist(), strict=True)


def _hashes(symbols: Symbols) -> NDArray[np.uint64]:
    """The hash of each window, mixed from the hashes of its two halves."""
    hashes = symbols.astype(np.uint64) + np.uint64(1)
    for level, factor in enumerate(_FACTORS):
        width = 1 << level
        hashes = hashes[:-width] * factor + hashes[width:]
        hashes ^= hashes >> np.uint64(29)
    mixed: NDArray[np.uint64] = hashes * _FACTORS[0]
    return mixed


def _flat(number: int, start: int, stop: int) -> Part:
    return Part(number, start, stop, (stop - start,))


def _runs(
    number: int, anchors: Iterator[tuple[int, int]], seen: dict[int, tuple[int, int]]
) -> list[_Run]:
    """Runs of anchors that occurred before, all by the same shift; new ones are remembered."""
    runs: list[_Run] = []
    for place, key in anchors:
        source, before = seen.setdefault(key, (number, place))
        if (source, before) == (number, place):
            continue
        shift, last = place - before, runs[-1] if runs else None
        if last and (last.source, last.shift) == (source, shift) and place < last.last + 2 * _REACH:
            last.last = place
        else:
            runs.append(_Run(source, shift, place, place))
    return runs


def _compared(
    entries: Sequence[Entry],
    number: int,
    run: _Run,
    reached: int,
    repeats: Sequence[Repeat],
    read: Read,
) -> Iterator[Repeat]:
    """The long stretches of whole rows around a run that equal the source, symbol by symbol;
    places where the source itself is a repeat are left out."""
    start = max(reached, run.shift, run.first - _REACH)
    stop = min(
        entries[number].numel, entries[run.source].numel + run.shift, run.last + _WINDOW + _REACH
    )
    if run.source == number:  # a stretch must not overlap its source
        stop = min(stop, start + run.shift)
    row = max(1, math.prod(entries[number].shape[1:]))
    for before, after in pairwise([start - 1, *_differing(number, run, start, stop, read), stop]):
        first, last = _outside(repeats, before + 1 - run.shift, after - run.shift)
        first, last = -(-(first + run.shift) // row) * row, (last + run.shift) // row * row
        if last - first >= LONG:
            yield Repeat(first, last, run.source, first - run.shift)


def _differing(number: int, run: _Run, start: int, stop: int, read: Read) -> Iterator[int]:
    for place in range(start, stop, _PIECE):
        end = min(place + _PIECE, stop)
        here = read(_flat(number, place, end))
        before = read(_flat(run.source, place - run.shift, end - run.shift))
        yield from (place + np.flatnonzero(here != before)).tolist()


def _outside(repeats: Sequence[Repeat], start: int, stop: int) -> tuple[int, int]:
    """The longer part of a stretch, before or after the repeats that it overlaps."""
    for repeat in repeats:
        if repeat.start < stop and start < repeat.stop:
            if repeat.start - start > stop - repeat.stop:
                stop = repeat.start
            else:
                start = repeat.stop
    return start, stop
