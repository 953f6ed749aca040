"""Which blocks of one small tensor are equal, where the search of `repeats` has too many steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kolmo.codes.lengths import tally
from kolmo.estimators.repeats import Repeats
from kolmo.symbols import Alphabet, Symbols

FEW = 1 << 14
"""Symbols of a tensor that is small."""


class FewSearch:
    """Finds the repeated blocks of each size, from the blocks of half the size.

    Each block has a number, the same as all blocks that equal it; two blocks of twice the size are
    equal if the numbers of their halves are.

    Parameters
    ----------
    sizes : sequence of int
        1 and its doubles.
    alphabet : Alphabet

    Attributes
    ----------
    planes : int64 array, shape (planes, 256)
        Counts by byte-plane of all symbols.

    Examples
    --------
    >>> search = FewSearch((1, 2, 4), Alphabet(256))
    >>> search.update(np.uint8([1, 2, 1, 2, 3, 3]))
    >>> {size: found.times for size, found in search.run()}
    {1: {2: 3}, 2: {2: 1}, 4: {}}
    """

    def __init__(self, sizes: Sequence[int], alphabet: Alphabet) -> None:
        self._sizes, self._alphabet = sizes, alphabet
        self._taken: list[Symbols] = []
        self.planes = np.zeros((alphabet.container.itemsize, 256), np.int64)

    def update(self, symbols: Symbols) -> None:
        """Take the next symbols."""
        self._taken.append(symbols.astype(self._alphabet.container))

    def run(self) -> Iterator[tuple[int, Repeats]]:
        """Each size, the smallest first, and what was found."""
        from kolmo.estimators import kernels, kernels_mosaic

        symbols = np.concatenate(self._taken)
        kernels.count_planes(symbols, self.planes)
        keys = symbols.astype(np.uint64)
        names, counts = np.empty(keys.size, np.uint32), np.empty(keys.size, np.int64)
        repeating = True
        for size in self._sizes:
            found, blocks = Repeats(self.planes.shape[0]), symbols.size // size
            if size > 1:
                keys = keys[:blocks]
                kernels_mosaic.pair_names(names[: 2 * blocks], keys)
            if repeating:
                slots = np.zeros(2 << blocks.bit_length(), np.uint32)
                distinct = kernels_mosaic.number_blocks(
                    keys, symbols, size, slots, names, counts, found.planes
                )
                repeating = distinct < blocks
                found.times = tally(counts[:distinct][counts[:distinct] > 1])
            yield size, found

    def close(self) -> None:
        """Forget the symbols."""
        self._taken = []
