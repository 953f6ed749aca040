"""Which blocks of one small tensor are equal, where the search of `repeats` has too many steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from kolmo.estimators.repeats import Repeats
from kolmo.estimators.rooms import empty_table, few_rooms
from kolmo.symbols import Alphabet, Symbols


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
        from kolmo.estimators import kernels_few

        symbols = self._taken[0] if len(self._taken) == 1 else np.concatenate(self._taken)
        number = len(self._sizes)
        times = np.zeros((number, math.isqrt(2 * symbols.size) + 2, 2), np.int64)
        repeated = np.zeros((number, *self.planes.shape), np.int64)
        table = empty_table(1 << 8 * symbols.itemsize if symbols.itemsize < 3 else 0)
        found = self.planes, times, repeated
        kernels_few.search_few(symbols, number, table, *few_rooms(), *found)
        for size, pairs, planes in zip(self._sizes, times, repeated, strict=True):
            again = Repeats(planes)
            if pairs[0, 0]:
                again.times = {count: often for count, often in pairs.tolist() if count}
            yield size, again

    def close(self) -> None:
        """Forget the symbols."""
        self._taken = []
