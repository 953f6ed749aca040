"""What a container takes for the symbols alone: the bytes of the codes that `kolmo pack` writes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from kolmo.codes.base import get_code
from kolmo.codes.choosing import PRESETS, check_preset, shortest_code
from kolmo.codes.forms import COMPILED, FLOATS, is_of_levels
from kolmo.codes.general import General
from kolmo.codes.lengths import integer_bits
from kolmo.codes.units import CUT, SOLID, cut
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, register
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Shape, Symbols

_NUMBER = 8  # bits of the number of a code


@register
@dataclasses.dataclass(frozen=True)
class Pack(Estimator):
    """The bytes that ``kolmo pack`` writes of the symbols, with any of its presets; a bound.

    Tensors are coded in its units, each by the shortest of the preset's codes; a unit has the
    number of its code (8 bits) and its size (Elias delta) besides. A container has names, shapes
    and checksums on top. It may still be shorter than this, for it also finds what is not looked
    for here: tensors that are alike, long repeats, and mosaics; ``pack:fast`` finds copies alone.
    ``pack:fast`` codes some 30 million weights a second on a core, ``pack:default`` about a
    million, ``pack`` (``pack:best``) 400,000.

    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    >>> code = estimate(weights, "pack:fast")
    >>> code.kind, round(code.bits_per_weight, 1)
    ('bound', 26.6)
    """

    preset: str = "best"
    name = "pack"
    version = 2
    value_field = "preset"
    kind = "bound"
    software = ("zlib", "libbzip2", "liblzma", "libzstd", "brotli")
    summary = "the bytes of the codes that kolmo pack writes (pack:fast is quick)"

    def __post_init__(self) -> None:
        check_preset(self.preset)

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        held = min(sum(math.prod(shape) for shape in shapes), CUT + SOLID)
        size = held * alphabet.container.itemsize
        names = set(PRESETS[self.preset])
        codes = map(get_code, names - COMPILED)  # to ask these takes no compiler
        libraries = [code.library for code in codes if isinstance(code, General)]
        most = max((each.memory(max(each.levels), size) for each in libraries), default=0)
        if "predictive" in names:
            most = max(most, 64 * held + (192 << 20))
        elif "context" in names:
            most = max(most, 48 * held + (96 << 20))
        elif is_of_levels(alphabet):  # which no longer row than 2^20 has
            columns = max((math.prod(shape[1:]) for shape in shapes), default=0)
            most = max(most, 16 * held + 256 * min(columns, 1 << 20) + (64 << 20))
        # A grid is sought in float64, with bounds of every weight and of its group.
        searched = 120 * held if alphabet.format in FLOATS else 24 * held
        return (16 << 20) + 4 * size + max(most, searched)

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        return _PackAccumulator(self.preset, shapes, alphabet)


class _PackAccumulator:
    """Codes a unit when its symbols are complete."""

    def __init__(self, preset: str, shapes: Sequence[Shape], alphabet: Alphabet) -> None:
        self._preset, self._alphabet = preset, alphabet
        self._numel = sum(math.prod(shape) for shape in shapes)
        parts = [part for shape in shapes if math.prod(shape) for part in _parts(shape)]
        self._gatherer = Gatherer((part.shape for part in parts), alphabet.container)
        self._coming = iter(parts)
        self._solid: list[Symbols] = []  # small tensors that wait for others
        self._bits = self._units = 0

    def update(self, symbols: Symbols) -> None:
        for symbols_of_part in self._gatherer.take(symbols):
            if next(self._coming).alone:
                self._code([symbols_of_part])
                continue
            if sum(each.size for each in self._solid) + symbols_of_part.size > SOLID:
                self._flush()
            self._solid.append(np.array(symbols_of_part))

    def finish(self) -> CodeLength:
        self._flush()
        raw = self._numel * self._alphabet.bits
        return CodeLength(self._bits, self._numel, raw, "bound", {"units": self._units})

    def _flush(self) -> None:
        if self._solid:
            self._code(self._solid)
            self._solid = []

    def _code(self, parts: Sequence[Symbols]) -> None:
        _, data = shortest_code(parts, self._alphabet, self._preset)
        self._bits += _NUMBER + integer_bits(len(data) + 1) + 8 * len(data)
        self._units += 1


@dataclasses.dataclass(frozen=True)
class _Part:
    """What is coded together, alone or with other small tensors."""

    shape: Shape
    alone: bool


def _parts(shape: Shape) -> Iterator[_Part]:
    numel, row = math.prod(shape), math.prod(shape[1:])
    if numel <= CUT:
        yield _Part(shape, alone=False)
        return
    for start, stop in cut(shape, 0, numel):
        whole = start % row == 0 and stop % row == 0
        rows = (stop - start) // row, *shape[1:]
        yield _Part(rows if whole else (stop - start,), alone=True)
