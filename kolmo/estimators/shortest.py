"""The shortest of several codes: a bit or two say which, and what it writes follows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from kolmo.errors import InputError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, get_estimator
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Shape, Symbols

_BLOCK = 4  # symbols of the blocks that are counted
_REPEATED = 0.1  # share of blocks that occurred before, from which a dictionary of blocks is tried


@dataclasses.dataclass(frozen=True)
class ShortestOf(Estimator):
    """The shortest of some codes of one tensor, with the bits that say which it is; a bound.

    It is not in the registry of estimators: the test of structure makes it (`kolmo.structure`).
    ``mosaic`` is tried where more than a tenth of the blocks of four symbols occurred before, as a
    dictionary saves nothing otherwise; that looks at the symbols alone, so that the length is one
    function of them. ``details``: which code was ``taken``.

    Parameters
    ----------
    of : str
        The specs of the codes, bounds, joined by ``+``.

    Examples
    --------
    >>> best = ShortestOf("context+mosaic")
    >>> motifs = np.random.default_rng(0).integers(0, 256, (5, 4))
    >>> symbols = motifs[np.random.default_rng(1).integers(0, 5, 2000)].astype(np.uint8)
    >>> accumulator = best.start(symbols.shape, 256)
    >>> accumulator.update(symbols)
    >>> code = accumulator.finish()
    >>> print(best, code.details["taken"], code.kind)
    shortest:context+mosaic mosaic bound
    """

    of: str = "context+mosaic"
    name = "shortest"
    value_field = "of"
    kind = "bound"
    summary = "the shortest of several codes of a tensor"

    def __post_init__(self) -> None:
        if any(code.kind != "bound" for code in self.codes):
            raise InputError(f"shortest: one of {self.of} is no bound")

    @cached_property
    def codes(self) -> list[Estimator]:
        """The codes that are tried."""
        return [get_estimator(spec) for spec in self.of.split("+")]

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        numel = sum(math.prod(shape) for shape in shapes)
        held = [code.working_memory(shapes, alphabet) for code in self.codes]
        return max(held) + numel * alphabet.container.itemsize

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        return _ShortestAccumulator(self.codes, shapes, alphabet)


class _ShortestAccumulator:
    def __init__(
        self, codes: Sequence[Estimator], shapes: Sequence[Shape], alphabet: Alphabet
    ) -> None:
        self._codes, self._shapes, self._alphabet = codes, shapes, alphabet
        self._numel = sum(math.prod(shape) for shape in shapes)
        self._gatherer = Gatherer([(self._numel,)], alphabet.container)
        self._symbols = np.empty(0, alphabet.container)

    def update(self, symbols: Symbols) -> None:
        for whole in self._gatherer.take(symbols):
            self._symbols = whole

    def finish(self) -> CodeLength:
        if not self._numel:
            return CodeLength(0, 0, 0, "bound")
        found = {str(code): self._measured(code) for code in self._codes if self._promises(code)}
        taken = min(found, key=lambda name: found[name].bits)
        which = math.ceil(math.log2(len(self._codes)))
        raw = self._numel * self._alphabet.bits
        return CodeLength(found[taken].bits + which, self._numel, raw, "bound", {"taken": taken})

    def _measured(self, code: Estimator) -> CodeLength:
        accumulator = code.start_inner(self._shapes, self._alphabet)
        accumulator.update(self._symbols)
        return accumulator.finish()

    def _promises(self, code: Estimator) -> bool:
        return code.name != "mosaic" or repeated_share(self._symbols) > _REPEATED


def repeated_share(symbols: Symbols) -> float:
    """The share of a string's blocks of four symbols that occurred before.

    >>> repeated_share(np.uint8([1, 2, 3, 4, 1, 2, 3, 4, 9]))
    0.5
    """
    blocks = symbols.size // _BLOCK
    if not blocks:
        return 0.0
    pieces = np.ascontiguousarray(symbols[: blocks * _BLOCK]).reshape(blocks, _BLOCK)
    keys = pieces.view(np.dtype((np.void, pieces.itemsize * _BLOCK)))
    return 1 - np.unique(keys).size / blocks
