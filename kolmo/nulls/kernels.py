"""The compiled loops of the shuffles, nothing else.

Random words are those of SplitMix64 (Steele, Lea & Flood 2014), word i without the words before it:
a key is where the generator starts and the odd number that it steps by. Bounded integers are
unbiased (Lemire 2019), two a word. Callers allocate, check and interpret; arrays of weights hold
unsigned integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled


@compiled(inline=True)
def _word(key: Array, number: int) -> Any:
    """A random word of 64 bits."""
    z = key[0] + np.uint64(number) * key[1]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def random_words(key: Array, first: int, words: Array) -> None:
    """Write the random words from number ``first`` on."""
    for i in range(words.size):
        words[i] = _word(key, first + i)


# --- dealing weights into buckets -------------------------------------------------------------


@compiled
def count_buckets(numel: int, shift: int, key: Array, counts: Array) -> None:
    """Count the weights that go to each bucket: the upper bits of 16 random ones, four a word."""
    low, down = np.uint64(0xFFFF), np.uint64(shift)
    for number in range(numel >> 2):
        word = _word(key, number)
        counts[(word & low) >> down] += 1
        counts[((word >> np.uint64(16)) & low) >> down] += 1
        counts[((word >> np.uint64(32)) & low) >> down] += 1
        counts[(word >> np.uint64(48)) >> down] += 1
    word = _word(key, numel >> 2)
    for _ in range(numel & 3):
        counts[(word & low) >> down] += 1
        word >>= np.uint64(16)


@compiled
def deal(weights: Array, first: int, shift: int, key: Array, places: Array, buckets: Array) -> None:
    """Append weights to their buckets.

    ``first`` is the place of the first weight, a multiple of 4; ``places[b]`` is where bucket b
    goes on in ``buckets``, or −1 if it is not wanted.
    """
    low, down = np.uint64(0xFFFF), np.uint64(shift)
    for start in range(0, weights.size, 4):
        word = _word(key, (first + start) >> 2)
        for i in range(start, min(start + 4, weights.size)):
            bucket = (word & low) >> down
            word >>= np.uint64(16)
            place = places[bucket]
            if place >= 0:
                buckets[place] = weights[i]
                places[bucket] = place + 1


# --- shuffling what is in the cache -----------------------------------------------------------


@compiled(inline=True)
def _below(half: Any, bound: Any, key: Array, number: int) -> Any:
    """A product whose upper half is a random integer below ``bound``, and the next word's number.

    ``half`` is 32 random bits; new ones are taken as long as the lower half of the product is
    among those that would make some integers likelier than others.
    """
    product = half * bound
    if product & np.uint64(0xFFFFFFFF) < bound:
        least = (np.uint64(1 << 32) - bound) % bound
        while product & np.uint64(0xFFFFFFFF) < least:
            product = (_word(key, number) >> np.uint64(32)) * bound
            number += 1
    return product >> np.uint64(32), number


@compiled
def shuffle(weights: Array, key: Array, number: int) -> None:
    """Put fewer than 2^32 weights in random order (Fisher & Yates), by the words from ``number``
    on, of which it takes hardly more than half as many as there are weights."""
    last = weights.size - 1
    while last > 0:
        word = _word(key, number)
        other, number = _below(word & np.uint64(0xFFFFFFFF), np.uint64(last + 1), key, number + 1)
        weights[last], weights[other] = weights[other], weights[last]
        last -= 1
        if last > 0:
            other, number = _below(word >> np.uint64(32), np.uint64(last + 1), key, number)
            weights[last], weights[other] = weights[other], weights[last]
            last -= 1


@compiled
def shuffle_stretches(weights: Array, borders: Array, key: Array, number: int) -> None:
    """Shuffle each stretch between two borders; the words for place 0 are those from ``number``
    on."""
    for i in range(borders.size - 1):
        start = borders[i]
        shuffle(weights[start : borders[i + 1]], key, number + start)


@compiled
def shuffle_columns(matrix: Array, key: Array, number: int, step: int, scratch: Array) -> None:
    """Shuffle each column of a matrix; the words of column j are those from number + step · j on.

    As many columns as ``scratch`` has rows are copied to it side by side, so that a column is
    shuffled in the cache and each line of the matrix is read and written once.
    """
    rows, columns = matrix.shape
    for first in range(0, columns, scratch.shape[0]):
        wide = min(scratch.shape[0], columns - first)
        for i in range(rows):
            for j in range(wide):
                scratch[j, i] = matrix[i, first + j]
        for j in range(wide):
            shuffle(scratch[j, :rows], key, number + step * (first + j))
        for i in range(rows):
            for j in range(wide):
                matrix[i, first + j] = scratch[j, i]


@compiled
def choose_rows(
    matrix: Array, row: int, column: int, rows: int, columns: int, key: Array, slots: Array,
    chosen: Array, offset: int,
) -> None:  # fmt: skip
    """Append the weights of each column that go to a window of rows.

    ``matrix`` is a part, from a row and a column on, of one of ``rows`` × ``columns``; the window
    is ``chosen``, of which the part begins at column ``offset``. A weight takes one of the slots of
    its column that are free, each with the same chance, so that all ways to share out a column are
    equally likely. ``slots[0, j]`` are those free before the window, ``slots[1, j]`` those with it:
    no others need be known.
    """
    for i in range(matrix.shape[0]):
        bound = np.uint64(rows - row - i)
        for j in range(matrix.shape[1]):
            number = (row + i) * columns + column + j
            half = _word(key, number) >> np.uint64(32)
            drawn, _ = _below(half, bound, key, number + rows * columns)
            slot, before, until = np.int64(drawn), slots[0, j], slots[1, j]
            if before <= slot < until:
                chosen[chosen.shape[0] - (until - before), offset + j] = matrix[i, j]
            slots[0, j] = before - (slot < before)
            slots[1, j] = until - (slot < until)
