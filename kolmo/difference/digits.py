"""The digits code: for numbers that are mostly small, by their number of binary digits.

In each context, whether a number is 0, then whether it has one digit, two, …, is a decision coded
by the frequencies so far (Krichevsky–Trofimov, binary). So are the two digits after the first, in
contexts of the number of digits; the others are written plainly. The length follows from counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import CERTAIN, Chance, Ratio, kt, plain, ratio_of

Counts = NDArray[np.int64]


def digits_log2(numbers: NDArray[Any], contexts: NDArray[Any] | None = None) -> float:
    """log2 of the probability that `digits` gives."""
    return digits(numbers, contexts).log2


def digits(numbers: NDArray[Any], contexts: NDArray[Any] | None = None) -> Chance:
    """The probability that the digits code gives to unsigned numbers.

    Parameters
    ----------
    numbers : unsigned integer ndarray
    contexts : integer ndarray of the same size, optional
        The context of each number, known to the decoder beforehand, as an integer ≥ 0.

    >>> digits(np.zeros(1000, np.uint32)).word_bits
    7
    """
    from kolmo.difference import kernels

    if numbers.size == 0:
        return CERTAIN
    flat = np.ascontiguousarray(numbers).reshape(-1).astype(np.uint64)
    if contexts is None:
        places = np.zeros(flat.size, np.int64)
    else:
        places = np.ascontiguousarray(contexts).reshape(-1).astype(np.int64)
    counts = np.zeros((int(places.max()) + 1, 65, 4), np.int64)
    kernels.count_digits(flat, places, counts)
    most = 8 * numbers.dtype.itemsize
    return digits_of_counts(counts, most)


def digits_of_counts(counts: Counts, most: int) -> Chance:
    """The same from counts by context, number of digits and what follows the first; ``most`` is
    the width of the numbers in bits."""
    from kolmo.difference import kernels

    found = np.zeros(2)
    kernels.digits_log2(counts, most, found)
    return Chance(float(found[0]), float(found[1]), lambda: _ratio(counts, most))


def _ratio(counts: Counts, most: int) -> Ratio:
    """The same as integers."""
    seen = counts.any(axis=(1, 2))
    return ratio_of([part for context in counts[seen] for part in _parts(context, most)])


def _parts(counts: Counts, most: int) -> Iterator[Chance]:
    """What the numbers of one context are made of; ``counts`` has shape (65, 4)."""
    classes = counts.sum(axis=1)
    longest = int(np.flatnonzero(classes)[-1])
    longer = classes[::-1].cumsum()[::-1] - classes
    stops = range(min(longest + 1, most))  # after the most digits there is nothing to decide
    yield from (kt(np.array([classes[d], longer[d]])) for d in stops)
    yield from (kt(counts[d, : 2 if d == 2 else 4]) for d in range(2, longest + 1) if classes[d])
    yield plain(int((classes[3:] * np.arange(65 - 3)).sum()))
