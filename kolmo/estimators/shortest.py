"""The shortest of several codes: a bit or two say which, and what it writes follows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import Accumulator, CodeLength, Estimator, get_estimator
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet, Shape, Symbols

_BLOCK = 4  # symbols of the blocks that are counted
_RARE = 3.0  # times the root mean square, where weights are clipped in that search
_ITERATIONS = 12  # of the search for the leading direction
_ABOVE = 1.15  # times the largest share of noise, from which a low-rank code is tried
_REPEATED = 0.1  # share of blocks that occurred before, from which a dictionary of blocks is tried


@dataclasses.dataclass(frozen=True)
class ShortestOf(Estimator):
    """The shortest of some codes of one tensor, with the bits that say which it is; a bound.

    It is not in the registry of estimators: the test of structure makes it (`kolmo.structure`).
    ``mosaic`` is tried where more than a tenth of the blocks of four symbols occurred before, and
    ``lowrank`` where a singular value stands out of those of noise: otherwise they save nothing.
    Both look at the symbols alone, so that the length is one function of them. ``details``: which
    code was ``taken``.

    Parameters
    ----------
    of : str
        The specs of the codes, bounds, joined by ``+``; the first takes every tensor.

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
        found = dict(self._lengths())
        taken = min(found, key=lambda name: found[name].bits)
        which = math.ceil(math.log2(len(self._codes)))
        raw = self._numel * self._alphabet.bits
        return CodeLength(found[taken].bits + which, self._numel, raw, "bound", {"taken": taken})

    def _lengths(self) -> Iterator[tuple[str, CodeLength]]:
        """The code lengths by those that take the tensor, and promise anything."""
        for code in self._codes:
            if not self._promises(code):
                continue
            try:
                accumulator = code.start_inner(self._shapes, self._alphabet)
            except NotApplicableError:
                continue
            accumulator.update(self._symbols)
            yield str(code), accumulator.finish()

    def _promises(self, code: Estimator) -> bool:
        """Whether a code has anything to gain, by what can be seen in a fraction of its time."""
        if code.name == "mosaic":
            return repeated_share(self._symbols) > _REPEATED
        return code.name != "lowrank" or _stands_out(self._symbols, self._shapes)


def _stands_out(symbols: Symbols, shapes: Sequence[Shape]) -> bool:
    """Whether a singular value of the one matrix is larger than noise has it; not of kernels, in
    which neighbours that are alike stand out too, and a low rank is a slow code."""
    if len(shapes) != 1 or len(shapes[0]) != 2:
        return False
    matrix = symbols.reshape(shapes[0]).astype(np.float64)
    noise = sum(1 / math.sqrt(side) for side in matrix.shape) ** 2  # Marchenko & Pastur 1967
    return leading_share(matrix) > _ABOVE * noise


def leading_share(matrix: NDArray[np.float64]) -> float:
    """The share of a matrix's squares that lies in one direction, about the largest there is.

    Columns are centred, rows and columns brought to one scale, and the direction found by power
    iteration, in sums of one order, so that threads and libraries do not matter.

    >>> random = np.random.default_rng(0)
    >>> noise, spike = random.normal(size=(50, 40)), np.outer(*random.normal(size=(2, 50)))[:, :40]
    >>> leading_share(noise) < 0.1, leading_share(noise + spike) > 0.2
    (True, True)
    """
    scaled = matrix - matrix.mean(0)
    for _ in range(2):
        for axis in (1, 0):
            rms = np.sqrt((scaled * scaled).mean(axis, keepdims=True))
            scaled /= np.where(rms > 0, rms, 1.0)
    scaled = np.clip(scaled, -_RARE, _RARE)  # one rare weight is no direction
    total = float((scaled * scaled).sum())
    if not total:
        return 0.0
    right = np.random.default_rng(0).normal(size=matrix.shape[1])
    value = 0.0
    for _ in range(_ITERATIONS):
        left = (scaled * right).sum(1)
        right = (scaled * left[:, None]).sum(0) / max(float(np.sqrt((left * left).sum())), 1e-300)
        value = float((right * right).sum())
    return value / total


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
