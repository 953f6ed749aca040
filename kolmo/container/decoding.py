"""Decoding a container, unit by unit in order, on several threads, in bounded memory."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from kolmo.codes.base import get_code
from kolmo.container.format import DIGEST, Contents, Entry, Part, Unit
from kolmo.container.repeats import REPEAT, read_source
from kolmo.container.work import most_steps, steps
from kolmo.errors import InputError, KolmoError
from kolmo.execution import Progress, in_order
from kolmo.symbols import Symbols

Decode = Callable[[int], list[Symbols]]
"""What decodes a unit by its number: the symbols of its parts, in order."""


class Digests:
    """SHA-256 of the symbols of each tensor, whose parts are given in order."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._hashes = [hashlib.sha256() for _ in entries]

    def update(self, tensor: int, symbols: Symbols) -> None:
        little = symbols.astype(symbols.dtype.newbyteorder("<"), copy=False)
        self._hashes[tensor].update(np.ascontiguousarray(little).data.cast("B"))

    def each(self) -> list[bytes]:
        """One digest for each tensor; a copy has its original's."""
        digests = [value.digest() for value in self._hashes]
        numbers = (n if e.copy_of is None else e.copy_of for n, e in enumerate(self._entries))
        return [digests[number] for number in numbers]


def whole_digest(digests: Sequence[bytes]) -> bytes:
    """The SHA-256 of the tensors' digests, one after the other."""
    return hashlib.sha256(b"".join(digests)).digest()


def decode_parts(
    contents: Contents,
    digests: Digests,
    threads: int,
    progress: Progress | None = None,
    label: str = "decoding",
) -> Iterator[tuple[Part, Symbols]]:
    """Decode every part of every unit, in order; after the last one the digest is checked.

    Parameters
    ----------
    contents : Contents
    digests : Digests
        Fresh ones for the same entries; they are updated.
    threads, progress, label : see `kolmo.pack`

    Yields
    ------
    Part, symbols

    Raises
    ------
    InputError
        If the file is damaged. The parts that came before may then be wrong.
    """
    total = sum(unit.numel for unit in contents.units)
    decode, done = unit_decoder(contents), 0
    for number, arrays in in_order(decode, range(len(contents.units)), threads):
        for part, symbols in zip(contents.units[number].parts, arrays, strict=True):
            digests.update(part.tensor, symbols)
            yield part, symbols
        done += contents.units[number].numel
        if progress:
            progress(done, total, label)
    if whole_digest(digests.each())[:DIGEST] != contents.digest:
        raise InputError(f"{contents.where}: the weights are not those that were packed: damaged")


def unit_decoder(contents: Contents, sources: Decode | None = None) -> Decode:
    """What decodes a unit by its number, from any thread; ``sources`` gives the units that others
    repeat, by default decoded again."""
    repeats = _Repeats(contents, sources or _Again(contents, lambda number: decode(number)))

    def decode(number: int) -> list[Symbols]:
        unit, data = contents.units[number], contents.read_unit(number)
        first = contents.entries[unit.parts[0].tensor]
        alphabet = first.alphabet
        shapes = [part.shape for part in unit.parts]
        try:
            if unit.code == REPEAT:
                return [repeats.decode(unit, data)]
            arrays = get_code(unit.code).decode(data, shapes, alphabet)
        except KolmoError as error:
            what = str(error).removeprefix(f"{contents.where}: ")
            raise InputError(f"{contents.where}: unit {number} cannot be decoded: {what}") from None
        assert [array.shape for array in arrays] == shapes
        assert all(array.dtype == alphabet.container for array in arrays)
        return arrays

    return decode


class _Again:
    """Decodes units that others repeat, again, to save memory; one at a time.

    The last one is kept, for repeats of the same unit mostly follow each other. What is decoded
    again is counted, so that a small file cannot ask for endless work.
    """

    def __init__(self, contents: Contents, decode: Decode) -> None:
        self._contents, self._decode = contents, decode
        self._left = max(most_steps(contents), sum(map(steps, contents.units)))
        self._last: tuple[int, list[Symbols]] | None = None
        self._lock = threading.Lock()

    def __call__(self, number: int) -> list[Symbols]:
        """The symbols of the parts of a unit."""
        with self._lock:
            if self._last is None or self._last[0] != number:
                self._last = None  # two are not kept at once
                self._left -= steps(self._contents.units[number])
                if self._left < 0:
                    raise InputError("its repeats decode the same symbols over and over")
                self._last = number, self._decode(number)
            return self._last[1]


class _Repeats:
    """Decodes units that repeat others, which ``decode`` gives."""

    def __init__(self, contents: Contents, decode: Decode) -> None:
        self._contents, self._decode = contents, decode

    def decode(self, unit: Unit, data: bytes) -> Symbols:
        """The symbols of a unit whose bytes are these."""
        source, start = read_source(data)
        stop = start + unit.numel
        entries = self._contents.entries
        known = source < len(entries) and len(unit.parts) == 1
        if not known or entries[source].alphabet != entries[unit.parts[0].tensor].alphabet:
            raise InputError("it repeats what is not alike")
        pieces = []
        for number, place, part in self._overlapping(source, start, stop):
            if self._contents.units[number].code == REPEAT:
                raise InputError("it repeats a repeat")
            symbols = self._decode(number)[place].reshape(-1)
            pieces.append(symbols[max(0, start - part.start) : stop - part.start])
        if sum(piece.size for piece in pieces) != unit.numel:
            raise InputError("it repeats what is not there")
        return np.concatenate(pieces).reshape(unit.parts[0].shape)

    @cached_property
    def _places(self) -> dict[int, list[tuple[int, int, Part]]]:
        """Of each tensor its parts, in order, with the unit and the place in it."""
        places: dict[int, list[tuple[int, int, Part]]] = {}
        for number, unit in enumerate(self._contents.units):
            for place, part in enumerate(unit.parts):
                places.setdefault(part.tensor, []).append((number, place, part))
        return places

    def _overlapping(self, tensor: int, start: int, stop: int) -> list[tuple[int, int, Part]]:
        """The parts of a tensor that hold some of its symbols [start, stop)."""
        places = self._places.get(tensor, [])
        first = bisect_right(places, start, key=lambda place: place[2].stop)
        last = bisect_left(places, stop, key=lambda place: place[2].start)
        return places[first:last]
