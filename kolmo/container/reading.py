"""Opening a container as a checkpoint: its tensors are decoded when they are read, unit by unit.

The checksum of every unit that is read is checked; the digest of all symbols is what `kolmo.verify`
checks.
"""

from __future__ import annotations

import dataclasses
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Checkpoint, Codes, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.container.decoding import unit_decoder
from kolmo.container.format import UNIT_LIMIT, Contents, Entry, Part, is_quantized
from kolmo.container.unpacking import decoded_weights, weight_dtype
from kolmo.container.work import read_to_decode
from kolmo.quantize.lossy import Lossy
from kolmo.symbols import Symbols


def open_container(file: File) -> Checkpoint:
    """The tensors of a container, in its order; of quantized ones the symbols are the codes."""
    contents = read_to_decode(file.stored)
    units, entries = _Units(contents), contents.entries
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    for number, entry in enumerate(entries):
        tensor = _tensor(units, number)
        if entry.role is Role.COPY and entry.copy_of is not None:
            skipped.append(_copy(tensor, entries[entry.copy_of].name))
        else:
            tensors.append(tensor)
    return Checkpoint(tensors, source=file.where, format="kmo", skipped=skipped, files=file.files)


def _copy(tensor: WeightTensor, original: str) -> Skipped:
    reason = f"tied to {original!r}, counted once"
    return Skipped(tensor.name, reason, tensor.numel, Role.COPY, tensor, original)


def _tensor(units: _Units, number: int) -> WeightTensor:
    contents, entry = units.contents, units.contents.entries[number]
    dtype = weight_dtype(contents, entry)
    weights = _Weights(units, number, dtype)
    codes = _codes(units, number)
    return WeightTensor(entry.name, entry.shape, dtype, weights, codes, _role(contents, entry))


def _role(contents: Contents, entry: Entry) -> Role | None:
    """What the file tells; where it holds packed codes, names tell what makes up a tensor."""
    is_packed = any(other.packed_weights is not None for other in contents.entries)
    return None if is_packed else entry.role


def _codes(units: _Units, number: int) -> Codes | None:
    """The symbols of a tensor that was quantized when it was packed."""
    contents, entry = units.contents, units.contents.entries[number]
    quantized = is_quantized(entry.role, entry.copy_of, contents.entries)
    if entry.coder.lossless or not quantized:
        return None
    symbols = _Symbols(units, number, entry.alphabet.container)
    side_bits = entry.coder.side_bits(entry.dtype) if entry.numel else 0
    scheme = str(contents.quantizer)
    if isinstance(contents.quantizer, Lossy):  # whose tensors differ in their alphabets
        scheme = f"lossy of {entry.alphabet.size} levels"
    return Codes(scheme, entry.alphabet, symbols, side_bits)


@dataclasses.dataclass(frozen=True, eq=False)
class _Symbols:
    """Loads the symbols of a tensor."""

    units: _Units
    number: int
    dtype: np.dtype[Any]

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        found = np.empty(stop - start, self.dtype)
        for part, symbols in self.units.overlapping(self._original, start, stop):
            first, last = max(start, part.start), min(stop, part.stop)
            piece = self._values(symbols, part.start, first, last)
            found[first - start : last - start] = piece
        return found

    @property
    def _original(self) -> int:
        copy_of = self.units.contents.entries[self.number].copy_of
        return self.number if copy_of is None else copy_of

    def _values(self, symbols: Symbols, begin: int, first: int, last: int) -> NDArray[Any]:
        """Those of the weights [first, last), of symbols that begin with weight ``begin``."""
        return symbols.reshape(-1)[first - begin : last - begin]


class _Weights(_Symbols):
    """Loads the weights that the symbols of a tensor stand for."""

    def _values(self, symbols: Symbols, begin: int, first: int, last: int) -> NDArray[Any]:
        contents = self.units.contents
        entry = contents.entries[self.number]
        if entry.coder.elementwise:
            piece = super()._values(symbols, begin, first, last)
            return decoded_weights(contents, entry, piece, first).astype(self.dtype)
        whole = decoded_weights(contents, entry, symbols, begin)
        return whole.reshape(-1)[first - begin : last - begin].astype(self.dtype)


class _Units:
    """The units of a container, the last that were decoded in memory: 2^25 symbols at most."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._decode = unit_decoder(contents, self._decoded)  # what is kept is not decoded again
        self._kept: dict[int, list[Symbols]] = {}
        self._lock = threading.Lock()

    def overlapping(self, tensor: int, start: int, stop: int) -> Iterator[tuple[Part, Symbols]]:
        """The parts of a tensor that hold some of its symbols [start, stop), decoded."""
        places = self._places.get(tensor, [])
        first = bisect_right(places, start, key=lambda place: place[2].stop)
        last = bisect_left(places, stop, key=lambda place: place[2].start)
        for unit, position, part in places[first:last]:
            yield part, self._decoded(unit)[position]

    def _decoded(self, number: int) -> list[Symbols]:
        with self._lock:
            if number in self._kept:
                return self._kept[number]
        arrays = self._decode(number)
        with self._lock:
            self._kept[number] = arrays
            sizes = [self.contents.units[kept].numel for kept in self._kept]
            while sum(sizes) > UNIT_LIMIT and len(sizes) > 1:
                del self._kept[next(iter(self._kept))], sizes[0]
        return arrays

    @cached_property
    def _places(self) -> dict[int, list[tuple[int, int, Part]]]:
        """Of each tensor its parts, in order, with the unit and the place in it."""
        places: dict[int, list[tuple[int, int, Part]]] = {}
        for number, unit in enumerate(self.contents.units):
            for position, part in enumerate(unit.parts):
                places.setdefault(part.tensor, []).append((number, position, part))
        return places
